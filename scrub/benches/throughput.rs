//! MB/s per core of the default scrubber over lines like those of a small server, beside the
//! same patterns one after another. `cargo xtask bench scrub` runs it.
//!
//! Time is CPU time of the thread as the kernel counts it, so that neighbours on the machine
//! count less. Both read the same lines in the same run, by turns.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints a table and may stop at anything odd"
)]

#[path = "throughput/lines.rs"]
mod lines;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use scrub::Scrubber;

/// Text per kind of line mix, in bytes.
const BYTES: usize = 8 << 20;
/// Each way is measured so often; the median and the range are told.
const ROUNDS: usize = 7;

/// What a first version of a scrubber looks like: one pattern per detector, no validation, one
/// after another over the whole line.
const NAIVE: &[&str] = &[
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.)*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    r"\bxox[a-z]-[A-Za-z0-9-]{10,}",
    r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"(?i:\bbearer|\bbasic) +[A-Za-z0-9._~+/=-]{8,}",
    r"://[^/\s:@]+:[^/\s@]+@",
    r#"(?i)"?(?:password|passwd|secret|token|api_?key|authorization|cookie)"?\s*[=:]\s*"?[^\s",&;]+"#,
    r"\b[3-6][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,7}\b",
    r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b",
    r"\+[1-9][0-9 ()-]{7,18}[0-9]",
    r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
    r"(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:)+:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4})*)?",
];

fn main() {
    // `cargo test` and `cargo bench` say what they want of a harness.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let naive: Vec<Regex> = NAIVE
        .iter()
        .map(|pattern| {
            Regex::builder()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build(pattern)
                .unwrap()
        })
        .collect();
    let before = std::time::Instant::now();
    drop(Scrubber::default());
    println!("building the scrubber: {:.0?}", before.elapsed());
    println!("MB/s per core (CPU time of the thread), median of {ROUNDS} rounds [lowest, highest]");
    for (title, mix) in [
        (
            "no public address in access lines",
            lines::Mix {
                public_addresses: false,
                personal_per_mille: 10,
            },
        ),
        (
            "a public address in each access line",
            lines::Mix {
                public_addresses: true,
                personal_per_mille: 10,
            },
        ),
        (
            "nothing to find",
            lines::Mix {
                public_addresses: false,
                personal_per_mille: 0,
            },
        ),
    ] {
        let text = lines::text(&mix, BYTES);
        let all: Vec<&[u8]> = text
            .split(|byte| *byte == b'\n')
            .filter(|l| !l.is_empty())
            .collect();
        println!(
            "\n{title}: {} lines, {:.0} bytes each, 1 in {} with something personal or secret",
            all.len(),
            text.len() as f64 / all.len() as f64,
            1000_u32
                .checked_div(mix.personal_per_mille)
                .map_or_else(|| "∞".to_owned(), |n| n.to_string()),
        );
        let scrubber = Scrubber::default();
        let (mut ours, mut theirs, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(speed(&all, |line| scrubber.line(line).len()));
            if std::env::args().any(|arg| arg == "--alone") {
                continue;
            }
            // The slow one reads a part, the same lines each time.
            let part = &all[..all.len() / 8];
            theirs.push(speed(part, |line| replace_all(&naive, line)));
            copies.push(speed(&all, |line| {
                std::str::from_utf8(line).unwrap().to_owned().len()
            }));
        }
        row("scrubber", &mut ours);
        row("replace_all, pattern after pattern", &mut theirs);
        row("UTF-8 check and copy alone", &mut copies);
        let counting = Scrubber::default();
        all.iter().for_each(|line| drop(counting.line(line)));
        let found: u64 = counting.counts().iter().map(|c| c.count).sum();
        println!("  found by the scrubber: {found}");
    }
}

fn row(name: &str, speeds: &mut [f64]) {
    if speeds.is_empty() {
        return;
    }
    speeds.sort_by(f64::total_cmp);
    println!(
        "  {name:<36} {:>6.0} [{:.0}, {:.0}]",
        speeds[speeds.len() / 2],
        speeds[0],
        speeds[speeds.len() - 1]
    );
}

/// The kernel counts in steps of milliseconds, so the lines are read until it is some hundred.
fn speed(lines: &[&[u8]], mut work: impl FnMut(&[u8]) -> usize) -> f64 {
    const NS_MIN: u64 = 200_000_000;
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut kept = 0_usize;
    let mut passes = 0;
    let before = cpu_ns();
    let mut took = 0;
    while took < NS_MIN {
        for line in lines {
            kept = kept.wrapping_add(work(line));
        }
        passes += 1;
        took = cpu_ns() - before;
    }
    std::hint::black_box(kept);
    (bytes * passes) as f64 * 1e3 / took as f64
}

/// CPU time of this thread so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn replace_all(patterns: &[Regex], line: &[u8]) -> usize {
    let mut text = String::from_utf8_lossy(line).into_owned().into_bytes();
    for pattern in patterns {
        let mut clean = Vec::with_capacity(text.len());
        let mut copied = 0;
        for found in pattern.find_iter(&text) {
            clean.extend_from_slice(&text[copied..found.start()]);
            clean.extend_from_slice(b"[REDACTED]");
            copied = found.end();
        }
        if copied > 0 {
            clean.extend_from_slice(&text[copied..]);
            text = clean;
        }
    }
    text.len()
}
