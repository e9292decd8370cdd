//! Numbers of lines one by one, as they come: what a metric query would make of each.

use model::{Labels, Matcher, Timestamp};

use super::ast::{Conversion, Grouping, LogExpr, Unwrap};
use super::error::ParseError;
use super::hints::Hints;
use super::labels::{LineLabels, PRESERVE_ERROR_LABEL};
use super::pipeline::{Filter, Pipeline, units_of_texts};
use super::units;

const ERROR: &str = "SampleExtraction";

/// The label that holds the number, how it is read, and what must hold afterwards.
pub(super) struct Number {
    pub(super) label: String,
    conversion: Option<Conversion>,
    filters: Vec<Filter>,
}

impl Number {
    /// # Errors
    /// When a filter is wrong.
    pub(super) fn new(unwrap: &Unwrap) -> Result<Self, ParseError> {
        let filters = unwrap.post_filters.iter();
        let filters = filters.map(|f| Filter::new(f).map_err(|why| ParseError::stage(f, &why)));
        Ok(Number {
            label: unwrap.label.clone(),
            conversion: unwrap.conversion,
            filters: filters.collect::<Result<_, _>>()?,
        })
    }

    /// Adds the names of the labels that the filters read.
    pub(super) fn names(&self, out: &mut Vec<String>) {
        self.filters.iter().for_each(|f| f.names(out));
    }

    /// The number of a line; `None` when it has none. What is no number marks the line with an error.
    pub(super) fn of(&self, labels: &mut LineLabels) -> Option<f64> {
        let text = labels.get(&self.label).filter(|text| !text.is_empty())?;
        let read = match self.conversion {
            None => units::parse_float(text),
            Some(Conversion::Bytes) => units_of_texts::bytes(text),
            Some(_) => units_of_texts::seconds(text),
        };
        let value = match read {
            Ok(value) => value,
            Err(why) => {
                labels.set_error(ERROR, &why);
                0.0
            }
        };
        self.keeps(labels).then_some(value)
    }

    /// Whether its filters let the line pass.
    fn keeps(&self, labels: &mut LineLabels) -> bool {
        self.filters.iter().all(|f| f.keeps(labels))
    }
}

/// Takes numbers from lines as `sum by (labels) (… [w])` would: where parsers have found the labels
/// that are asked for, they look no further.
pub struct Sampler {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
    labels: LineLabels,
    number: Option<Number>,
}

impl Sampler {
    /// For the lines of `expr`: the number that `unwrap` reads, else 1 each. Of the labels only those
    /// named are looked at afterwards. Templates take `now` for the time of day.
    ///
    /// # Errors
    /// When a stage's text is wrong.
    pub fn new(
        expr: &LogExpr,
        unwrap: Option<&Unwrap>,
        labels: &[String],
        now: Timestamp,
    ) -> Result<Self, ParseError> {
        let pipeline = Pipeline::new(&expr.stages, now)?;
        let number = unwrap.map(Number::new).transpose()?;
        let mut names = pipeline.required_names();
        if let Some(number) = &number {
            number.names(&mut names);
        }
        let grouping = Grouping {
            without: false,
            labels: labels.to_vec(),
        };
        let unwrapped = number.as_ref().map_or("", |n| n.label.as_str());
        Ok(Sampler {
            matchers: expr.matchers.clone(),
            labels: LineLabels::new(Hints::of(&names, Some(&grouping), unwrapped)),
            pipeline,
            number,
        })
    }

    /// What streams must fit.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// The number of a line of a stream that fits; `None` when a stage drops the line, or it has none.
    ///
    /// # Errors
    /// The name of the error when a stage could not read the line and the query does not ask for that.
    pub fn sample(
        &mut self,
        stream: &Labels,
        metadata: &Labels,
        at_ns: i64,
        line: &str,
    ) -> Option<Result<f64, &str>> {
        self.labels.begin(stream, metadata);
        self.pipeline.run(at_ns, line, &mut self.labels)?;
        let value = match &self.number {
            None => Some(1.0),
            Some(number) => number.of(&mut self.labels),
        };
        let asked_for = self.labels.get(PRESERVE_ERROR_LABEL) == Some("true");
        if !self.labels.has_error() || asked_for {
            return value.map(Ok);
        }
        // Without a number because the line could not be read, or because a filter dropped it.
        let labels = &mut self.labels;
        let is_kept = value.is_some() || self.number.as_ref().is_none_or(|n| n.keeps(labels));
        is_kept.then(|| Err(self.labels.error()))
    }

    /// A label of the line that was sampled last.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expr, parse, parse_unwrap};
    use super::*;

    /// Number and label `a` of the line, `error: NAME`, or nothing.
    fn check(query: &str, value: Option<&str>, line: &str, expect: &str) {
        let Expr::Log(expr) = parse(query).unwrap() else {
            panic!("a log query");
        };
        let unwrap = value.map(|v| parse_unwrap(v).unwrap());
        let labels = ["a".to_owned()];
        let now = Timestamp::from_millis(0);
        let mut sampler = Sampler::new(&expr, unwrap.as_ref(), &labels, now).unwrap();
        let stream = Labels::from_pairs([("job", "x")]);
        let metadata = Labels::from_pairs([("pod", "p")]);
        assert!(sampler.matchers()[0].matches("x"));
        let sampled = sampler.sample(&stream, &metadata, 1, line);
        let sampled = sampled.map(|r| r.map_err(str::to_owned));
        let text = match sampled {
            None => String::new(),
            Some(Err(error)) => format!("error: {error}"),
            Some(Ok(value)) => format!("{value} {}", sampler.label("a").unwrap_or("-")),
        };
        assert_eq!(text, expect, "{query} {value:?} {line}");
    }

    #[test]
    fn lines_count_and_their_fields_are_numbers() {
        let json = "{job=\"x\"} | json";
        check(json, None, "{\"a\":\"b\"}", "1 b");
        check(json, None, "{\"c\":\"b\"}", "1 -");
        check("{job=\"x\"} |= \"q\" | json", None, "{\"a\":\"b\"}", "");
        check(
            "{job=\"x\"} | json | s >= 500",
            None,
            "{\"a\":1,\"s\":502}",
            "1 1",
        );
        check(
            "{job=\"x\"} | json | s >= 500",
            None,
            "{\"a\":1,\"s\":200}",
            "",
        );
        check("{job=\"x\"} | json | s >= 500", None, "no JSON", "");
        check(json, Some("t"), "{\"t\":\"2.5\"}", "2.5 -");
        check(
            json,
            Some("duration(t)"),
            "{\"t\":\"250ms\",\"a\":\"b\"}",
            "0.25 b",
        );
        check(json, Some("bytes(t)"), "{\"t\":\"2KB\"}", "2000 -");
        check(json, Some("t"), "{\"a\":\"b\"}", "");
        check(json, Some("t | t < 5"), "{\"t\":\"7\"}", "");
        check("{job=\"x\"}", Some("pod"), "x", "error: SampleExtraction");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_unless_it_is_asked_for() {
        let json = "{job=\"x\"} | json";
        check(json, None, "no JSON", "error: JSONParser");
        check(json, Some("t"), "no JSON", "error: JSONParser");
        check(json, Some("t | __error__=\"\""), "no JSON", "");
        check(&format!("{json} | __error__=\"\""), None, "no JSON", "");
        check(&format!("{json} | __error__!=\"\""), None, "no JSON", "1 -");
        check(
            json,
            Some("t"),
            "{\"t\":\"soon\"}",
            "error: SampleExtraction",
        );
        check(json, Some("t | __error__=\"\""), "{\"t\":\"soon\"}", "");
    }

    #[test]
    fn values_are_what_unwrap_takes() {
        for bad in ["", "a b", "speed(t)", "duration(t", "t [5m]", "5"] {
            assert!(parse_unwrap(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_unwrap(" duration( t ) ").unwrap().label, "t");
    }
}
