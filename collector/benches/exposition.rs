//! MB/s per core of the exposition parser on the genuine scrapes of ../shared, beside the least that
//! any parser does: checking that the text is UTF-8 and finding its lines. `cargo xtask bench
//! exposition` runs it. Time is CPU time of the thread as the kernel counts it.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints a table and may stop at anything odd"
)]

use std::path::Path;

use collector::exposition::{Format, Item, Parser, series};

/// Each way is measured so often; the median is told.
const ROUNDS: usize = 7;
/// CPU time of one measurement: the kernel counts in steps of milliseconds.
const NS_MIN: u64 = 200_000_000;

fn main() {
    // `cargo test` and `cargo bench` say what they want of a harness.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exporter-metrics");
    println!("MB/s per core (CPU time of the thread), median of {ROUNDS} rounds");
    println!("| scrape | KB | known series | new series | UTF-8 and lines alone |");
    println!("|---|---|---|---|---|");
    for name in ["node", "cadvisor", "postgres", "redis", "kong-3.9.1"] {
        let Ok(text) = std::fs::read(dir.join(format!("{name}.prom"))) else {
            println!("| {name}: SKIPPED, it is not there |");
            continue;
        };
        let known = median(&text, |text| items(text, |_| ()));
        let new = median(&text, |text| {
            items(text, |series| drop(series::parse(series).unwrap()))
        });
        let lines = median(&text, |text| {
            std::str::from_utf8(text).unwrap().lines().count()
        });
        println!(
            "| {name} | {} | {known:.0} | {new:.0} | {lines:.0} |",
            text.len() / 1000
        );
    }
}

/// Reads a whole exposition; `each` sees the text of each series.
fn items(text: &[u8], each: impl Fn(&str)) -> usize {
    let parser = Parser::new(text, Format::Prometheus).unwrap();
    let mut count = 0;
    for item in parser {
        if let Item::Sample(sample) = item.unwrap() {
            each(sample.series);
            count += 1;
        }
    }
    count
}

fn median(text: &[u8], mut work: impl FnMut(&[u8]) -> usize) -> f64 {
    let mut speeds: Vec<f64> = (0..ROUNDS).map(|_| speed(text, &mut work)).collect();
    speeds.sort_by(f64::total_cmp);
    speeds[ROUNDS / 2]
}

fn speed(text: &[u8], work: &mut impl FnMut(&[u8]) -> usize) -> f64 {
    let before = cpu_ns();
    let (mut passes, mut took) = (0, 0);
    while took < NS_MIN {
        for _ in 0..16 {
            std::hint::black_box(work(std::hint::black_box(text)));
        }
        passes += 16;
        took = cpu_ns() - before;
    }
    (text.len() * passes) as f64 * 1e3 / took as f64
}

/// CPU time of this thread so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
