//! `stackwatch scrub --dry-run --stored`: what the scrubber of today would find in lines that are
//! stored already.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Matcher};
use scrub::Scrubber;
use storage::LeftOut;

use super::Findings;
use crate::cli::Failure;
use crate::cli::data_dir::{self, DataDir};

/// Of one stream.
#[derive(Default)]
struct Tally {
    lines: u64,
    with_finds: u64,
    findings: Findings,
}

/// Per stream what is in it; so memory is bounded by the number of streams.
struct Report<'a> {
    scrubber: &'a Scrubber,
    streams: BTreeMap<Labels, Tally>,
    /// Metadata is mostly that of the line before.
    metadata: Labels,
    in_metadata: Vec<scrub::Found<'a>>,
}

impl<'a> Report<'a> {
    fn new(scrubber: &'a Scrubber) -> Self {
        Report {
            scrubber,
            streams: BTreeMap::new(),
            metadata: Labels::default(),
            in_metadata: Vec::new(),
        }
    }

    fn add(&mut self, stream: &Labels, entry: &LogEntry) {
        if entry.metadata != self.metadata {
            self.metadata = entry.metadata.clone();
            self.in_metadata = self.scrubber.examine_labels(&self.metadata);
        }
        if !self.streams.contains_key(stream) {
            let mut tally = Tally::default();
            let in_labels = self.scrubber.examine_labels(stream);
            in_labels.iter().for_each(|found| tally.findings.add(found));
            self.streams.insert(stream.clone(), tally);
        }
        let Some(tally) = self.streams.get_mut(stream) else {
            return;
        };
        let in_line = self.scrubber.examine(entry.line.as_bytes());
        tally.lines += 1;
        tally.with_finds += u64::from(!in_line.is_empty() || !self.in_metadata.is_empty());
        let all = in_line.iter().chain(&self.in_metadata);
        all.for_each(|found| tally.findings.add(found));
    }

    /// Streams with finds, then sums. Whether there is anything.
    fn print(&self, out: &mut impl Write) -> std::io::Result<bool> {
        let (mut lines, mut with_finds) = (0, 0);
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (labels, tally) in &self.streams {
            lines += tally.lines;
            with_finds += tally.with_finds;
            if tally.findings.0.is_empty() {
                continue;
            }
            let (lines, with_finds) = (tally.lines, tally.with_finds);
            // Labels may hold what is to be found.
            let labels = self.scrubber.labels(labels);
            writeln!(
                out,
                "{}: {lines} lines, {with_finds} with finds",
                labels.labels()
            )?;
            tally.findings.print(out)?;
            for (detector, found) in &tally.findings.0 {
                let (finds, streams) = sums.entry(detector).or_default();
                *finds += found.count;
                *streams += 1;
            }
        }
        let streams = self.streams.len();
        writeln!(
            out,
            "all: {streams} streams, {lines} lines, {with_finds} with finds"
        )?;
        for (detector, (finds, streams)) in &sums {
            writeln!(
                out,
                "  {detector:<14} {finds:>9}  streams with it: {streams}"
            )?;
        }
        Ok(!sums.is_empty())
    }
}

pub(super) fn dry_run(
    dir: &Path,
    scrubber: &Scrubber,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    let mut report = Report::new(scrubber);
    let losses = match data_dir::open(dir)? {
        DataDir::Idle(storage) => {
            let read = read_all(&storage, &mut report);
            let losses = storage.losses();
            storage.close().map_err(Failure::other)?;
            read?;
            losses
        }
        DataDir::InUse => {
            let read = storage::read_log_files(dir, &mut |stream, entry| report.add(stream, entry));
            let read = read.map_err(Failure::other)?;
            writeln!(
                err,
                "{} is in use: what is not in its files yet, of the last hour at most, is no part \
                 of this",
                dir.display()
            )?;
            let mut losses = LeftOut::of(dir).lines;
            if read.damaged > 0 {
                losses.push(format!("{} places in log files are damaged", read.damaged));
            }
            if read.unreadable > 0 {
                losses.push(format!("{} log files cannot be read", read.unreadable));
            }
            losses
        }
    };
    let anything = report.print(out)?;
    out.flush()?;
    data_dir::report(&losses, err)?;
    if anything {
        Err(Failure::Found)
    } else {
        Ok(())
    }
}

/// Stream by stream, so that frames of one only are in memory.
fn read_all(reader: &dyn LogReader, report: &mut Report<'_>) -> Result<(), Failure> {
    let streams = reader.streams(&[], i64::MIN, i64::MAX);
    for stream in streams.map_err(Failure::other)? {
        let matchers: Vec<Matcher> = (stream.iter())
            .map(|(name, value)| Matcher::equal(name, value))
            .collect();
        let selection = LogSelection {
            matchers: &matchers,
            start_ns: i64::MIN,
            end_ns: i64::MAX,
            direction: Direction::Forward,
            skim: model::Skim::default(),
        };
        let read = reader.read(&selection, &mut |labels, entry| {
            // Others may have these labels and more.
            if *labels == stream {
                report.add(labels, entry);
            }
            ControlFlow::Continue(())
        });
        read.map_err(Failure::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use scrub::{Config, LogBatch, PseudonymKey, RuleConfig, ScrubbedEntry};
    use storage::Storage;

    use super::*;

    fn storage(dir: &Path) -> Storage {
        match data_dir::open_or_make(dir) {
            Ok(DataDir::Idle(storage)) => storage,
            _ => panic!("cannot open {}", dir.display()),
        }
    }

    fn store(storage: &Storage, service: &str, lines: &[&str]) {
        let scrubber = Scrubber::default();
        let entry = |(n, line): (i64, &&str)| ScrubbedEntry {
            at_ns: 1_800_000_000_000_000_000 + n,
            line: scrubber.line(line.as_bytes()),
            metadata: scrubber.labels(&Labels::from_pairs([("ticket", "T-12345")])),
        };
        let batch = LogBatch {
            stream: scrubber.labels(&Labels::from_pairs([("service_name", service)])),
            entries: (0..).zip(lines).map(entry).collect(),
            position: None,
        };
        storage.append_logs(&batch).unwrap();
    }

    /// With a rule that came after the lines.
    fn later(regex: &str) -> Scrubber {
        let config = Config {
            rules: vec![RuleConfig {
                name: "customer".to_owned(),
                regex: regex.to_owned(),
                action: String::new(),
            }],
            ..Config::default()
        };
        Scrubber::new(&config, &PseudonymKey::new([1; 32])).unwrap()
    }

    fn report(dir: &Path, scrubber: &Scrubber) -> (bool, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = dry_run(dir, scrubber, &mut out, &mut err);
        let found = match done {
            Ok(()) => false,
            Err(Failure::Found) => true,
            Err(e) => panic!("{e}"),
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (found, text(out), text(err))
    }

    #[test]
    fn what_a_new_rule_would_have_found_is_told_per_stream_in_use_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let first = storage(dir.path());
        store(
            &first,
            "shop",
            &["customer=K1 paid", "customer=K2 bob@example.com", "ok"],
        );
        store(&first, "db", &["ok"]);
        first.close().unwrap();
        let expect = "{service_name=\"shop\"}: 3 lines, 2 with finds\n  \
             customer       mask               2  customer=<customer> paid\n\
             all: 2 streams, 4 lines, 2 with finds\n  \
             customer               2  streams with it: 1\n";
        let rule = later("customer=(K[0-9]+)");
        let (found, text, said) = report(dir.path(), &rule);
        assert_eq!((found, text.as_str(), said.as_str()), (true, expect, ""));
        let (found, text, _) = report(dir.path(), &Scrubber::default());
        assert!(
            !found && text == "all: 2 streams, 4 lines, 0 with finds\n",
            "{text}"
        );
        let running = storage(dir.path());
        // Two looks, hours apart: what is in memory goes to files.
        for hours in [0, 2] {
            running.maintain(Timestamp::from_millis(
                1_800_000_000_000 + hours * 3_600_000,
            ));
        }
        let (found, text, said) = report(dir.path(), &rule);
        assert!(found && said.contains("is in use"), "{said}");
        assert_eq!(text, expect);
        running.close().unwrap();
    }

    #[test]
    fn finds_in_metadata_count_with_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let first = storage(dir.path());
        store(&first, "shop", &["a", "b"]);
        first.close().unwrap();
        let (found, text, _) = report(dir.path(), &later("T-[0-9]+"));
        assert!(found && text.contains("2 with finds\n  customer"), "{text}");
        assert!(
            text.contains("ticket=<customer>") && !text.contains("T-12345"),
            "{text}"
        );
    }
}
