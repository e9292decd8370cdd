//! `line_format` and `label_format`.

use model::Timestamp;
use template::loki::{CurrentLine, Units, functions};
use template::{Functions, Limits, TemplateSet, Value};

use super::units_of_texts;
use crate::logql::ast::LabelFormat;
use crate::logql::labels::{Category, ERROR_LABEL, LineLabels};

const ERROR: &str = "TemplateFormatErr";

/// What one expansion may cost: the line it makes is as long as a stored line may be, and it is
/// made for each line anew.
const LIMITS: Limits = Limits {
    depth_max: 100,
    output_bytes_max: 1 << 20,
    iterations_max: 10_000,
    steps_max: 100_000,
};

/// A template made ready.
struct Template {
    set: TemplateSet,
    functions: Functions<'static>,
    current: CurrentLine,
    /// It uses the line or its time.
    needs_line: bool,
    /// The labels it reads; `None` for all of them.
    fields: Option<Vec<String>>,
    names: Vec<String>,
}

impl Template {
    fn new(name: &str, text: &str, now: Timestamp) -> Result<Self, String> {
        let current = CurrentLine::default();
        let functions = functions(
            &current,
            Units {
                bytes: units_of_texts::bytes,
                seconds: units_of_texts::seconds,
            },
            now,
        );
        let mut set = TemplateSet::new();
        set.add(name, text).map_err(|e| e.to_string())?;
        set.check(&functions).map_err(|e| e.to_string())?;
        let fields = set.fields(name);
        Ok(Template {
            names: fields.clone().unwrap_or_default(),
            fields,
            set,
            functions,
            current,
            needs_line: text.contains("__line__") || text.contains("__timestamp__"),
        })
    }

    /// The labels it reads, of those a line has.
    fn data(&self, labels: &LineLabels) -> Value {
        let read = |n: &str| {
            self.fields
                .as_ref()
                .is_none_or(|f| f.iter().any(|w| w == n))
        };
        let pairs = labels.pairs().filter(|(n, ..)| read(n));
        Value::string_map(pairs.map(|(n, v, _)| (n, v)))
    }

    fn expand(&self, name: &str, at_ns: i64, line: &str, data: &Value) -> Result<String, String> {
        if self.needs_line {
            self.current.set(line, at_ns);
        }
        self.set
            .execute(name, data, &self.functions, &LIMITS)
            .map_err(|e| e.to_string())
    }
}

/// `line_format "…"`
pub(super) struct LineFormat(Template);

impl LineFormat {
    pub(super) fn new(text: &str, now: Timestamp) -> Result<Self, String> {
        Template::new("line", text, now)
            .map(LineFormat)
            .map_err(|e| format!("invalid line template: {e}"))
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0.names
    }

    /// The new line; `None` when there is none because of an error, which marks the labels.
    pub(super) fn apply(&self, at_ns: i64, line: &str, labels: &mut LineLabels) -> Option<String> {
        let data = self.0.data(labels);
        match self.0.expand("line", at_ns, line, &data) {
            Ok(text) => Some(text),
            Err(why) => {
                labels.set_error(ERROR, &why);
                None
            }
        }
    }
}

/// `label_format a=b, c="…"`
pub(super) struct LabelFormats(Vec<One>);

struct One {
    name: String,
    from: From,
}

enum From {
    Label(String),
    Template(Box<Template>),
}

impl LabelFormats {
    pub(super) fn new(list: &[LabelFormat], now: Timestamp) -> Result<Self, String> {
        let mut formats: Vec<One> = Vec::with_capacity(list.len());
        for format in list {
            let name = format.name.clone();
            if name == ERROR_LABEL {
                return Err(format!("{name} cannot be formatted"));
            }
            if formats.iter().any(|f| f.name == name) {
                return Err(format!(
                    "multiple label name '{name}' not allowed in a single format operation"
                ));
            }
            let from = if format.rename {
                From::Label(format.value.clone())
            } else {
                let template = Template::new("label", &format.value, now)
                    .map_err(|e| format!("invalid template for label '{name}': {e}"))?;
                From::Template(Box::new(template))
            };
            formats.push(One { name, from });
        }
        Ok(LabelFormats(formats))
    }

    pub(super) fn names(&self, out: &mut Vec<String>) {
        for format in &self.0 {
            match &format.from {
                From::Label(old) => out.push(old.clone()),
                From::Template(template) => out.extend_from_slice(&template.names),
            }
        }
    }

    /// All templates see the labels as they are before the first one; names are changed in order.
    pub(super) fn apply(&self, at_ns: i64, line: &str, labels: &mut LineLabels) {
        let mut data = None;
        for format in &self.0 {
            match &format.from {
                From::Label(old) => {
                    let found = labels.find(old).map(|(v, c)| (v.to_owned(), c));
                    if let Some((value, category)) = found {
                        labels.set(category, &format.name, &value);
                        if *old != format.name {
                            labels.delete(old);
                        }
                    }
                }
                From::Template(template) => {
                    let data = data.get_or_insert_with(|| {
                        Value::string_map(labels.pairs().map(|(n, v, _)| (n, v)))
                    });
                    match template.expand("label", at_ns, line, data) {
                        Ok(value) => labels.set(Category::Parsed, &format.name, &value),
                        Err(why) => labels.set_error(ERROR, &why),
                    }
                }
            }
        }
    }
}
