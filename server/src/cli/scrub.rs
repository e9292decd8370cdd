//! `stackwatch scrub [FILE]…`: what would be stored of these lines, and with `--dry-run` a report
//! of what is in them, or in the lines already stored. Lines pass one by one, so memory is bounded
//! by the longest.

mod stored;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use scrub::{Action, Found, Scrubber};

use super::{Failure, Shared};
use crate::scrub_key;

/// Longest line, in bytes: as much as a container's line may have. What is longer is cut, because
/// a secret across a cut would be found in neither half.
const LINE_BYTES_MAX: usize = 1 << 20;
const STDIN: &str = "-";

#[derive(Args)]
pub(super) struct ScrubArgs {
    /// Files to read; - is standard input [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Report what would be found, per file and detector, instead of printing lines (exit code 3
    /// when there is something)
    #[arg(long)]
    dry_run: bool,
    /// Report on the lines already stored in the data directory, per stream: what was stored before
    /// a rule was added
    #[arg(long, requires = "dry_run", conflicts_with = "files")]
    stored: bool,
}

pub(super) fn scrub(args: &ScrubArgs, shared: &Shared) -> Result<(), Failure> {
    let config = shared.client_config()?;
    let dir = shared.data_dir.as_ref().unwrap_or(&config.data_dir);
    let key = scrub_key::load(dir).map_err(Failure::other)?;
    let pseudonyms = |action: &String| Action::of(action) == Some(Action::Pseudonym);
    let rules = config.scrub.rules.iter().map(|rule| &rule.action);
    if key.is_none() && config.scrub.actions.values().chain(rules).any(pseudonyms) {
        writeln!(
            std::io::stderr(),
            "no {} in {}: pseudonyms of this run are of no other (name the data directory with --data-dir)",
            scrub_key::FILE,
            dir.display()
        )?;
    }
    let key = key.map_or_else(scrub_key::passing, Ok)?;
    let scrubber = Scrubber::new(&config.scrub, &key).map_err(|e| Failure::Usage(e.to_string()))?;
    if args.stored {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let done = stored::dry_run(dir, &scrubber, &mut out, &mut std::io::stderr().lock());
        out.flush()?;
        return done;
    }
    let stdin = [PathBuf::from(STDIN)];
    let files = if args.files.is_empty() {
        &stdin[..]
    } else {
        &args.files
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = if args.dry_run {
        dry_run(files, &scrubber, &mut out)
    } else {
        filter(files, &scrubber, &mut out)
    };
    out.flush()?;
    done
}

fn filter(files: &[PathBuf], scrubber: &Scrubber, out: &mut impl Write) -> Result<(), Failure> {
    let (mut lines, mut cut, mut dropped) = (0_u64, 0_u64, 0_u64);
    for file in files {
        each_line(file, |line, is_cut| {
            lines += 1;
            cut += u64::from(is_cut);
            match scrubber.keep(line) {
                Some(clean) => writeln!(out, "{}", clean.as_str()),
                None => {
                    dropped += 1;
                    Ok(())
                }
            }
        })?;
    }
    out.flush()?;
    let mut err = std::io::stderr().lock();
    let counts = scrubber.counts();
    let total: u64 = counts.iter().map(|found| found.count).sum();
    writeln!(
        err,
        "lines: {lines}, finds: {total}, lines dropped: {dropped}"
    )?;
    for found in counts.iter().filter(|found| found.count > 0) {
        let action = found.action.name();
        writeln!(err, "  {}: {} ({action})", found.detector, found.count)?;
    }
    warn_of_cuts(&mut err, cut)
}

/// What was found of one kind.
struct Finding {
    action: Action,
    count: u64,
    example: String,
}

/// What was found in one place, by detector.
#[derive(Default)]
struct Findings(BTreeMap<String, Finding>);

impl Findings {
    fn add(&mut self, found: &Found<'_>) {
        if let Some(known) = self.0.get_mut(found.detector) {
            known.count += 1;
            return;
        }
        let finding = Finding {
            action: found.action,
            count: 1,
            example: found.excerpt.clone(),
        };
        self.0.insert(found.detector.to_owned(), finding);
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (detector, found) in &self.0 {
            let (action, count) = (found.action.name(), found.count);
            let example = printable(&found.example);
            writeln!(out, "  {detector:<14} {action:<10} {count:>9}  {example}")?;
        }
        Ok(())
    }
}

fn dry_run(files: &[PathBuf], scrubber: &Scrubber, out: &mut impl Write) -> Result<(), Failure> {
    let (mut anything, mut cut) = (false, 0_u64);
    for file in files {
        let (mut lines, mut with_finds) = (0_u64, 0_u64);
        let mut findings = Findings::default();
        each_line(file, |line, is_cut| {
            lines += 1;
            cut += u64::from(is_cut);
            let found = scrubber.examine(line);
            with_finds += u64::from(!found.is_empty());
            found.iter().for_each(|found| findings.add(found));
            Ok(())
        })?;
        anything |= with_finds > 0;
        let name = file.display();
        writeln!(out, "{name}: {lines} lines, {with_finds} with finds")?;
        findings.print(out)?;
    }
    out.flush()?;
    warn_of_cuts(&mut std::io::stderr().lock(), cut)?;
    if anything {
        Err(Failure::Found)
    } else {
        Ok(())
    }
}

fn warn_of_cuts(err: &mut impl Write, cut: u64) -> Result<(), Failure> {
    if cut > 0 {
        let max = LINE_BYTES_MAX;
        writeln!(
            err,
            "{cut} lines were cut: they are longer than {max} bytes"
        )?;
    }
    Ok(())
}

/// Colours and the like of a foreign line do nothing to the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Calls `each` with every line without its end, and with whether it was cut.
fn each_line(
    file: &Path,
    mut each: impl FnMut(&[u8], bool) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::Other(format!("{}: {e}", file.display()));
    let input: Box<dyn Read> = if file == Path::new(STDIN) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes_max = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut input).take(bytes_max).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        let is_cut = line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n');
        if is_cut {
            line.truncate(LINE_BYTES_MAX);
            input.skip_until(b'\n').map_err(failed)?;
        }
        each(&line, is_cut)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join("app.log");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn lines_are_scrubbed_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = b"a bob@example.com\r\n\n\xff b\n".to_vec();
        bytes.extend(vec![b'x'; LINE_BYTES_MAX]);
        bytes.extend(b"\n");
        bytes.extend(vec![b'y'; LINE_BYTES_MAX + 1]);
        bytes.extend(b" bob@example.com\nlast");
        let mut out = Vec::new();
        filter(&[file(&dir, &bytes)], &Scrubber::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["a <email>", "", "\u{fffd} b"]);
        assert_eq!(lines[3].len(), LINE_BYTES_MAX);
        assert_eq!(lines[4], "y".repeat(LINE_BYTES_MAX));
        assert_eq!(lines[5..], ["last"]);
    }

    #[test]
    fn a_dry_run_reports_and_never_shows_a_find() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(
            &dir,
            b"to bob@example.com now\nto a@b.org\n\x1b[1mpassword=hunter2\nx\n",
        );
        let mut out = Vec::new();
        let done = dry_run(std::slice::from_ref(&path), &Scrubber::default(), &mut out);
        assert!(matches!(done, Err(Failure::Found)));
        let text = String::from_utf8(out).unwrap();
        let expect = format!(
            "{}: 4 lines, 3 with finds\n  \
             email          mask               2  to <email> now\n  \
             secret         mask               1   [1mpassword=<secret>\n",
            path.display()
        );
        assert_eq!(text, expect);
        let clean = file(&dir, b"nothing\n");
        assert!(dry_run(&[clean], &Scrubber::default(), &mut Vec::new()).is_ok());
    }

    #[test]
    fn a_missing_file_is_named() {
        let done = filter(
            &[PathBuf::from("/nowhere/x")],
            &Scrubber::default(),
            &mut Vec::new(),
        );
        assert!(done.unwrap_err().to_string().starts_with("/nowhere/x: "));
    }
}
