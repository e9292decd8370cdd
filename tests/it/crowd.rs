//! Far more series than a query may hold, and everybody asks for all of them: each gets a clear
//! answer, memory stays within its budget, and nobody else notices.

use std::time::{Duration, Instant, SystemTime};

use stackwatch_tests::remote_write::{EncodedLabels, Sender, WriteRequest};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, http};

/// `STACKWATCH_CROWD` says otherwise, and `STACKWATCH_CROWD_BUDGET` the MB there are for them:
/// 1000000 and 1000 go together.
const SERIES: usize = 20_000;
const BUDGET_MB: u64 = 32;
/// What a query may take for each series there is; counting takes some 80, any other more.
const QUERY_BYTES_PER_SERIES: usize = 13;
/// Series of one target.
const TARGET_SERIES: usize = 5_000;
const REQUEST_SERIES: usize = 1_000;
/// What a process may take beside its queries' part of the budget while it answers: buffers of
/// connections and what the allocator has not given back yet.
const BESIDE_KIB: u64 = 12 << 10;

const CONFIG: &str = "\
server: { remote_write_receiver: true }
collect: { docker: false, host: false, interval: 1h }
logs: { docker: false }
rules: { packs: [], files: [crowd.yml] }
";

/// One that asks for everything, too, and one that must go on.
const RULES: &str = r#"
groups:
- name: greedy
  interval: 5s
  rules:
  - { record: crowd:all, expr: 'count({__name__=~".+"})' }
- name: steady
  interval: 5s
  rules:
  - { record: crowd:alive, expr: 'count(crowd_total{id="000000"})' }
"#;

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |n| n.parse().unwrap())
}

/// One sample of each series, now.
fn feed(to: &Stackwatch, series: usize) {
    let mut sender = Sender::connect(to.listen(), "/api/v1/write").unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_millis() as i64;
    for first in (0..series).step_by(REQUEST_SERIES) {
        let mut request = WriteRequest::default();
        for id in first..series.min(first + REQUEST_SERIES) {
            let labels = EncodedLabels::new(&[
                ("__name__", "crowd_total".to_owned()),
                ("id", format!("{id:06}")),
                ("instance", format!("host-{}:9100", id / TARGET_SERIES)),
                ("job", "api".to_owned()),
            ]);
            request.push(&labels, [(now, id as f64)]);
        }
        let (status, answer) = sender.send(&request.finish()).unwrap();
        assert_eq!(status, 204, "{answer}");
    }
}

/// Requests that match every series.
fn all_series(now: u64) -> Vec<String> {
    let all = http::encode("{__name__=~\".+\"}");
    let of = |expr: &str| http::encode(expr);
    let (start, end) = (now - 3600, now);
    vec![
        format!("/api/v1/query?query={all}"),
        format!("/api/v1/query?query={}", of("count({__name__=~\".+\"})")),
        format!("/api/v1/query?query={}", of("{__name__=~\".+\"}[1h]")),
        format!("/api/v1/query?query={}", of("sort(-{__name__=~\".+\"})")),
        format!("/api/v1/query?query={}", of("count by (id) ({job!=\"\"})")),
        format!("/api/v1/query?query={}", of("{job!=\"\"} + {job!=\"\"}")),
        format!("/api/v1/query?query={}", of("topk(9000, {job!=\"\"})")),
        format!("/api/v1/query_range?query={all}&start={start}&end={end}&step=1"),
        format!("/api/v1/series?match[]={all}"),
        format!("/federate?match[]={all}"),
    ]
}

#[test]
fn a_match_of_far_more_series_than_fit_is_refused_and_nothing_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("crowd.yml"), RULES).unwrap();
    let series = number("STACKWATCH_CROWD", SERIES as u64) as usize;
    let budget = number("STACKWATCH_CROWD_BUDGET", BUDGET_MB);
    let bytes_max = series * QUERY_BYTES_PER_SERIES / 1000;
    let config = format!(
        "{CONFIG}memory: {{ budget: {budget}MB }}\nquery: {{ bytes_max: {bytes_max}KB, concurrency: 4 }}\n"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    let began = Instant::now();
    feed(&stackwatch, series);
    println!("{series} series fed within {:?}", began.elapsed());
    let one = "crowd_total{id=\"000007\"}";
    eventually("the series", Duration::from_secs(60), || {
        stackwatch.value(one)
    });
    eventually("the steady rule", Duration::from_secs(60), || {
        stackwatch.value("crowd:alive")
    });

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let asked = all_series(now.unwrap().as_secs());
    let iterations = || {
        let text = stackwatch.get("/metrics").body;
        let mut lines = text.lines();
        let line = lines.find(|l| {
            l.starts_with("stackwatch_rule_group_iterations_total{") && l.contains(";steady\"")
        });
        let count = line.and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok());
        count.unwrap_or_else(|| panic!("no evaluations are counted:\n{text}"))
    };
    let evaluated = iterations();
    stackwatch.forget_peak();
    let before = stackwatch.memory_kib("VmRSS");
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = asked
            .iter()
            .map(|path| {
                let address = stackwatch.listen();
                scope.spawn(move || {
                    for _ in 0..3 {
                        let answer = http::request("GET", address, path, &[], "").unwrap();
                        assert_eq!(answer.status, 422, "{path}: {:.300}", answer.body);
                        let body = &answer.body;
                        assert!(body.contains("query.bytes_max"), "{path}: {body}");
                    }
                })
            })
            .collect();
        // What others ask for meanwhile.
        let mut rounds = 0;
        while rounds < 3 || clients.iter().any(|c| !c.is_finished()) {
            let began = Instant::now();
            assert_eq!(stackwatch.value(one), Some(7.0));
            assert_eq!(stackwatch.get("/health").status, 200);
            slowest = slowest.max(began.elapsed());
            rounds += 1;
        }
    });
    println!("answered within {:?}", began.elapsed());
    let grew = stackwatch.memory_kib("VmHWM").saturating_sub(before);
    println!("grew by {grew} KiB from {before}; others waited {slowest:?} at most");
    let queries_kib = budget * 1000 * 3 / 8;
    assert!(grew < queries_kib + BESIDE_KIB, "grew by {grew} KiB");

    let rule = |name: &str| {
        let rules = stackwatch.get("/api/v1/rules").json();
        let groups = rules["data"]["groups"].as_array().unwrap().iter();
        let mut all = groups.flat_map(|g| g["rules"].as_array().unwrap());
        all.find(|r| r["name"] == name).unwrap().clone()
    };
    // While others asked, its time may have been over first.
    eventually("the greedy rule's error", Duration::from_secs(60), || {
        let error = rule("crowd:all")["lastError"].as_str()?.to_owned();
        error.contains("query.bytes_max").then_some(())
    });
    assert_eq!(rule("crowd:alive")["health"], "ok");
    eventually("the steady rule goes on", Duration::from_secs(20), || {
        (iterations() > evaluated).then_some(())
    });
    assert_eq!(stackwatch.log().matches("panicked").count(), 0);
}
