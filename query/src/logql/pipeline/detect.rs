//! Which fields lines have, found without being told the format: JSON, else `key=value` pairs.
//! Source of the rules: loki pkg/querier/queryrange/detected_fields.go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use model::Labels;

use super::{json, logfmt};
use crate::logql::ast::LogfmtFlags;
use crate::logql::eval::{Entry, Stream};
use crate::logql::hints::Hints;
use crate::logql::labels::{DUPLICATE_SUFFIX, LineLabels, is_special};
use crate::logql::units;

/// Most fields told apart, whatever is asked for: each is a name and a set in memory.
const FIELDS_MAX: usize = 5000;

/// What the values of a field look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Anything else.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true`, `false` and their short forms.
    Boolean,
    /// A number with a unit of time.
    Duration,
    /// A number with a unit of size.
    Bytes,
}

impl FieldKind {
    /// Loki's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FieldKind::String => "string",
            FieldKind::Int => "int",
            FieldKind::Float => "float",
            FieldKind::Boolean => "boolean",
            FieldKind::Duration => "duration",
            FieldKind::Bytes => "bytes",
        }
    }

    fn of(value: &str) -> Self {
        // Go's strconv.ParseBool.
        let booleans = [
            "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
        ];
        if value.parse::<i64>().is_ok() {
            FieldKind::Int
        } else if units::parse_float(value).is_ok() {
            FieldKind::Float
        } else if booleans.contains(&value) {
            FieldKind::Boolean
        } else if units::parse_go_duration(value).is_ok() {
            FieldKind::Duration
        } else if units::parse_bytes(value).is_ok() {
            FieldKind::Bytes
        } else {
            FieldKind::String
        }
    }
}

/// A field and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedField {
    /// Its name as a label.
    pub name: String,
    /// Of the value looked at last.
    pub kind: FieldKind,
    /// How many different values it has.
    pub cardinality: usize,
    /// The stages that find it; none for structured metadata.
    pub parsers: Vec<&'static str>,
    /// The keys that lead to it in JSON.
    pub json_path: Vec<String>,
}

struct Field {
    kind: FieldKind,
    /// Hashes of its values.
    values: HashSet<u64, FixedState>,
    parsers: Vec<&'static str>,
    json_path: Vec<String>,
}

/// The fields of the lines of `streams`, which are as a log query gives them with labels kept
/// apart; at most `limit`, by name.
#[must_use]
pub fn detect_fields(streams: &[Stream], limit: usize) -> Vec<DetectedField> {
    let limit = limit.min(FIELDS_MAX);
    let mut found: BTreeMap<String, Field> = BTreeMap::new();
    let mut lines = Lines::new();
    each_entry(streams, |stream, entry| {
        for (name, value) in &entry.metadata {
            note(&mut found, limit, name, value);
        }
        let parser = lines.parse(stream, entry);
        let mut without_path = false;
        for (name, value) in &lines.fields {
            let Some(field) = note(&mut found, limit, name, value) else {
                continue;
            };
            if let Some(parser) = parser.filter(|p| !field.parsers.contains(p)) {
                field.parsers.push(parser);
            }
            without_path |= field.json_path.is_empty();
        }
        if parser == Some("json") && without_path {
            let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
            json::each_path(&entry.line, &mut |name, path| {
                paths
                    .entry(name.to_owned())
                    .or_insert_with(|| path.to_vec());
            });
            for (name, _) in &lines.fields {
                let short = name.strip_suffix(DUPLICATE_SUFFIX);
                let path = paths.get(name).or_else(|| paths.get(short?));
                if let (Some(field), Some(path)) = (found.get_mut(name), path) {
                    field.json_path.clone_from(path);
                }
            }
        }
        true
    });
    found
        .into_iter()
        .map(|(name, field)| DetectedField {
            name,
            kind: field.kind,
            cardinality: field.values.len(),
            parsers: field.parsers,
            json_path: field.json_path,
        })
        .collect()
}

fn note<'f>(
    found: &'f mut BTreeMap<String, Field>,
    limit: usize,
    name: &str,
    value: &str,
) -> Option<&'f mut Field> {
    if !found.contains_key(name) {
        if found.len() >= limit {
            return None;
        }
        let field = Field {
            kind: FieldKind::String,
            values: HashSet::default(),
            parsers: Vec::new(),
            json_path: Vec::new(),
        };
        found.insert(name.to_owned(), field);
    }
    let field = found.get_mut(name)?;
    field.kind = FieldKind::of(value);
    field.values.insert(FixedState::default().hash_one(value));
    Some(field)
}

/// The values of one field in the lines of `streams`, sorted; about `limit` of them. Sizes that
/// lines have are as filters take them: `2.5 KiB` is `2.6kB`.
#[must_use]
pub fn detect_values(streams: &[Stream], name: &str, limit: usize) -> Vec<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut lines = Lines::new();
    each_entry(streams, |stream, entry| {
        if found.len() >= limit {
            return false;
        }
        if let Some(value) = entry.metadata.get(name) {
            found.insert(value.to_owned());
        }
        lines.parse(stream, entry);
        for (_, value) in lines.fields.iter().filter(|(n, _)| n == name) {
            let size = match FieldKind::of(value) {
                FieldKind::Bytes => units::parse_bytes(value).ok(),
                _ => None,
            };
            found.insert(size.map_or_else(|| value.clone(), units::humanize_bytes));
        }
        true
    });
    found.into_iter().collect()
}

/// Visits entries until `visit` has enough.
fn each_entry<'s>(streams: &'s [Stream], mut visit: impl FnMut(&'s Labels, &'s Entry) -> bool) {
    for stream in streams {
        for entry in &stream.entries {
            if !visit(&stream.labels, entry) {
                return;
            }
        }
    }
}

/// Finds the fields of one line after the other.
struct Lines {
    labels: LineLabels,
    /// Of the line parsed last, by name; those of the query's own parsers among them.
    fields: Vec<(String, String)>,
}

impl Lines {
    fn new() -> Self {
        Lines {
            labels: LineLabels::new(Hints::none()),
            fields: Vec::new(),
        }
    }

    /// The stage that could read the line, if one could.
    fn parse(&mut self, stream: &Labels, entry: &Entry) -> Option<&'static str> {
        // What the query's parsers found is no label of the stream.
        let own = stream
            .iter()
            .filter(|(name, _)| entry.parsed.get(name).is_none());
        let own = Labels::from_sorted(own);
        self.fields.clear();
        let given = entry.parsed.iter().filter(|(name, _)| !is_special(name));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.fields.extend(given.map(owned));
        self.labels.begin(&own, &Labels::empty());
        json::parse_into(&entry.line, &mut self.labels);
        let mut parser = "json";
        if self.labels.has_error() {
            self.labels.begin(&own, &Labels::empty());
            logfmt::parse_into(&entry.line, LogfmtFlags::default(), &mut self.labels);
            parser = "logfmt";
            if self.labels.has_error() {
                return None;
            }
        }
        let found = self.labels.categorized().parsed;
        let found = found.iter().filter(|(name, _)| !is_special(name));
        self.fields.extend(found.map(owned));
        self.fields.sort_unstable();
        self.fields.dedup();
        Some(parser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(labels: &[(&str, &str)], entries: &[(&str, &[(&str, &str)])]) -> Stream {
        let entry = |(line, metadata): &(&str, &[(&str, &str)])| Entry {
            at_ns: 0,
            line: (*line).to_owned(),
            metadata: Labels::from_pairs(metadata.iter().copied()),
            parsed: Labels::empty(),
        };
        Stream {
            labels: Labels::from_pairs(labels.iter().copied()),
            entries: entries.iter().map(entry).collect(),
        }
    }

    fn shown(streams: &[Stream], limit: usize) -> Vec<String> {
        let show = |f: &DetectedField| {
            let (parsers, path) = (f.parsers.join("+"), f.json_path.join("/"));
            format!(
                "{} {} {} {parsers} {path}",
                f.name,
                f.kind.as_str(),
                f.cardinality
            )
        };
        detect_fields(streams, limit).iter().map(show).collect()
    }

    #[test]
    fn fields_are_found_in_json_in_pairs_and_in_metadata() {
        let streams = [
            stream(
                &[("app", "a")],
                &[
                    (
                        r#"{"app":"x","took":"5ms","at":{"b c":1.5},"l":[1]}"#,
                        &[("pod", "p1")],
                    ),
                    (r#"{"took":"6ms","ok":true}"#, &[("pod", "p2")]),
                ],
            ),
            stream(&[("app", "b")], &[("took=7ms size=5KiB plain words", &[])]),
        ];
        let all = [
            "app_extracted string 1 json app",
            "at_b_c float 1 json at/b c",
            "ok boolean 1 json ok",
            "pod string 2  ",
            "size bytes 1 logfmt ",
            "took duration 3 json+logfmt took",
        ];
        assert_eq!(shown(&streams, 100), all);
        assert_eq!(shown(&streams, 1), ["pod string 2  "]);
        assert_eq!(shown(&streams[1..], 100).len(), 2);
    }

    #[test]
    fn what_a_query_parsed_is_a_field_too() {
        let mut parsed = stream(&[("app", "a"), ("n", "5")], &[("line 5\"", &[])]);
        parsed.entries[0].parsed = Labels::from_pairs([("n", "5"), ("__error__", "x")]);
        // Every line can be read as pairs, if only as none.
        assert_eq!(shown(&[parsed], 100), ["n int 1 logfmt "]);
    }

    #[test]
    fn values_are_those_of_one_field_and_sizes_fit_for_filters() {
        let streams = [stream(
            &[],
            &[
                (r#"{"n":"2.5 KiB"}"#, &[("n", "7")]),
                ("n=5m", &[]),
                ("other=1", &[]),
                ("n=late", &[]),
            ],
        )];
        assert_eq!(detect_values(&streams, "n", 3), ["2.6kB", "5m", "7"]);
        assert_eq!(
            detect_values(&streams, "n", 9),
            ["2.6kB", "5m", "7", "late"]
        );
    }
}
