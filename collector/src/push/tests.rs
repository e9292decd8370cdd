//! Pushes, and what is told of them.

use super::*;
use crate::Status;
use crate::config::target_labels;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What one collection tells, without its report.
async fn told(pushes: &Pushes) -> Vec<String> {
    let labels = target_labels("pushgateway", "h");
    let timing = (
        std::time::Duration::from_secs(15),
        std::time::Duration::from_secs(10),
    );
    let status = Status::default();
    let mut target = Target::new(
        "pushgateway",
        "push:",
        labels.clone(),
        labels,
        timing,
        status,
    );
    let batch = PushSource(pushes.clone()).collect(&mut target, NOW).await;
    let of_groups = batch
        .samples
        .iter()
        .filter(|s| s.labels.get("job") != Some("pushgateway"));
    let mut lines: Vec<String> = of_groups
        .map(|s| format!("{} {}", s.labels, s.value))
        .collect();
    lines.sort();
    lines
}

fn push(pushes: &Pushes, path: &str, body: &str, replace: bool) -> Result<(), String> {
    let pushed = pushes.push(path, body.as_bytes(), replace, NOW);
    pushed.map_err(|e| e.to_string())
}

const TIMES: [&str; 2] = [
    r#"push_failure_time_seconds{job="a"} 0"#,
    r#"push_time_seconds{job="a"} 1700000000"#,
];

#[tokio::test]
async fn a_put_replaces_the_group_and_a_post_the_families() {
    let pushes = Pushes::default();
    push(&pushes, "job/a", "x 1\ny{job=\"other\",b=\"c\"} 2\n", true).unwrap();
    let first = [r#"x{job="a"} 1"#, r#"y{b="c", job="a"} 2"#];
    assert_eq!(told(&pushes).await, [&TIMES[..], &first].concat());
    push(&pushes, "job/a", "y 3\n", false).unwrap();
    let second = [r#"x{job="a"} 1"#, r#"y{job="a"} 3"#];
    assert_eq!(told(&pushes).await, [&TIMES[..], &second].concat());
    push(&pushes, "job/a", "z 4\n", true).unwrap();
    assert_eq!(
        told(&pushes).await,
        [&TIMES[..], &[r#"z{job="a"} 4"#]].concat()
    );
    pushes.delete("job/a").unwrap();
    assert!(told(&pushes).await.is_empty());
}

#[tokio::test]
async fn a_push_that_is_refused_changes_only_the_time_of_its_failure() {
    let pushes = Pushes::default();
    push(&pushes, "job/b", "# TYPE x counter\nx 1\n", true).unwrap();
    let refused = |body: &str| push(&pushes, "job/a", body, true).unwrap_err();
    for (body, why) in [
        ("x 1", "the last line does not end"),
        ("x y\n", "line 1: \"y\" is not a number"),
        ("x 1 1700000000000\n", "must not have timestamps"),
        ("y 1\ny 1\n", "was there already"),
        (
            "# TYPE x gauge\nx 1\n",
            "x is a gauge here and a counter in the group {job=\"b\"}",
        ),
    ] {
        let text = refused(body);
        assert!(text.starts_with("pushed metrics are invalid"), "{text}");
        assert!(text.contains(why), "{text}");
    }
    let lines = told(&pushes).await;
    assert_eq!(lines[0], r#"push_failure_time_seconds{job="a"} 1700000000"#);
    assert_eq!(lines[2], r#"push_time_seconds{job="a"} 0"#);
    assert_eq!(lines[4], r#"x{job="b"} 1"#);
}

#[tokio::test]
async fn parts_of_a_histogram_are_one_family() {
    let pushes = Pushes::default();
    let histogram =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    push(&pushes, "job/a", histogram, false).unwrap();
    push(
        &pushes,
        "job/a",
        &histogram.replace("le=\"1\"", "le=\"2\""),
        false,
    )
    .unwrap();
    let lines = told(&pushes).await;
    let buckets: Vec<&String> = lines.iter().filter(|l| l.starts_with("h_bucket")).collect();
    assert_eq!(
        buckets,
        [
            r#"h_bucket{job="a", le="+Inf"} 1"#,
            r#"h_bucket{job="a", le="2.0"} 1"#
        ]
    );
}

#[test]
fn groups_and_samples_are_bounded() {
    let pushes = Pushes::default();
    for i in 0..GROUPS_MAX {
        push(&pushes, &format!("job/j{i}"), "", true).unwrap();
    }
    assert_eq!(
        push(&pushes, "job/one_more", "", true).unwrap_err(),
        "more than 1000 groups"
    );
    let many: String = (0..=SAMPLES_MAX)
        .map(|i| format!("x{{i=\"{i}\"}} 1\n"))
        .collect();
    let error = push(&pushes, "job/j1", &many, true).unwrap_err();
    assert_eq!(error, "more than 50000 samples in all groups");
}

#[test]
fn labels_without_end_are_refused_one_by_one_and_all_together() {
    let pushes = Pushes::default();
    let long = "x".repeat(40_000);
    let refused = push(&pushes, "job/a", &format!("y{{b=\"{long}\"}} 1\n"), true).unwrap_err();
    assert!(
        refused.contains("label bytes exceeded (metric: y"),
        "{refused}"
    );
    let group: String = (0..128)
        .map(|n| format!("y{{b=\"{n}{}\"}} 1\n", "x".repeat(30_000)))
        .collect();
    let taken = (0..20).take_while(|n| push(&pushes, &format!("job/{n}"), &group, true).is_ok());
    // 8 of 3.8 MB each.
    assert_eq!(taken.count(), 8);
}
