//! `cargo xtask bench promql [RUNS]`: the same queries over the same data, answered by
//! Prometheus from Debian and by the release binary.
//!
//! Both get 10,000 series of 6 h at 15 s by remote write and are started again before each
//! query, so that neither profits from memory that an earlier query made it take, and left alone
//! until they have nothing else to do. A query runs
//! once cold, then RUNS times, first at an instant, then over the range; printed are the median
//! wall time and the mean processor time of those, and by how much the process grew at most from
//! before the cold run on. The answers are compared.

mod data;
mod subject;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use stackwatch_tests::remote_write::Sender;
use stackwatch_tests::{cargo, http};

use self::subject::{Kind, Measured, Subject};

/// Steps of a range query, and their length in seconds.
const STEPS: i64 = 1000;
const STEP: i64 = 20;

/// Long enough after six hours have arrived for either to begin with its blocks, which
/// Prometheus does once a minute.
const TIDY_TIME: Duration = Duration::from_secs(70);

/// The queries of issue and table, by what they stand for.
const QUERIES: [(&str, &str); 9] = [
    (
        "rate, summed",
        "sum by (handler) (rate(http_requests_total[5m]))",
    ),
    (
        "histogram_quantile",
        "histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[5m])))",
    ),
    ("topk", "topk(5, rate(http_requests_total[5m]))"),
    (
        "quantile_over_time, 1 h",
        r#"quantile_over_time(0.9, temperature_celsius{sensor=~"s[12]"}[1h])"#,
    ),
    (
        "regex selector",
        r#"sum by (code) (http_requests_total{instance=~"host-[0-4].*", code=~"2..|5.."})"#,
    ),
    (
        "join with group_left",
        "sum by (version) (rate(http_requests_total[5m]) * on (instance) group_left (version) node_info)",
    ),
    (
        "count of everything",
        r#"count({__name__=~".+", instance=~"host-.+"})"#,
    ),
    ("raw, 100 series", r#"temperature_celsius{sensor="s1"}"#),
    (
        "ratio",
        r#"sum(rate(http_requests_total{code="500"}[5m])) / sum(rate(http_requests_total[5m]))"#,
    ),
];

pub(super) fn run(args: &[String]) -> Result<()> {
    let runs: usize = args
        .first()
        .map_or(Ok(5), |a| a.parse())
        .context("RUNS is a number")?;
    ensure!(runs > 0, "RUNS is at least 1");
    let stackwatch = cargo::release_binary()?;
    let dir = tempfile::tempdir()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let span = data::Span::before(now);
    // Made before: the faster six hours arrive, the less of them a store finds old meanwhile.
    let bodies: Vec<Vec<u8>> = data::requests(span).collect();
    let kinds = [Kind::Prometheus, Kind::Stackwatch(stackwatch)];
    for kind in &kinds {
        let subject = Subject::start(kind, dir.path())?;
        let began = Instant::now();
        let mut sender = Sender::connect(subject.listen(), "/api/v1/write")?;
        for body in &bodies {
            let (status, answer) = sender.send(body)?;
            ensure!(
                (200..300).contains(&status),
                "remote write: {status} {answer}"
            );
        }
        println!("fed within {:.0} s", began.elapsed().as_secs_f64());
        subject.settle(TIDY_TIME)?;
        subject.stop()?;
    }
    drop(bodies);
    println!(
        "{} series, {} samples each; median of {runs} runs\n",
        data::series().count(),
        data::SAMPLES
    );
    println!(
        "| query | kind | Prometheus | stackwatch | times faster | Prometheus CPU | stackwatch CPU | times less | Prometheus grows | stackwatch grows | share |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut resident: Vec<[u64; 2]> = Vec::new();
    for (name, query) in QUERIES {
        let paths = paths(query, span);
        let theirs = measure(&kinds[0], dir.path(), &paths, runs)?;
        let ours = measure(&kinds[1], dir.path(), &paths, runs)?;
        resident.push([theirs[0].before_kib, ours[0].before_kib]);
        for ((kind, _), (theirs, ours)) in paths.iter().zip(theirs.iter().zip(&ours)) {
            compare(name, theirs, ours);
            println!(
                "| {name} | {kind} | {:.1} ms | {:.1} ms | **{:.1}** | {:.0} ms | {:.0} ms | {:.1} | {:.1} MB | {:.1} MB | {:.0} % |",
                millis(theirs.median),
                millis(ours.median),
                millis(theirs.median) / millis(ours.median),
                millis(theirs.cpu),
                millis(ours.cpu),
                millis(theirs.cpu) / millis(ours.cpu).max(1.0),
                megabytes(theirs),
                megabytes(ours),
                100.0 * megabytes(ours) / megabytes(theirs)
            );
        }
    }
    let mean = |of: usize| {
        let sum: u64 = resident.iter().map(|r| r[of]).sum();
        sum as f64 * 1024.0 / 1e6 / resident.len() as f64
    };
    println!(
        "\nresident before the first query, on average: Prometheus {:.0} MB, stackwatch {:.0} MB",
        mean(0),
        mean(1)
    );
    Ok(())
}

fn paths(query: &str, span: data::Span) -> [(&'static str, String); 2] {
    let text = http::encode(query);
    // No step and no window of whole minutes begins or ends on a sample: there the windows of
    // 2.x and 3.x would not hold the same ones.
    let end = span.end - 2;
    let start = end - STEP * (STEPS - 1);
    [
        ("instant", format!("/api/v1/query?query={text}&time={end}")),
        (
            "range",
            format!("/api/v1/query_range?query={text}&start={start}&end={end}&step={STEP}"),
        ),
    ]
}

fn measure(
    kind: &Kind,
    dir: &Path,
    paths: &[(&'static str, String)],
    runs: usize,
) -> Result<Vec<Measured>> {
    let subject = Subject::start(kind, dir)?;
    // What the first request of all costs is not the query's.
    subject.get("/api/v1/query?query=1")?;
    subject.settle(Duration::ZERO)?;
    let measured = paths
        .iter()
        .map(|(_, path)| subject.measure(path, runs))
        .collect();
    subject.stop()?;
    measured
}

/// Says so when the answers are not the same.
fn compare(name: &str, theirs: &Measured, ours: &Measured) {
    let difference = (theirs.sum - ours.sum).abs() / theirs.sum.abs().max(1e-300);
    if theirs.points != ours.points || difference > 1e-6 {
        println!(
            "{name}: ANSWERS DIFFER: {} points with sum {}, {} points with sum {}",
            theirs.points, theirs.sum, ours.points, ours.sum
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// At least a tenth, so that ratios stay finite.
fn megabytes(m: &Measured) -> f64 {
    (m.grew_kib as f64 * 1024.0 / 1e6).max(0.1)
}
