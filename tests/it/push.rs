//! Short jobs push their metrics, as to a Pushgateway.

use std::collections::BTreeMap;
use std::time::Duration;

use stackwatch_tests::redis::Program;
use stackwatch_tests::series::{Key, exposed};
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, http, skipped};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn what_is_pushed_is_told_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let on = "collect: { host: false, docker: false, interval: 1s, pushgateway: true }\n";
    let stackwatch = Stackwatch::start(dir.path(), on);
    let send = |method: &str, path: &str, body: &str| {
        let answer = http::request(method, stackwatch.listen(), path, &[], body).unwrap();
        (answer.status, answer.body)
    };
    let group = "/metrics/job/backup/instance/db%2F1";
    let body = "# HELP backup_bytes Size.\n# TYPE backup_bytes gauge\nbackup_bytes{job=\"x\",kind=\"full\"} 7\nbackup_files 3\n";
    assert_eq!(send("PUT", group, body), (200, String::new()));
    let selector = "{job=\"backup\",instance=\"db/1\"}";
    let value = |name: &str| stackwatch.value(&format!("{name}{selector}"));
    eventually("the push", LIMIT, || {
        value("backup_bytes").filter(|v| *v == 7.0)
    });
    assert!(value("push_time_seconds").is_some_and(|at| at > 1.7e9));
    assert_eq!(value("push_failure_time_seconds"), Some(0.0));
    let types = stackwatch
        .get("/api/v1/metadata?metric=backup_bytes")
        .json();
    assert_eq!(types["data"]["backup_bytes"][0]["type"], "gauge");
    assert_eq!(types["data"]["backup_bytes"][0]["help"], "Size.");

    // Another family stays, a broken push changes nothing.
    assert_eq!(send("POST", group, "backup_bytes 8\n").0, 200);
    let (status, why) = send("POST", group, "backup_bytes x\n");
    assert_eq!(status, 400, "{why}");
    assert!(why.starts_with("pushed metrics are invalid"), "{why}");
    eventually("the second push", LIMIT, || {
        value("backup_bytes").filter(|v| *v == 8.0)
    });
    eventually("its failure", LIMIT, || {
        value("push_failure_time_seconds").filter(|v| *v > 0.0)
    });
    assert_eq!(value("backup_files"), Some(3.0));

    assert_eq!(send("PUT", "/metrics/job/a/odd", "").0, 400);
    assert_eq!(send("GET", group, "").0, 405);
    assert_eq!(send("DELETE", group, "").0, 202);
    eventually("its end", LIMIT, || {
        value("backup_files").is_none().then_some(())
    });
    assert_eq!(stackwatch.value("up{job=\"pushgateway\"}"), Some(1.0));
}

#[test]
fn pushes_are_off_unless_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), "collect: { host: false, docker: false }\n");
    let answer = http::request("PUT", stackwatch.listen(), "/metrics/job/a", &[], "x 1\n").unwrap();
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.contains("collect.pushgateway"),
        "{}",
        answer.body
    );
}

/// Requests in a row, all of which Pushgateway and stackwatch answer alike.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("PUT", "/metrics/job/a", "x 1\n"),
    ("PUT", "/metrics/job/a/", "x 1\n"),
    (
        "PUT",
        "/metrics/job/a/instance/i",
        "# TYPE n counter\nn 3\nx{job=\"q\",instance=\"z\"} 2\n",
    ),
    ("POST", "/metrics/job/a/instance/i", "y{job=\"q\"} 2\n"),
    ("PUT", "/metrics/job@base64/YS9i", "x 2\n"),
    ("PUT", "/metrics/job@base64/=", "x 2\n"),
    ("PUT", "/metrics/job/b/l@base64/=", "x 3\n"),
    ("PUT", "/metrics/job/b/l/", "x 4\n"),
    ("PUT", "/metrics/job/b/l@base64/w7w", "x 5\n"),
    ("PUT", "/metrics/job/b/l/%C3%BC%20c", "x 6\n"),
    ("PUT", "/metrics/job/b/l/1/l/2", "x 7\n"),
    (
        "PUT",
        "/metrics/job/c",
        "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
    ),
    (
        "PUT",
        "/metrics/job/d",
        "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 3\ns_count 2\n",
    ),
    // Refused, and the group is what it was.
    ("PUT", "/metrics/job/e", "x 8\n"),
    ("PUT", "/metrics/job/e", "x 1"),
    ("PUT", "/metrics/job/e", "x 1 1700000000000\n"),
    ("PUT", "/metrics/job/e", "x 1\nx 2\n"),
    ("PUT", "/metrics/job/e", "# TYPE x gauge\nx 1\n"),
    ("PUT", "/metrics/job/f", "# TYPE x counter\nx 1\n"),
    ("PUT", "/metrics/job/f", "a.b 1\n"),
    ("PUT", "/metrics/job/f", "x{a=\"1\",a=\"2\"} 1\n"),
    ("PUT", "/metrics/job/f", "x 0x10\n"),
    ("PUT", "/metrics/job/f", "x 1_0\n"),
    ("PUT", "/metrics/job/f", "x 1 # {a=\"b\"} 1\n"),
    ("PUT", "/metrics/job/f", "x 1\r\ny 2\r\n"),
    // Taken, though it looks odd.
    ("PUT", "/metrics/job/g", "x{} 1\n"),
    ("PUT", "/metrics/job/h", "x{a=\"\"} 1\n"),
    ("PUT", "/metrics/job/i", "push_time_seconds 1\n"),
    ("PUT", "/metrics/job/j", "# HELP x other help\nx 1\n"),
    ("PUT", "/metrics/job/k", "y +Inf\nz -Inf\n"),
    ("PUT", "/metrics/job/l", "# comment\n  x\t  1\n\n\n"),
    ("PUT", "/metrics/job/m", "x{a=\"b\",} 1\n"),
    ("PUT", "/metrics/job/n", ""),
    ("POST", "/metrics/job/o", ""),
    // Paths.
    ("PUT", "/metrics/job/p/b/c/d", "x 1\n"),
    ("PUT", "/metrics/job/p/__x/c", "x 1\n"),
    ("PUT", "/metrics/job/p/0x/c", "x 1\n"),
    ("PUT", "/metrics/job", ""),
    ("POST", "/metrics/foo/a", "x 1\n"),
    ("GET", "/metrics/job/a", ""),
    // Ends.
    ("PUT", "/metrics/job/q", "x 1\n"),
    ("DELETE", "/metrics/job/q", ""),
    ("DELETE", "/metrics/job/never", ""),
    ("DELETE", "/metrics/job/q/b/c", ""),
];

#[test]
fn beside_a_pushgateway_the_same_answers_and_series() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    // Debian's keeps its groups in a file unless it is told not to.
    let args = [listen.as_str(), "--persistence.file="];
    let Some(_pushgateway) = Program::start("prometheus-pushgateway", dir.path(), &args) else {
        return skipped("no prometheus-pushgateway");
    };
    let scrape = || http::request("GET", &address, "/metrics", &[], "");
    eventually("Pushgateway answers", LIMIT, || scrape().ok());
    let on = "collect: { host: false, docker: false, interval: 1s, pushgateway: true }\n";
    let stackwatch = Stackwatch::start(dir.path(), on);
    for (method, path, body) in REQUESTS {
        let send = |to: &str| {
            let answer = http::request(method, to, path, &[], body).unwrap();
            (answer.status, answer.body)
        };
        let (theirs, ours) = (send(&address), send(stackwatch.listen()));
        assert_eq!(
            ours.0, theirs.0,
            "{method} {path} {body:?}: {ours:?} {theirs:?}"
        );
    }

    let theirs = exposed(&scrape().unwrap().body);
    let own = ["go_", "process_", "promhttp_", "pushgateway_"];
    let theirs: Vec<_> = theirs
        .into_iter()
        .filter(|((name, _), _)| !own.iter().any(|own| name.starts_with(own)))
        .collect();
    assert!(theirs.len() > 60, "{theirs:?}");
    let is_time = |name: &str| name.starts_with("push_");
    eventually("the same series", LIMIT, || {
        let ours = pushed(&stackwatch);
        let differs = theirs.iter().find(|(key, value)| {
            let same = |our: &f64| our == value || is_time(&key.0) && (our - value).abs() < 5.0;
            !ours.get(key).is_some_and(same)
        });
        let surplus = ours
            .keys()
            .find(|key| !theirs.iter().any(|(their, _)| their == *key));
        if differs.is_some() || surplus.is_some() {
            println!("{differs:?} {surplus:?}");
            return None;
        }
        Some(())
    });
}

/// The newest samples of all groups.
fn pushed(stackwatch: &Stackwatch) -> BTreeMap<Key, f64> {
    let all = stackwatch.query("{job=~\".+\",job!~\"pushgateway|stackwatch\"}");
    all.iter()
        .map(|series| {
            let labels = series["metric"].as_object().unwrap().iter();
            let mut labels: BTreeMap<String, String> = labels
                .map(|(l, v)| (l.clone(), v.as_str().unwrap().to_owned()))
                .collect();
            let name = labels.remove("__name__").unwrap();
            let value = series["value"][1].as_str().unwrap().parse().unwrap();
            ((name, labels), value)
        })
        .collect()
}
