//! `stackwatch scrub [FILE]`: what would be stored of these lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Shared};

#[derive(Args)]
pub(super) struct ScrubArgs {
    /// File to read [default: standard input]
    file: Option<PathBuf>,
}

pub(super) fn scrub(args: &ScrubArgs, shared: &Shared) -> Result<(), Failure> {
    let config = shared.client_config()?;
    let scrubber =
        scrub::Scrubber::new(&config.scrub).map_err(|e| Failure::Usage(e.to_string()))?;
    let input: Box<dyn Read> = match &args.file {
        Some(file) => Box::new(
            std::fs::File::open(file)
                .map_err(|e| Failure::Other(format!("{}: {e}", file.display())))?,
        ),
        None => Box::new(std::io::stdin()),
    };
    let mut input = BufReader::new(input);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = Vec::new();
    let mut lines = 0_u64;
    while input.read_until(b'\n', &mut line)? > 0 {
        while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            line.pop();
        }
        writeln!(out, "{}", scrubber.line(&line).as_str())?;
        line.clear();
        lines += 1;
    }
    out.flush()?;
    summary(lines, &scrubber.counts())
}

fn summary(lines: u64, counts: &[(&'static str, u64)]) -> Result<(), Failure> {
    let mut err = std::io::stderr().lock();
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    writeln!(err, "lines: {lines}, replacements: {total}")?;
    for (detector, count) in counts.iter().filter(|(_, n)| *n > 0) {
        writeln!(err, "  {detector}: {count}")?;
    }
    Ok(())
}
