//! Heartbeats from their URL to their figures, over a restart.

use model::control::{ControlWrite as Write, MemoryControlStore};

use super::*;

fn configs(yaml: &str) -> Vec<HeartbeatConfig> {
    let configs: Vec<HeartbeatConfig> = serde_saphyr::from_str(yaml).unwrap();
    assert!(configs.iter().all(|c| c.check().is_ok()));
    configs
}

fn open(control: &Arc<MemoryControlStore>, yaml: &str, now: i64) -> Heartbeats {
    let control: Arc<dyn ControlStore> = Arc::<MemoryControlStore>::clone(control);
    Heartbeats::open(control, &configs(yaml), at(now)).unwrap()
}

/// Seconds since some moment.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_700_000_000 + seconds) * 1000)
}

fn said(kind: PingKind) -> Ping {
    Ping {
        kind,
        run: None,
        body_bytes: 0,
    }
}

/// Figures by family and the `kind` label, if any.
#[derive(Default)]
struct Figures(BTreeMap<String, f64>);

impl Sink for Figures {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let kind = labels.iter().find(|(n, _)| *n == "kind");
        let rest = name.strip_prefix("stackwatch_heartbeat_").unwrap();
        assert!(help(name).is_some(), "{name} has no help");
        let key = kind.map_or(rest.to_owned(), |(_, k)| format!("{rest} {k}"));
        self.0.insert(key, value);
    }
}

fn figures(heartbeats: &Heartbeats, name: &str, now: i64) -> BTreeMap<String, f64> {
    let rows = heartbeats.rows();
    let mut figures = Figures::default();
    let row = &rows[name];
    let verdict = row.state.verdict(&row.schedule, at(now));
    row.state.put(&verdict, name, &mut figures);
    figures.0
}

#[track_caller]
fn check(heartbeats: &Heartbeats, now: i64, expect: &[(&str, f64)]) {
    let figures = figures(heartbeats, "job", now);
    for (name, value) in expect {
        assert_eq!(figures.get(*name), Some(value), "{name} at {now}");
    }
}

const JOB: &str = "[{name: job, period: 100s, grace: 10s}]";

#[test]
fn the_url_forms_are_healthchecks_ios() {
    let control = Arc::default();
    let heartbeats = open(
        &control,
        "[{name: Open Job, period: 1d},
          {name: keyed, period: 1d, ping_key: k3y},
          {name: numbered, period: 1d, uuid: 0A1B2C3D-0000-4000-8000-00000000000f}]",
        0,
    );
    use PingKind::{Exit, Fail, Log, Start, Success};
    let known = |name: &str, kind| PingPath::Known(name.to_owned(), kind);
    for (path, expect) in [
        ("open-job", known("Open Job", Success)),
        ("open-job/start", known("Open Job", Start)),
        ("open-job/fail", known("Open Job", Fail)),
        ("open-job/log", known("Open Job", Log)),
        ("open-job/0", known("Open Job", Exit(0))),
        ("open-job/255", known("Open Job", Exit(255))),
        ("open-job/256", PingPath::Malformed),
        ("any-key/open-job", known("Open Job", Success)),
        ("any-key/open-job/fail", known("Open Job", Fail)),
        ("any-key/open-job/done", PingPath::Malformed),
        ("k3y/keyed", known("keyed", Success)),
        ("k3y/keyed/3", known("keyed", Exit(3))),
        ("keyed", PingPath::Unknown),
        ("keyed/start", PingPath::Unknown),
        ("wrong/keyed", PingPath::Unknown),
        ("k3y/open-job", known("Open Job", Success)),
        (
            "0a1b2c3d-0000-4000-8000-00000000000f",
            known("numbered", Success),
        ),
        (
            "0a1b2c3d-0000-4000-8000-00000000000f/start",
            known("numbered", Start),
        ),
        ("numbered", PingPath::Unknown),
        ("key/numbered", PingPath::Unknown),
        ("nobody", PingPath::Unknown),
        ("a/b/c/d", PingPath::Malformed),
    ] {
        let segments: Vec<&str> = path.split('/').collect();
        assert_eq!(heartbeats.resolve(&segments), expect, "{path}");
    }
}

#[test]
fn a_heartbeat_is_late_after_its_grace_even_when_it_never_came() {
    let heartbeats = open(&Arc::default(), JOB, 0);
    check(
        &heartbeats,
        110,
        &[("late", 0.0), ("up", 1.0), ("pings_total success", 0.0)],
    );
    check(
        &heartbeats,
        111,
        &[("late", 1.0), ("up", 0.0), ("failed", 0.0)],
    );
    heartbeats
        .ping("job", said(PingKind::Success), at(200))
        .unwrap();
    check(
        &heartbeats,
        310,
        &[("late", 0.0), ("up", 1.0), ("pings_total success", 1.0)],
    );
    let last = at(200).as_secs_f64();
    check(
        &heartbeats,
        311,
        &[
            ("late", 1.0),
            ("last_ping_timestamp_seconds", last),
            ("expected_timestamp_seconds", last + 100.0),
            ("deadline_timestamp_seconds", last + 110.0),
        ],
    );
    // A log entry is no sign of success.
    heartbeats
        .ping("job", said(PingKind::Log), at(312))
        .unwrap();
    check(&heartbeats, 313, &[("late", 1.0), ("pings_total log", 1.0)]);
}

#[test]
fn a_failure_is_told_until_a_success_follows() {
    let heartbeats = open(&Arc::default(), JOB, 0);
    heartbeats
        .ping("job", said(PingKind::Exit(3)), at(1))
        .unwrap();
    check(
        &heartbeats,
        2,
        &[
            ("failed", 1.0),
            ("up", 0.0),
            ("late", 0.0),
            ("last_exit_status", 3.0),
        ],
    );
    heartbeats
        .ping("job", said(PingKind::Exit(0)), at(3))
        .unwrap();
    check(
        &heartbeats,
        4,
        &[("failed", 0.0), ("up", 1.0), ("last_exit_status", 0.0)],
    );
}

#[test]
fn a_run_is_measured_and_may_hang() {
    let heartbeats = open(&Arc::default(), JOB, 0);
    let run = |kind, run: &str| Ping {
        run: Some(run.to_owned()),
        body_bytes: 7,
        ..said(kind)
    };
    heartbeats
        .ping("job", said(PingKind::Start), at(1))
        .unwrap();
    check(&heartbeats, 11, &[("running", 1.0), ("late", 0.0)]);
    check(&heartbeats, 12, &[("running", 1.0), ("late", 1.0)]);
    heartbeats
        .ping("job", said(PingKind::Success), at(31))
        .unwrap();
    check(
        &heartbeats,
        32,
        &[
            ("running", 0.0),
            ("late", 0.0),
            ("last_duration_seconds", 30.0),
        ],
    );
    // Two runs at once: only the one whose start is known is measured.
    heartbeats
        .ping("job", run(PingKind::Start, "a"), at(40))
        .unwrap();
    heartbeats
        .ping("job", run(PingKind::Start, "b"), at(41))
        .unwrap();
    heartbeats
        .ping("job", run(PingKind::Success, "a"), at(42))
        .unwrap();
    check(
        &heartbeats,
        43,
        &[("last_duration_seconds", 30.0), ("last_body_bytes", 7.0)],
    );
}

#[test]
fn what_was_acknowledged_survives_a_restart() {
    let control = Arc::default();
    let before = open(&control, JOB, 0);
    before.ping("job", said(PingKind::Start), at(50)).unwrap();
    before.ping("job", said(PingKind::Fail), at(60)).unwrap();
    let known = figures(&before, "job", 70);
    drop(before);
    let after = open(&control, JOB, 69);
    assert_eq!(figures(&after, "job", 70), known);
    // What was forgotten is new when it comes back.
    open(&control, "[]", 80);
    assert_eq!(control.scan(TABLE).unwrap(), []);
    let again = open(&control, JOB, 90);
    check(&again, 190, &[("up", 1.0), ("pings_total fail", 0.0)]);
}

#[test]
fn a_row_of_another_version_starts_anew() {
    let control: Arc<MemoryControlStore> = Arc::default();
    let row = Write::Put {
        table: TABLE,
        key: "job".to_owned(),
        value: b"{\"version\":9}".to_vec(),
    };
    control.commit(vec![row]).unwrap();
    check(&open(&control, JOB, 0), 1, &[("up", 1.0)]);
}

/// Counts commits, and refuses them when told to.
#[derive(Default)]
struct Counting {
    inner: MemoryControlStore,
    commits: std::sync::atomic::AtomicUsize,
    full: std::sync::atomic::AtomicBool,
}

impl ControlStore for Counting {
    fn scan(&self, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError> {
        self.inner.scan(table)
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), ControlError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.full.load(Relaxed) {
            return Err(ControlError("disk full".to_owned()));
        }
        self.commits.fetch_add(1, Relaxed);
        self.inner.commit(writes)
    }
}

#[test]
fn a_loop_that_pings_is_counted_and_does_not_wear_out_the_disk() {
    use std::sync::atomic::Ordering::Relaxed;
    let control = Arc::new(Counting::default());
    let handle: Arc<dyn ControlStore> = Arc::<Counting>::clone(&control);
    let heartbeats = Heartbeats::open(handle, &configs(JOB), at(0)).unwrap();
    for i in 0..1000 {
        let now = at(1).plus(Duration::from_millis(i));
        heartbeats
            .ping("job", said(PingKind::Success), now)
            .unwrap();
    }
    assert_eq!(
        control.commits.load(Relaxed),
        2,
        "the new row, and the first ping"
    );
    check(&heartbeats, 3, &[("pings_total success", 1000.0)]);
    // A ping of another kind is news.
    heartbeats.ping("job", said(PingKind::Fail), at(2)).unwrap();
    assert_eq!(control.commits.load(Relaxed), 3);
    // One that cannot be written is not acknowledged, nor counted.
    control.full.store(true, Relaxed);
    assert!(
        heartbeats
            .ping("job", said(PingKind::Success), at(9))
            .is_err()
    );
    check(
        &heartbeats,
        10,
        &[("failed", 1.0), ("pings_total success", 1000.0)],
    );
}
