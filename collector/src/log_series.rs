//! Series that are counted where log lines are stored, and collected like everything else.

use std::sync::Arc;

use model::{SampleBatch, Timestamp};
use tokio::time::Instant;

use crate::exposition::series::format_bound;
use crate::metadata::{FamilyMetadata, Said};
use crate::source::Source;
use crate::target::Target;

/// What counts lines.
pub trait LogSeries: Send + Sync {
    /// The families of the series.
    fn families(&self) -> Vec<FamilyMetadata>;

    /// Hands over every series as it is at `at`. Returns what the operator should know.
    fn tell(&self, at: Timestamp, told: &mut dyn FnMut(&Told<'_>)) -> Vec<String>;
}

/// A sample of such a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told<'a> {
    /// The family.
    pub name: &'a str,
    /// `_bucket`, `_sum`, `_count` of a histogram, else nothing.
    pub suffix: &'a str,
    /// Names and values in an order that stays; they win over the target's.
    pub labels: &'a [(&'a str, &'a str)],
    /// The label `le` of a histogram's bucket.
    pub bound: Option<f64>,
    /// Its value.
    pub value: f64,
    /// Of a counter that is told for the first time: when it was 0.
    pub since: Option<Timestamp>,
}

/// Tells of them at every tick.
pub(crate) struct LogSource(pub(crate) Arc<dyn LogSeries>);

impl Source for LogSource {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let mut pass = target.pass(at);
        for family in self.0.families() {
            pass.describe(&Said {
                name: &family.name,
                kind: family.kind,
                help: &family.help,
                plain_help: true,
                unit: &family.unit,
            });
        }
        let mut name = String::new();
        let notes = self.0.tell(at, &mut |told| {
            name.clear();
            name.push_str(told.name);
            name.push_str(told.suffix);
            let bound = told.bound.map(format_bound);
            let mut labels = told.labels.to_vec();
            labels.extend(bound.as_deref().map(|bound| ("le", bound)));
            match told.since {
                Some(since) => pass.put_begun(&name, &labels, told.value, since),
                None => pass.put_described(&name, &labels, told.value),
            }
        });
        let collected = pass.done();
        target.set_notes(notes);
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Labels;

    use super::*;
    use crate::Status;
    use crate::exposition::Kind;

    /// Tells its counter for the first time at the second tick.
    struct Counted;

    impl LogSeries for Counted {
        fn families(&self) -> Vec<FamilyMetadata> {
            vec![FamilyMetadata {
                name: "took".to_owned(),
                kind: Kind::Histogram,
                help: "Help".to_owned(),
                unit: String::new(),
            }]
        }

        fn tell(&self, at: Timestamp, told: &mut dyn FnMut(&Told<'_>)) -> Vec<String> {
            let before = Timestamp::from_millis(at.millis() - 10);
            if at.millis() > 10 {
                told(&Told {
                    name: "took",
                    suffix: "_bucket",
                    labels: &[("a", "b")],
                    bound: Some(1.0),
                    value: at.millis() as f64,
                    since: (at.millis() == 20).then_some(before),
                });
            }
            vec!["a note".to_owned()]
        }
    }

    #[tokio::test]
    async fn a_counter_that_is_new_was_zero_at_the_tick_before() {
        let timing = (Duration::from_secs(15), Duration::from_secs(10));
        let none = Labels::empty;
        let status = Status::default();
        let mut target = Target::new("logs", "u", none(), none(), timing, status.clone());
        let mut source = LogSource(Arc::new(Counted));
        for (at, expect) in [
            (10, ""),
            (
                20,
                "took_bucket{a=\"b\", le=\"1.0\"}@10=0 took_bucket{a=\"b\", le=\"1.0\"}@20=20",
            ),
            (30, "took_bucket{a=\"b\", le=\"1.0\"}@30=30"),
        ] {
            let batch = source
                .collect(&mut target, Timestamp::from_millis(at))
                .await;
            let samples = batch.samples.iter().filter(|s| s.labels.get("a").is_some());
            let shown = samples.map(|s| format!("{}@{}={}", s.labels, s.at.millis(), s.value));
            assert_eq!(shown.collect::<Vec<_>>().join(" "), expect, "{at}");
        }
        assert_eq!(status.targets()[0].notes, ["a note"]);
    }
}
