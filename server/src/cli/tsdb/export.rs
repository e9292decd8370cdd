//! `stackwatch tsdb export`: OpenMetrics text, metric by metric, series by series, oldest first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::labels::METRIC_NAME;
use model::{
    Hints, Labels, Matcher, SampleCursor, Samples, Selected, SelectedSeries, Selection,
    SeriesReader, TimeRange, Timestamp, is_stale,
};
use storage::LeftOut;

use super::classic::Bounds;
use super::text::{put_line, series_text};
use crate::cli::client::Url;
use crate::cli::data_dir::{self, DataDir};
use crate::cli::{Failure, Shared, instant};

#[derive(Args)]
pub(super) struct ExportArgs {
    /// Series to write, as a selector; may be given several times [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// First instant, RFC 3339 or seconds since the epoch
    #[arg(long)]
    start: Option<String>,
    /// Last instant
    #[arg(long)]
    end: Option<String>,
    /// What becomes of native histograms, which OpenMetrics text cannot say
    #[arg(long, value_enum, value_name = "FORM", default_value = "skip")]
    histograms: HistogramForm,
    /// File to write; it must not exist yet [default: standard output]
    file: Option<PathBuf>,
    #[command(flatten)]
    url: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HistogramForm {
    /// They are left out, and counted
    Skip,
    /// NAME_bucket with the bounds of all samples, NAME_count and NAME_sum
    Classic,
}

/// What was written and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    series: u64,
    samples: u64,
    /// Native histograms left out.
    histograms: u64,
    /// Native histograms written as classic ones.
    classic: u64,
    /// Staleness markers.
    stale: u64,
    /// Series without a metric name.
    nameless: u64,
}

pub(super) fn export(args: &ExportArgs, shared: &Shared) -> Result<(), Failure> {
    let sets = args.sets()?;
    let range = args.range()?;
    let dir = shared.data_dir()?;
    let (tally, losses) = match data_dir::open(&dir)? {
        DataDir::Idle(storage) => {
            let done = args.write(&storage, &sets, range);
            // Some damage is found by reading only.
            let losses = storage.losses();
            storage.close().map_err(Failure::other)?;
            (done?, losses)
        }
        DataDir::InUse => {
            let stage = data_dir::ask_for_snapshot(&dir, &args.url.base(shared)?)?;
            // Only samples are read; log files may be links to files that are being written.
            match std::fs::remove_dir_all(stage.path().join("logs")) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
            let copy = data_dir::open_copy(stage.path())?;
            let tally = args.write(&copy, &sets, range)?;
            // The copy has only what the running one reads.
            let mut losses = LeftOut::of(&dir).lines;
            losses.extend(copy.losses());
            (tally, losses)
        }
    };
    let mut err = std::io::stderr().lock();
    writeln!(err, "{} samples of {} series", tally.samples, tally.series)?;
    for (count, what) in [
        (
            tally.histograms,
            "native histograms LEFT OUT: OpenMetrics text cannot say them; --histograms classic \
             writes them as classic ones, a backup keeps them",
        ),
        (
            tally.classic,
            "native histograms written as classic ones (_bucket, _count, _sum)",
        ),
        (
            tally.stale,
            "staleness markers left out: OpenMetrics text cannot say them",
        ),
        (tally.nameless, "series without a metric name LEFT OUT"),
    ] {
        if count > 0 {
            writeln!(err, "{count} {what}")?;
        }
    }
    data_dir::report(&losses, &mut err)
}

impl ExportArgs {
    fn sets(&self) -> Result<Vec<Vec<Matcher>>, Failure> {
        let sets = self.matches.iter().map(|text| {
            query::parse_matchers(text).map_err(|e| Failure::Usage(format!("--match {text}: {e}")))
        });
        sets.collect()
    }

    fn range(&self) -> Result<TimeRange, Failure> {
        let time = |name: &str, text: &Option<String>, default| match text {
            None => Ok(default),
            Some(text) => instant(name, text),
        };
        Ok(TimeRange::new(
            time("start", &self.start, Timestamp::MIN)?,
            time("end", &self.end, Timestamp::MAX)?,
        ))
    }

    fn write(
        &self,
        reader: &dyn SeriesReader,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Tally, Failure> {
        let Some(path) = &self.file else {
            let mut out = BufWriter::new(std::io::stdout().lock());
            return self.write_to(reader, sets, range, &mut out);
        };
        let named = |why: String| Failure::Other(format!("cannot write {}: {why}", path.display()));
        let file = File::create_new(path).map_err(|e| named(e.to_string()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let written = self.write_to(reader, sets, range, &mut out);
        let synced = written.and_then(|tally| {
            out.get_ref().sync_all()?;
            Ok(tally)
        });
        synced.map_err(|failure| {
            // A half-written file would be taken for a whole one.
            let _ = std::fs::remove_file(path);
            named(failure.to_string())
        })
    }

    fn write_to(
        &self,
        reader: &dyn SeriesReader,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        out: &mut dyn Write,
    ) -> Result<Tally, Failure> {
        let mut writer = Writer {
            reader,
            range,
            form: self.histograms,
            out,
            lines: String::new(),
            tally: Tally::default(),
        };
        writer.all(sets)?;
        Ok(writer.tally)
    }
}

/// Writes series one by one. In memory is one metric name's list of series at a time, and a
/// chunk of samples.
struct Writer<'a> {
    reader: &'a dyn SeriesReader,
    range: TimeRange,
    form: HistogramForm,
    out: &'a mut dyn Write,
    lines: String,
    tally: Tally,
}

impl Writer<'_> {
    /// All series that match one of `sets`, or all without any.
    fn all(&mut self, sets: &[Vec<Matcher>]) -> Result<(), Failure> {
        let everything = [Vec::new()];
        let asked = if sets.is_empty() { &everything } else { sets };
        let names = self.reader.label_values(METRIC_NAME, sets, self.range);
        for name in names.map_err(Failure::other)? {
            // Only where several selectors may give the same series.
            let mut seen: BTreeSet<Labels> = BTreeSet::new();
            for set in asked {
                let mut matchers = vec![Matcher::equal(METRIC_NAME, name.clone())];
                matchers.extend(set.iter().cloned());
                for series in self.select(&matchers)? {
                    if asked.len() == 1 || seen.insert(series.labels.clone()) {
                        self.series(series)?;
                    }
                }
            }
        }
        for set in asked {
            let mut matchers = vec![Matcher::equal(METRIC_NAME, "")];
            matchers.extend(set.iter().cloned());
            let found = self.reader.series(&[matchers], self.range);
            self.tally.nameless += found.map_err(Failure::other)?.len() as u64;
        }
        self.out.write_all(b"# EOF\n")?;
        self.out.flush()?;
        Ok(())
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Selected, Failure> {
        let selection = Selection {
            range: self.range,
            matchers,
            hints: Hints::default(),
        };
        self.reader.select(&selection).map_err(Failure::other)
    }

    fn series(&mut self, series: SelectedSeries) -> Result<(), Failure> {
        let Some(text) = series_text(&series.labels) else {
            return Ok(());
        };
        let before = (self.tally.samples, self.tally.classic);
        let mut bounds = Bounds::default();
        let range = self.range;
        let inside = |t: i64| range.contains(Timestamp::from_millis(t));
        let mut histograms = 0;
        each_run(series.cursor, &mut |samples| {
            for point in samples.floats.iter().filter(|p| inside(p.t)) {
                if is_stale(point.v) {
                    self.tally.stale += 1;
                } else {
                    put_line(&mut self.lines, &text, *point);
                    self.tally.samples += 1;
                }
            }
            for point in samples.histograms.iter().filter(|p| inside(p.t)) {
                if is_stale(point.h.sum) {
                    self.tally.stale += 1;
                } else {
                    bounds.add(&point.h);
                    histograms += 1;
                }
            }
            self.flush()
        })?;
        if histograms > 0 && self.form == HistogramForm::Classic {
            self.classic(&series.labels, &bounds)?;
        } else {
            self.tally.histograms += histograms;
        }
        let grown = before != (self.tally.samples, self.tally.classic);
        self.tally.series += u64::from(grown);
        Ok(())
    }

    /// Reads a series of histograms again, now that all its bounds are known.
    fn classic(&mut self, labels: &Labels, bounds: &Bounds) -> Result<(), Failure> {
        let Some(classic) = bounds.series(labels) else {
            return Ok(());
        };
        let equal = labels
            .iter()
            .map(|(name, value)| Matcher::equal(name, value));
        let matchers: Vec<Matcher> = equal.collect();
        let range = self.range;
        for series in self.select(&matchers)? {
            if series.labels != *labels {
                continue;
            }
            each_run(series.cursor, &mut |samples| {
                for point in &samples.histograms {
                    let inside = range.contains(Timestamp::from_millis(point.t));
                    if inside && !is_stale(point.h.sum) {
                        classic.put(&mut self.lines, point);
                        self.tally.classic += 1;
                    }
                }
                self.flush()
            })?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.write_all(self.lines.as_bytes())?;
        self.lines.clear();
        Ok(())
    }
}

/// Hands over what a cursor gives, piece by piece.
fn each_run(
    mut cursor: Box<dyn SampleCursor>,
    take: &mut dyn FnMut(&Samples) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut samples = Samples::default();
    while cursor.next_run(&mut samples).map_err(Failure::other)? {
        take(&samples)?;
        samples.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::histogram::{Histogram, Span};
    use model::{HistogramSample, SampleBatch};
    use prometheus_client::registry::Registry;
    use storage::Storage;

    use super::*;

    /// What is exported of one native histogram at two instants.
    fn export(form: HistogramForm) -> (String, Tally) {
        let dir = tempfile::tempdir().unwrap();
        let config = storage::Config {
            dir: dir.path().to_owned(),
            ..storage::Config::default()
        };
        let now = Timestamp::from_millis(1_700_000_000_000);
        let storage = Storage::open(config, now, &mut Registry::default()).unwrap();
        for at in [now, now.plus(std::time::Duration::from_secs(1))] {
            let histogram = Arc::new(Histogram {
                count: 2.0,
                sum: 3.0,
                positive_spans: vec![Span {
                    offset: 1,
                    length: 1,
                }],
                positive_buckets: vec![2.0],
                ..Histogram::default()
            });
            let labels = Labels::from_pairs([("__name__", "h")]);
            let mut batch = SampleBatch::from(Vec::new());
            batch.histograms.push(HistogramSample {
                labels,
                at,
                histogram,
            });
            assert_eq!(storage.append_samples(&batch, at).unwrap().appended, 1);
        }
        let args = ExportArgs {
            matches: Vec::new(),
            start: None,
            end: Some("1700000000".to_owned()),
            histograms: form,
            file: Some(dir.path().join("out")),
            url: Url::default(),
        };
        let range = args.range().unwrap();
        let tally = args.write(&storage, &[], range).unwrap();
        let text = std::fs::read_to_string(dir.path().join("out")).unwrap();
        (text, tally)
    }

    #[test]
    fn native_histograms_are_counted_or_become_classic_ones() {
        let (text, tally) = export(HistogramForm::Skip);
        assert_eq!((text.as_str(), tally.histograms), ("# EOF\n", 1));
        let (text, tally) = export(HistogramForm::Classic);
        assert_eq!((tally.histograms, tally.classic), (0, 1));
        assert_eq!(
            text,
            "h_bucket{le=\"0\"} 0 1700000000\n\
             h_bucket{le=\"2\"} 2 1700000000\n\
             h_bucket{le=\"+Inf\"} 2 1700000000\n\
             h_count 2 1700000000\n\
             h_sum 3 1700000000\n\
             # EOF\n"
        );
    }
}
