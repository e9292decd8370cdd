//! The formats in which targets expose their metrics: Prometheus text 0.0.4 and 1.0.0 (quoted
//! UTF-8 names), OpenMetrics 1.0, and [`protobuf`]. Pure: bytes in, borrowed items out.
//!
//! A [`Parser`] of text finds the raw text of each series without looking into its labels, so that a
//! scrape that knows the series from last time need not parse them; [`series`] does that once.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod line;
pub mod lint;
pub mod protobuf;
pub mod series;
pub mod strict;

use std::fmt;

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain`.
    Prometheus,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

/// How a target writes its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Line by line.
    Text(Format),
    /// `application/vnd.google.protobuf`, families behind their lengths.
    Protobuf,
}

/// The type of a metric family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, or restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Buckets that go up and down.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Constant 1 with text in labels.
    Info,
    /// One of several states is 1.
    StateSet,
    /// Not said (`untyped` in Prometheus text).
    #[default]
    Unknown,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// `# TYPE name kind`
    Type {
        /// Family, still escaped if it was quoted.
        family: &'a str,
        /// Its type.
        kind: Kind,
    },
    /// `# HELP name text`, still escaped.
    Help {
        /// Family.
        family: &'a str,
        /// For people.
        text: &'a str,
    },
    /// `# UNIT name unit`
    Unit {
        /// Family.
        family: &'a str,
        /// e.g. `seconds`; may be empty.
        unit: &'a str,
    },
    /// A sample.
    Sample(SampleLine<'a>),
}

/// A line with a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as written: the same text is the same series.
    pub series: &'a str,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch, if the line has a timestamp.
    pub timestamp_ms: Option<i64>,
    /// The timestamp as written.
    pub timestamp_text: &'a str,
    /// What follows the timestamp after ` # `, not checked further here.
    pub exemplar: Option<&'a str>,
}

/// What is wrong, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// What one line of OpenMetrics says, for files that are too large to be read as a whole. The line
/// has no newline and is not `# EOF`.
///
/// # Errors
/// What is wrong, without a line number.
pub fn open_metrics_line(line: &str) -> Result<Item<'_>, String> {
    line::open_metrics(line)
}

/// Walks through an exposition line by line.
pub struct Parser<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    ended: bool,
}

impl<'a> Parser<'a> {
    /// A parser at the start of `body`.
    ///
    /// # Errors
    /// When it is not UTF-8; the line is that of the first bad byte.
    pub fn new(body: &'a [u8], format: Format) -> Result<Parser<'a>, ParseError> {
        let text = std::str::from_utf8(body).map_err(|e| ParseError {
            line: 1 + body[..e.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            message: "not UTF-8".to_owned(),
        })?;
        Ok(Parser {
            rest: text,
            format,
            line: 0,
            ended: false,
        })
    }

    /// The line last returned, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// An error at the line last returned.
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            line: self.line,
            message: message.into(),
        }
    }

    fn next_item(&mut self) -> Result<Option<Item<'a>>, String> {
        loop {
            if self.rest.is_empty() {
                self.line += 1;
                return if self.format == Format::OpenMetrics && !self.ended {
                    Err("data does not end with # EOF".to_owned())
                } else {
                    Ok(None)
                };
            }
            self.line += 1;
            if self.ended {
                return Err("data after # EOF".to_owned());
            }
            let (line, terminated) = match self.rest.split_once('\n') {
                Some((line, rest)) => {
                    self.rest = rest;
                    (line, true)
                }
                None => (std::mem::take(&mut self.rest), false),
            };
            let item = match self.format {
                Format::Prometheus => line::prometheus(line)?,
                Format::OpenMetrics => {
                    if line == "# EOF" {
                        self.ended = true;
                        continue;
                    }
                    if !terminated {
                        return Err("data does not end with # EOF".to_owned());
                    }
                    Some(line::open_metrics(line)?)
                }
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Item<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.next_item().map_err(|message| {
            // Nothing after an error can be trusted.
            self.rest = "";
            self.ended = true;
            self.error(message)
        });
        item.transpose()
    }
}

impl Kind {
    fn parse(text: &str, format: Format) -> Result<Kind, String> {
        let open_metrics = format == Format::OpenMetrics;
        Ok(match text {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "gaugehistogram" => Kind::GaugeHistogram,
            "summary" => Kind::Summary,
            "info" => Kind::Info,
            "stateset" => Kind::StateSet,
            "unknown" => Kind::Unknown,
            "untyped" if !open_metrics => Kind::Unknown,
            _ => return Err(format!("invalid metric type {text:?}")),
        })
    }

    /// As OpenMetrics spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::Summary => "summary",
            Kind::Info => "info",
            Kind::StateSet => "stateset",
            Kind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str, format: Format) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        let mut parser = Parser::new(text.as_bytes(), format).map_err(|e| e.to_string())?;
        while let Some(item) = parser.next() {
            if let Item::Sample(s) = item.map_err(|e| e.to_string())? {
                let labels = series::parse(s.series).map_err(|e| parser.error(e).to_string())?;
                let at = s.timestamp_ms.map_or(String::new(), |t| format!(" @{t}"));
                out.push(format!("{} {}{at}", labels.build(), s.value));
            }
        }
        Ok(out)
    }

    #[track_caller]
    fn check(text: &str, format: Format, expect: &[&str]) {
        assert_eq!(samples(text, format).unwrap(), expect, "{text}");
    }

    #[track_caller]
    fn refuse(text: &str, format: Format, expect: &str) {
        assert_eq!(samples(text, format).unwrap_err(), expect, "{text}");
    }

    #[test]
    fn prometheus_text_is_generous_with_blanks() {
        check(
            "\n  # a comment\n#nothing\na 1\nb{ } 2 \n\tc { x = \"1\" , y=\"2\", }\t+Inf 1700000000123\n# TYPE a counter",
            Format::Prometheus,
            &["a 1", "b 2", "c{x=\"1\", y=\"2\"} inf @1700000000123"],
        );
        check(
            "a NaN\nb -1e-3\nc Nan",
            Format::Prometheus,
            &["a NaN", "b -0.001", "c NaN"],
        );
    }

    #[test]
    fn numbers_are_those_of_go() {
        check(
            "a +Infinity\nb -inf\nc 1e-400\n",
            Format::Prometheus,
            &["a inf", "b -inf", "c 0"],
        );
    }

    #[test]
    fn names_and_values_may_be_any_utf8_when_quoted() {
        check(
            "{\"my.metric\",\"my.label\"=\"é\",z=\"#}\\\"\\n\\\\\"} 1",
            Format::Prometheus,
            &["my.metric{my.label=\"é\", z=\"#}\\\"\\n\\\\\"} 1"],
        );
    }

    #[test]
    fn errors_name_their_line() {
        refuse(
            "a 1\nb{x=1} 1\n",
            Format::Prometheus,
            "line 2: label value must be quoted",
        );
        refuse(
            "a 1\n\nb\n",
            Format::Prometheus,
            "line 3: expected a value after the series",
        );
        refuse("a x\n", Format::Prometheus, "line 1: \"x\" is not a number");
        refuse(
            "a 0x1p-3\n",
            Format::Prometheus,
            "line 1: \"0x1p-3\" is not a number",
        );
        for out_of_range in ["1e400", "-1e400", "1.8e308", "-NaN", "+nan"] {
            for format in [Format::Prometheus, Format::OpenMetrics] {
                let expect = format!("line 1: {out_of_range:?} is not a number");
                refuse(&format!("a {out_of_range}\n"), format, &expect);
            }
        }
        refuse(
            "a 1 1.5\n",
            Format::Prometheus,
            "line 1: \"1.5\" is not a timestamp",
        );
        refuse(
            "a 1\nb\u{1}{ 1",
            Format::Prometheus,
            "line 2: unexpected \"\\u{1}\" after the name",
        );
        refuse(
            "a{b=\"c} 1\nd 1",
            Format::Prometheus,
            "line 1: label value is not closed",
        );
        let error = Parser::new(b"a 1\n\xff 1", Format::Prometheus)
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "line 2: not UTF-8");
    }

    #[test]
    fn open_metrics_must_end_and_counts_seconds() {
        check(
            "# TYPE a counter\na_total{b=\"c\"} 1 1.5 # {id=\"x\"} 1\n# EOF\n",
            Format::OpenMetrics,
            &["a_total{b=\"c\"} 1 @1500"],
        );
        refuse(
            "a 1\n",
            Format::OpenMetrics,
            "line 2: data does not end with # EOF",
        );
        refuse(
            "a 1\n# EOF\nb 1\n",
            Format::OpenMetrics,
            "line 3: data after # EOF",
        );
        refuse(
            "a  1\n# EOF\n",
            Format::OpenMetrics,
            "line 1: \"\" is not a number",
        );
    }

    /// Samples in each of the reference scrapes, counted as lines that are no comment.
    #[test]
    fn real_exporters_are_read_completely() {
        let Ok(dir) = std::fs::read_dir("../../shared/exporter-metrics") else {
            eprintln!("SKIPPED: ../shared/exporter-metrics is not there");
            return;
        };
        let mut files = 0;
        for path in dir.map(|e| e.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "prom") {
                continue;
            }
            let body = std::fs::read_to_string(&path).unwrap();
            let lines = body
                .lines()
                .filter(|l| !l.is_empty() && !l.starts_with('#'));
            let got = samples(&body, Format::Prometheus).map(|s| s.len());
            assert_eq!(got, Ok(lines.count()), "{}", path.display());
            files += 1;
        }
        assert!(files > 5, "only {files} reference scrapes");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "([a-z_{}=\",.# \\\\\n\té1+-]|TYPE |HELP |EOF|counter|histogram|le=|_total){0,60}") {
            for format in [Format::Prometheus, Format::OpenMetrics] {
                let _ = samples(&text, format);
                let _ = strict::check(text.as_bytes(), format);
                let _ = lint::lint(text.as_bytes());
            }
        }

        #[test]
        fn what_one_writes_the_other_reads(name in "[a-z_:][a-z0-9_:]{0,8}", value in "[^\0]{0,20}", v in proptest::num::f64::NORMAL) {
            let line = format!("{name}{{l={}}} {v:e}\n", model::labels::Quoted(&value));
            let labels = model::Labels::from_pairs([("__name__", &name), ("l", &value)]);
            proptest::prop_assert_eq!(samples(&line, Format::Prometheus), Ok(vec![format!("{labels} {v}")]));
        }
    }
}
