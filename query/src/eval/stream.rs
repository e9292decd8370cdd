//! Vectors whose series are computed one after the other: a source, then stages that treat
//! each series by itself. Only one series' points are in memory at a time, unless whoever
//! takes them keeps them.

mod parallel;

use std::collections::HashSet;

use foldhash::fast::RandomState;
use model::labels::METRIC_NAME;
use model::{HPoint, Labels, Samples, SelectedSeries};

use super::EvalError;
use super::evaluator::Evaluator;
use super::functions::slide::Slide;
use super::series::{Series, is_metadata, merge_same_labels, without_metadata};

/// Buffers that are used for one series after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) points: Samples,
    pub(crate) slide: Slide,
}

/// Computes the points of a series. May leave none.
pub(crate) type Read<'e> = Box<
    dyn Fn(&Evaluator<'_>, &mut SelectedSeries, &mut Scratch, &mut Series) -> Result<(), EvalError>
        + Send
        + Sync
        + 'e,
>;

/// Changes the points of the series with this number.
pub(crate) type Stage<'e> =
    Box<dyn Fn(&Evaluator<'_>, usize, &mut Series) -> Result<(), EvalError> + Send + Sync + 'e>;

/// Takes a computed series, its labels set; what it leaves is used as a buffer.
pub(crate) type Consume<'c> = dyn FnMut(usize, &mut Series) -> Result<(), EvalError> + 'c;

enum Source<'e> {
    /// Computed already.
    Ready(Vec<Series>),
    Stored {
        selected: Vec<SelectedSeries>,
        read: Read<'e>,
        stats_only: bool,
    },
}

/// What a series of a stream will be called.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
}

/// A vector to be computed.
pub(crate) struct Stream<'e> {
    source: Source<'e>,
    stages: Vec<Stage<'e>>,
    names: Vec<Name>,
    /// Series that need not be computed, if any.
    skip: Vec<bool>,
}

impl<'e> Stream<'e> {
    /// Series that are computed already.
    pub(crate) fn ready(series: Vec<Series>) -> Self {
        let names = series.iter().map(|s| Name {
            labels: s.labels.clone(),
            drop_name: s.drop_name,
        });
        Stream {
            names: names.collect(),
            source: Source::Ready(series),
            stages: Vec::new(),
            skip: Vec::new(),
        }
    }

    /// A name for each series; those without points will not be seen.
    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    pub(crate) fn then(mut self, stage: Stage<'e>) -> Self {
        self.stages.push(stage);
        self
    }

    /// Gives the series other names, distinct ones.
    pub(crate) fn renamed(mut self, names: Vec<Name>) -> Self {
        self.names = names;
        self
    }

    /// Leaves series out.
    pub(crate) fn without(mut self, skip: Vec<bool>) -> Self {
        if self.skip.is_empty() {
            self.skip = skip;
        } else {
            self.skip.iter_mut().zip(skip).for_each(|(s, o)| *s |= o);
        }
        self
    }
}

impl Evaluator<'_> {
    /// A stream over stored series.
    pub(crate) fn stored<'e>(
        &self,
        selected: Vec<SelectedSeries>,
        read: Read<'e>,
    ) -> Result<Stream<'e>, EvalError> {
        let names: Vec<Name> = selected
            .iter()
            .map(|s| Name {
                labels: s.labels.clone(),
                drop_name: false,
            })
            .collect();
        self.q.charge_bytes(names.len() * size_of::<Name>())?;
        Ok(Stream {
            source: Source::Stored {
                selected,
                read,
                stats_only: self.stats_only,
            },
            stages: Vec::new(),
            names,
            skip: Vec::new(),
        })
    }

    /// Takes the metric names away, now or at the end of the query.
    pub(crate) fn nameless<'e>(&self, mut stream: Stream<'e>) -> Result<Stream<'e>, EvalError> {
        for name in &mut stream.names {
            name.drop_name = true;
        }
        if self.q.options.delayed_name_removal {
            return Ok(stream);
        }
        let one_metric = have_one_metric(&stream.names);
        for (i, name) in stream.names.iter_mut().enumerate() {
            self.q.check_now_and_then(i)?;
            name.labels = without_metadata(&name.labels);
        }
        if one_metric {
            return Ok(stream);
        }
        self.distinct(stream)
    }

    /// Joins series of equal labels, if there are any.
    pub(crate) fn distinct<'e>(&self, stream: Stream<'e>) -> Result<Stream<'e>, EvalError> {
        let mut seen: HashSet<&Labels, RandomState> = HashSet::default();
        let mut same = false;
        for (i, name) in stream.names.iter().enumerate() {
            self.q.check_now_and_then(i)?;
            same |= !seen.insert(&name.labels);
        }
        if !same {
            return Ok(stream);
        }
        drop(seen);
        let series = self.collect(stream)?;
        Ok(Stream::ready(merge_same_labels(self.q, series)?))
    }

    /// All series with points.
    pub(crate) fn collect(&self, stream: Stream<'_>) -> Result<Vec<Series>, EvalError> {
        if let (Source::Ready(_), true, true) = (
            &stream.source,
            stream.stages.is_empty(),
            stream.skip.is_empty(),
        ) {
            let Stream { source, names, .. } = stream;
            let Source::Ready(mut series) = source else {
                return Ok(Vec::new());
            };
            for (s, name) in series.iter_mut().zip(names) {
                s.labels = name.labels;
                s.drop_name = name.drop_name;
            }
            return Ok(series);
        }
        let mut out = Vec::new();
        self.each(stream, &mut |_, s| {
            self.q.charge(s.samples())?;
            self.q.charge_bytes(size_of::<Series>())?;
            out.push(Series {
                labels: s.labels.clone(),
                drop_name: s.drop_name,
                // As long as it is; the buffer, mostly longer, serves the next one.
                floats: s.floats.clone(),
                histograms: std::mem::take(&mut s.histograms),
            });
            Ok(())
        })?;
        Ok(out)
    }

    /// Computes the series in order and hands over those with points.
    pub(crate) fn each(
        &self,
        stream: Stream<'_>,
        consume: &mut Consume<'_>,
    ) -> Result<(), EvalError> {
        let Stream {
            source,
            stages,
            names,
            skip,
        } = stream;
        match source {
            Source::Ready(series) => {
                for (i, mut s) in series.into_iter().enumerate() {
                    self.q.check_cancel()?;
                    if skip.get(i) == Some(&true) {
                        continue;
                    }
                    for stage in &stages {
                        stage(self, i, &mut s)?;
                    }
                    name(&mut s, &names[i]);
                    if !s.is_empty() {
                        consume(i, &mut s)?;
                    }
                }
                Ok(())
            }
            Source::Stored {
                selected,
                read,
                stats_only,
            } => {
                let reading = parallel::Reading {
                    read,
                    stages,
                    names,
                    skip,
                };
                let ev = Evaluator {
                    stats_only,
                    ..*self
                };
                reading.run(&ev, selected, consume)
            }
        }
    }
}

fn name(series: &mut Series, name: &Name) {
    series.labels = name.labels.clone();
    series.drop_name = name.drop_name;
}

/// Whether dropping the name leaves label sets distinct because all have the same.
fn have_one_metric(names: &[Name]) -> bool {
    let Some(first) = names.first() else {
        return true;
    };
    let metric = first.labels.metric_name();
    names.iter().all(|n| {
        let mut labels = n.labels.iter().filter(|(n, _)| is_metadata(n));
        match labels.next() {
            Some((METRIC_NAME, v)) => v == metric && labels.next().is_none(),
            Some(_) => false,
            None => metric.is_empty(),
        }
    })
}

impl Series {
    /// Points, a histogram counting as one per 16 bytes.
    pub(crate) fn samples(&self) -> usize {
        self.floats.len() + histogram_samples(&self.histograms)
    }
}

/// What histograms count as: one sample per 16 bytes, as in Prometheus.
pub(crate) fn histogram_samples(points: &[HPoint]) -> usize {
    points.iter().map(histogram_size).sum()
}

fn histogram_size(p: &HPoint) -> usize {
    let buckets = p.h.positive_buckets.len() + p.h.negative_buckets.len() + p.h.custom_values.len();
    let spans = p.h.positive_spans.len() + p.h.negative_spans.len();
    (136 + 8 * (buckets + spans)) / 16
}
