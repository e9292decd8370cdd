//! Lines one by one, as they come.

use model::{Labels, LogEntry, Matcher, Timestamp};

use super::ast::LogExpr;
use super::error::ParseError;
use super::hints::Hints;
use super::labels::LineLabels;
use super::pipeline::Pipeline;

/// A log query for somebody who follows its streams.
pub struct Follower {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
}

impl Follower {
    /// Makes the stages ready; templates take `now` for the time of day.
    ///
    /// # Errors
    /// When a stage's text is wrong.
    pub fn new(expr: &LogExpr, now: Timestamp) -> Result<Self, ParseError> {
        Ok(Follower {
            matchers: expr.matchers.clone(),
            pipeline: Pipeline::new(&expr.stages, now)?,
        })
    }

    /// What streams must fit.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// An entry of a stream that fits, as it is to be shown; `None` when a stage drops it.
    /// `categorize` keeps metadata and what stages made apart from the stream's labels.
    #[must_use]
    pub fn show(&self, stream: &Labels, entry: &LogEntry, categorize: bool) -> Option<Shown> {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(stream, &entry.metadata);
        let line = self.pipeline.run(entry.at_ns, &entry.line, &mut labels)?;
        let line = line.into_owned();
        if categorize {
            let apart = labels.categorized();
            return Some(Shown {
                stream: apart.stream,
                metadata: apart.metadata,
                parsed: apart.parsed,
                line,
            });
        }
        let mut all = stream.clone();
        if !labels.is_unchanged() {
            let mut pairs = Vec::new();
            labels.grouped(None, &mut pairs);
            all = Labels::from_sorted(pairs.into_iter());
        }
        Some(Shown {
            stream: all,
            metadata: Labels::empty(),
            parsed: Labels::empty(),
            line,
        })
    }
}

/// A line for somebody who follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shown {
    /// All labels, or the stream's.
    pub stream: Labels,
    /// Structured metadata, where it is kept apart.
    pub metadata: Labels,
    /// Labels that stages made, where they are kept apart.
    pub parsed: Labels,
    /// The text, as stages left it.
    pub line: String,
}

#[cfg(test)]
mod tests {
    use super::super::{Expr, parse};
    use super::*;

    #[test]
    fn an_entry_goes_through_all_stages() {
        let query = "{job=\"a\"} |= \"x\" | logfmt | line_format \"{{.y}}\" | drop y";
        let Expr::Log(expr) = parse(query).unwrap() else {
            panic!("a log query");
        };
        let follower = Follower::new(&expr, Timestamp::from_millis(0)).unwrap();
        let stream = Labels::from_pairs([("job", "a")]);
        let entry = |line: &str| LogEntry {
            at_ns: 1,
            line: line.to_owned(),
            metadata: Labels::from_pairs([("pod", "p")]),
        };
        assert_eq!(follower.matchers().len(), 1);
        assert_eq!(follower.show(&stream, &entry("nothing"), false), None);
        let all = follower.show(&stream, &entry("x=1 y=2"), false).unwrap();
        let expect = [("job", "a"), ("pod", "p"), ("x", "1")];
        assert_eq!(all.stream, Labels::from_pairs(expect));
        assert_eq!(all.line, "2");
        let apart = follower.show(&stream, &entry("x=1 y=2"), true).unwrap();
        assert_eq!(apart.stream, stream);
        assert_eq!(apart.metadata, Labels::from_pairs([("pod", "p")]));
        assert_eq!(apart.parsed, Labels::from_pairs([("x", "1")]));
    }
}
