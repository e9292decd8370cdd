//! `stackwatch tsdb export`: OpenMetrics text, metric by metric, series by series, oldest first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use model::labels::METRIC_NAME;
use model::{
    Hints, Labels, Matcher, Samples, Selection, SeriesReader, TimeRange, Timestamp, is_stale,
};

use super::text::{put_line, series_text};
use crate::api::params::parse_time;
use crate::cli::client::Url;
use crate::cli::data_dir::{self, DataDir};
use crate::cli::{Failure, Shared};

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
    /// File to write; it must not exist yet [default: standard output]
    file: Option<PathBuf>,
    #[command(flatten)]
    url: Url,
}

/// What was written and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    series: u64,
    samples: u64,
    /// Native histograms.
    histograms: u64,
    /// Staleness markers.
    stale: u64,
    /// Series without a metric name.
    nameless: u64,
}

pub(super) fn export(args: &ExportArgs, shared: &Shared) -> Result<(), Failure> {
    let sets = args.sets()?;
    let range = args.range()?;
    let dir = shared.data_dir()?;
    let tally = match data_dir::open(&dir)? {
        DataDir::Idle(storage) => {
            let done = args.write(&storage, &sets, range);
            storage.close().map_err(Failure::other)?;
            done?
        }
        DataDir::InUse => {
            let stage = data_dir::ask_for_snapshot(&dir, &args.url.base(shared)?)?;
            // Only samples are read; log files may be links to files that are being written.
            match std::fs::remove_dir_all(stage.path().join("logs")) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
            let DataDir::Idle(copy) = data_dir::open(stage.path())? else {
                return Err(Failure::Other("somebody else uses our snapshot".to_owned()));
            };
            args.write(&copy, &sets, range)?
        }
    };
    let mut err = std::io::stderr().lock();
    writeln!(err, "{} samples of {} series", tally.samples, tally.series)?;
    for (count, what) in [
        (
            tally.histograms,
            "native histograms LEFT OUT: OpenMetrics text cannot say them (a backup keeps them)",
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
    Ok(())
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
            Some(text) => parse_time(text).map_err(|e| Failure::Usage(format!("--{name}: {e}"))),
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
            return write(reader, sets, range, &mut out);
        };
        let named = |e: std::io::Error| Failure::Other(format!("{}: {e}", path.display()));
        let file = File::create_new(path).map_err(named)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let written = write(reader, sets, range, &mut out);
        let synced = written.and_then(|tally| {
            out.get_ref().sync_all().map_err(named)?;
            Ok(tally)
        });
        if synced.is_err() {
            // A half-written file would be taken for a whole one.
            let _ = std::fs::remove_file(path);
        }
        synced
    }
}

/// Writes all series that match one of `sets` (all without any). In memory is one metric name's
/// list of series at a time, and a chunk of samples.
fn write(
    reader: &dyn SeriesReader,
    sets: &[Vec<Matcher>],
    range: TimeRange,
    out: &mut dyn Write,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let everything = [Vec::new()];
    let asked = if sets.is_empty() { &everything } else { sets };
    let names = reader.label_values(METRIC_NAME, sets, range);
    let mut samples = Samples::default();
    let mut lines = String::new();
    for name in names.map_err(Failure::other)? {
        // Only where several selectors may give the same series.
        let mut seen: BTreeSet<Labels> = BTreeSet::new();
        for set in asked {
            let mut matchers = vec![Matcher::equal(METRIC_NAME, name.clone())];
            matchers.extend(set.iter().cloned());
            let selection = Selection {
                range,
                matchers: &matchers,
                hints: Hints::default(),
            };
            for mut series in reader.select(&selection).map_err(Failure::other)? {
                if asked.len() > 1 && !seen.insert(series.labels.clone()) {
                    continue;
                }
                let Some(text) = series_text(&series.labels) else {
                    continue;
                };
                let before = tally.samples;
                samples.clear();
                while series
                    .cursor
                    .next_run(&mut samples)
                    .map_err(Failure::other)?
                {
                    for point in &samples.floats {
                        if !range.contains(Timestamp::from_millis(point.t)) {
                            continue;
                        }
                        if is_stale(point.v) {
                            tally.stale += 1;
                            continue;
                        }
                        put_line(&mut lines, &text, *point);
                        tally.samples += 1;
                    }
                    let inside = |t: i64| range.contains(Timestamp::from_millis(t));
                    let histograms = samples.histograms.iter().filter(|p| inside(p.t));
                    tally.histograms += histograms.count() as u64;
                    out.write_all(lines.as_bytes())?;
                    lines.clear();
                    samples.clear();
                }
                tally.series += u64::from(tally.samples > before);
            }
        }
    }
    let nameless = [Matcher::equal(METRIC_NAME, "")];
    for set in asked {
        let mut matchers = nameless.to_vec();
        matchers.extend(set.iter().cloned());
        let found = reader.series(&[matchers], range).map_err(Failure::other)?;
        tally.nameless += found.len() as u64;
    }
    out.write_all(b"# EOF\n")?;
    out.flush()?;
    Ok(tally)
}
