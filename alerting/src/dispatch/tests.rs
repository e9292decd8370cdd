//! The dispatcher in virtual time: a script of events, a receiver that collapses what comes twice
//! under one key, and a process that may be killed at any commit.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::ControlWrite;
use model::control::MemoryControlStore;

use super::*;
use crate::outbox::{Outcome, Payload};
use crate::silence::SilenceSpec;

const CONFIG: &str = "
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 150s
  routes:
    - matchers: [quiet=yes]
      mute_time_intervals: [first-hour]
receivers:
  - name: hook
    webhook_configs: [{url: 'http://localhost/x'}]
inhibit_rules:
  - source_matchers: [severity=critical]
    target_matchers: [severity=warning]
    equal: [host]
time_intervals:
  - name: first-hour
    time_intervals: [{times: [{start_time: '00:00', end_time: '01:00'}]}]
";

/// Kills the process at one commit: before it is applied, or right after.
struct MortalStore {
    disk: Arc<MemoryControlStore>,
    commits_left: AtomicUsize,
    applies_last: bool,
    commits: AtomicUsize,
}

impl MortalStore {
    fn alive(&self) -> bool {
        self.commits_left.load(Ordering::Relaxed) > 0
    }
}

impl ControlStore for MortalStore {
    fn scan(&self, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError> {
        self.disk.scan(table)
    }

    fn commit(&self, writes: Vec<ControlWrite>) -> Result<(), ControlError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let left = self.commits_left.load(Ordering::Relaxed);
        self.commits_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        match left {
            0 => Err(ControlError("dead".to_owned())),
            1 if self.applies_last => {
                self.disk.commit(writes)?;
                Err(ControlError("killed".to_owned()))
            }
            1 => Err(ControlError("killed".to_owned())),
            _ => self.disk.commit(writes),
        }
    }
}

struct World {
    now: i64,
    disk: Arc<MemoryControlStore>,
    store: MortalStore,
    dispatcher: Dispatcher,
    /// What the other side shows: second, key, message.
    seen: Vec<(i64, String, String)>,
    /// Deliveries under a key that was seen before.
    collapsed: usize,
    failing: bool,
    config: &'static str,
    /// As `seen`, with the group's key and without the reason.
    by_group: Vec<String>,
}

fn at(second: i64) -> Timestamp {
    // The virtual clock starts at midnight UTC of some day.
    Timestamp::from_millis(86_400_000 * 20_000 + second * 1000)
}

fn open(store: &MortalStore, config: &str, now: i64) -> Dispatcher {
    let config = Config::parse("sim.yml", config).unwrap();
    let renderer = Renderer::new(&config, &Vec::new()).unwrap();
    Dispatcher::restore(config, renderer, "http://sw".to_owned(), store, at(now)).unwrap()
}

impl World {
    fn new() -> World {
        World::mortal(usize::MAX, false)
    }

    fn mortal(commits_left: usize, applies_last: bool) -> World {
        World::open(CONFIG, commits_left, applies_last)
    }

    fn open(config: &'static str, commits_left: usize, applies_last: bool) -> World {
        let disk = Arc::new(MemoryControlStore::default());
        let store = MortalStore {
            disk: disk.clone(),
            commits_left: AtomicUsize::new(commits_left),
            applies_last,
            commits: AtomicUsize::new(0),
        };
        World {
            now: 0,
            dispatcher: open(&store, config, 0),
            disk,
            store,
            seen: Vec::new(),
            collapsed: 0,
            failing: false,
            config,
            by_group: Vec::new(),
        }
    }

    /// A process that was killed starts again, on a disk that lasts.
    fn restart(&mut self) {
        self.store = MortalStore {
            disk: self.disk.clone(),
            commits_left: AtomicUsize::new(usize::MAX),
            applies_last: false,
            commits: AtomicUsize::new(self.store.commits.load(Ordering::Relaxed)),
        };
        self.dispatcher = open(&self.store, self.config, self.now);
    }

    /// Commits; `false` when that killed the process, which is up again then.
    fn commit(&mut self) -> bool {
        let _ = self.dispatcher.changes.commit(&self.store);
        let survived = self.store.alive();
        if !survived {
            self.restart();
        }
        survived
    }

    /// Sends an alert given as `name=value …`; a sender that got no answer sends again.
    fn post(&mut self, labels: &str, resolved: bool) {
        let end = at(self.now + if resolved { 0 } else { 100_000 });
        self.post_until(labels, Some(end));
    }

    fn post_until(&mut self, labels: &str, ends_at: Option<Timestamp>) {
        let pairs = labels.split(' ').filter_map(|p| p.split_once('='));
        let alert = Alert {
            labels: Labels::from_pairs(pairs),
            annotations: Labels::empty(),
            starts_at: at(self.now),
            ends_at,
            generator_url: String::new(),
            updated_at: Timestamp::default(),
        };
        let now = at(self.now);
        self.dispatcher.receive(vec![alert.clone()], now);
        if !self.commit() {
            self.dispatcher.receive(vec![alert], now);
            self.commit();
        }
    }

    /// Lets time pass, doing what is due when it is due.
    fn run_to(&mut self, end: i64) {
        loop {
            self.turn();
            let due = self.dispatcher.next_due().map_or(end, |d| {
                (d.millis() - at(0).millis() + 999).div_euclid(1000)
            });
            if due > end {
                break;
            }
            self.now = self.now.max(due);
        }
        self.now = end;
    }

    fn turn(&mut self) {
        let now = at(self.now);
        self.dispatcher.flush_due(now);
        let jobs = self.dispatcher.begin_due(now);
        if !self.commit() {
            return;
        }
        for job in jobs {
            let outcome = if self.failing {
                let error = "503".to_owned();
                Outcome::Retry { after: None, error }
            } else {
                self.deliver(&job);
                Outcome::Delivered
            };
            let d = &mut self.dispatcher;
            d.outbox.finish(job.ordinal, &outcome, now, &mut d.changes);
            if !self.commit() {
                return;
            }
        }
    }

    fn deliver(&mut self, job: &Job) {
        assert!(job.integration.is_some());
        let Payload::Json { body, .. } = &job.row.payload else {
            panic!("not a webhook");
        };
        if self.seen.iter().any(|(_, id, _)| *id == job.row.id) {
            self.collapsed += 1;
            return;
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut alerts: Vec<String> = body["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| {
                let name = a["labels"]["i"]
                    .as_str()
                    .or(a["labels"]["alertname"].as_str());
                let mark = if a["status"] == "firing" { '+' } else { '-' };
                format!("{mark}{}", name.unwrap_or("?"))
            })
            .collect();
        alerts.sort();
        let (key, more) = (body["groupKey"].as_str().unwrap(), &body["truncatedAlerts"]);
        let more = if *more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        self.by_group
            .push(format!("{}: {key} {}{more}", self.now, alerts.join(" ")));
        let reason = body["notification_reason"].as_str().unwrap();
        let message = format!("{} ({reason})", alerts.join(" "));
        self.seen.push((self.now, job.row.id.clone(), message));
    }

    fn messages(&self) -> Vec<String> {
        self.seen
            .iter()
            .map(|(second, _, message)| format!("{second}: {message}"))
            .collect()
    }

    #[track_caller]
    fn check(&self, expect: &[&str]) {
        assert_eq!(self.messages(), expect);
    }
}

#[test]
fn alerts_within_group_wait_are_told_together_and_later_ones_at_the_next_tick() {
    let mut w = World::new();
    w.post("alertname=A i=1", false);
    w.run_to(5);
    w.post("alertname=A i=2", false);
    w.post("alertname=B i=3", false);
    w.run_to(20);
    w.post("alertname=A i=4", false);
    w.run_to(100);
    w.check(&[
        "10: +1 +2 (first notification)",
        "15: +3 (first notification)",
        "70: +1 +2 +4 (new alerts added)",
    ]);
}

#[test]
fn an_alert_older_than_group_wait_is_told_at_once() {
    let mut w = World::new();
    let old = Alert {
        labels: Labels::from_pairs([("alertname", "A")]),
        annotations: Labels::empty(),
        starts_at: at(-60),
        ends_at: None,
        generator_url: String::new(),
        updated_at: Timestamp::default(),
    };
    w.dispatcher.receive(vec![old], at(0));
    w.run_to(5);
    w.check(&["0: +A (first notification)"]);
}

#[test]
fn an_unchanged_group_is_repeated_at_the_first_tick_after_the_repeat_interval() {
    let mut w = World::new();
    w.post("alertname=A", false);
    w.run_to(400);
    w.check(&[
        "10: +A (first notification)",
        "190: +A (repeat interval elapsed)",
        "370: +A (repeat interval elapsed)",
    ]);
}

#[test]
fn the_end_is_told_at_the_next_tick_and_then_the_group_is_gone() {
    let mut w = World::new();
    w.post("alertname=A i=1", false);
    w.post("alertname=A i=2", false);
    w.run_to(20);
    w.post("alertname=A i=1", true);
    w.run_to(100);
    w.post("alertname=A i=2", true);
    w.run_to(1000);
    w.check(&[
        "10: +1 +2 (first notification)",
        "70: +2 -1 (some alerts resolved)",
        "130: -2 (all alerts resolved)",
    ]);
    assert_eq!(w.dispatcher.group_count(), 0);
    assert!(w.disk.scan("alerting.alerts").unwrap().is_empty());
    assert!(w.disk.scan("alerting.groups").unwrap().is_empty());
    assert!(w.disk.scan("alerting.outbox").unwrap().is_empty());
}

#[test]
fn what_fired_and_ended_within_group_wait_is_not_told() {
    let mut w = World::new();
    w.post("alertname=A", false);
    w.run_to(5);
    w.post("alertname=A", true);
    w.run_to(300);
    w.check(&[]);
    assert!(w.dispatcher.alert_views(at(300)).is_empty());
}

#[test]
fn an_alert_that_is_not_sent_again_ends_after_the_resolve_timeout() {
    let mut w = World::new();
    let alert = Alert {
        labels: Labels::from_pairs([("alertname", "A")]),
        annotations: Labels::empty(),
        starts_at: Timestamp::default(),
        ends_at: None,
        generator_url: String::new(),
        updated_at: Timestamp::default(),
    };
    w.dispatcher.receive(vec![alert], at(0));
    w.run_to(100);
    w.run_to(400);
    w.check(&[
        "10: +A (first notification)",
        "190: +A (repeat interval elapsed)",
        "310: -A (all alerts resolved)",
    ]);
}

#[test]
fn a_silenced_alert_is_not_told_but_its_end_is_when_its_start_was() {
    let mut w = World::new();
    w.post("alertname=A i=1", false);
    w.run_to(20);
    let spec = SilenceSpec {
        id: String::new(),
        matchers: crate::config::parse_matchers("alertname=A").unwrap(),
        starts_at: at(0),
        ends_at: at(10_000),
        created_by: String::new(),
        comment: String::new(),
    };
    let d = &mut w.dispatcher;
    let id = d.silences.set(spec, at(20), &w.store).unwrap();
    assert_eq!(d.alert_views(at(20))[0].silenced_by, [id]);
    w.post("alertname=A i=2", false);
    w.run_to(300);
    w.post("alertname=A i=1", true);
    w.post("alertname=A i=2", true);
    w.run_to(600);
    w.check(&[
        "10: +1 (first notification)",
        "310: -1 (all alerts resolved)",
    ]);
}

#[test]
fn a_target_is_muted_while_its_source_fires() {
    let mut w = World::new();
    w.post("alertname=Down severity=critical host=a i=down", false);
    w.post("alertname=Slow severity=warning host=a i=slow-a", false);
    w.post("alertname=Slow severity=warning host=b i=slow-b", false);
    w.run_to(20);
    let view = w.dispatcher.alert_views(at(20));
    let slow = view
        .iter()
        .find(|v| v.alert.labels.get("i") == Some("slow-a"));
    assert_eq!(slow.unwrap().state, AlertState::Suppressed);
    assert_eq!(slow.unwrap().inhibited_by.len(), 1);
    w.post("alertname=Down severity=critical host=a i=down", true);
    w.run_to(100);
    w.check(&[
        "10: +down (first notification)",
        "10: +slow-b (first notification)",
        "70: -down (all alerts resolved)",
        "70: +slow-a +slow-b (new alerts added)",
    ]);
}

#[test]
fn in_a_muted_hour_nothing_is_told_and_owed_ends_wait_for_its_end() {
    let mut w = World::new();
    w.now = 86_400 - 30; // half a minute before midnight
    w.post("alertname=A i=1 quiet=yes", false);
    w.run_to(86_400 + 10);
    w.post("alertname=A i=2 quiet=yes", false);
    w.post("alertname=A i=1 quiet=yes", true);
    w.run_to(86_400 + 3700);
    let day = 86_400;
    w.check(&[
        &format!("{}: +1 (first notification)", day - 20),
        &format!("{}: +2 -1 (new alerts added)", day + 3640),
    ]);
}

#[test]
fn a_new_configuration_keeps_what_was_told() {
    let mut w = World::new();
    w.post("alertname=A", false);
    w.run_to(20);
    let config = Config::parse("sim.yml", CONFIG).unwrap();
    let renderer = Renderer::new(&config, &Vec::new()).unwrap();
    w.dispatcher.reconfigure(config, renderer, at(20));
    w.run_to(100);
    w.post("alertname=A", true);
    w.run_to(200);
    w.check(&[
        "10: +A (first notification)",
        "130: -A (all alerts resolved)",
    ]);
}

#[test]
fn a_repeat_is_not_queued_behind_a_message_that_still_waits() {
    let mut w = World::new();
    w.failing = true;
    w.post("alertname=A", false);
    w.run_to(1000);
    assert_eq!(w.dispatcher.outbox.len(), 1);
    assert!(w.dispatcher.outbox.counts.superseded > 0);
    w.failing = false;
    w.post("alertname=A", true);
    w.run_to(2000);
    let told: Vec<&str> = w.seen.iter().map(|(_, _, m)| m.as_str()).collect();
    assert_eq!(
        told,
        ["+A (first notification)", "-A (all alerts resolved)"]
    );
}

#[test]
fn an_end_during_a_restart_is_still_told() {
    let mut w = World::new();
    w.post("alertname=A i=1", false);
    w.post("alertname=B i=2", false);
    w.run_to(20);
    // Down for ten minutes; then the rule says that A ended while nobody listened.
    w.now = 620;
    w.restart();
    w.post("alertname=A i=1", true);
    w.run_to(700);
    assert!(
        w.messages()
            .contains(&"620: -1 (all alerts resolved)".to_owned()),
        "{:?}",
        w.messages()
    );
}

/// The story whose every commit is a moment to be killed at.
fn story(mut w: World) -> (World, Vec<String>) {
    w.post("alertname=A i=1", false);
    w.post("alertname=B i=9", false);
    w.run_to(5);
    w.post("alertname=A i=2", false);
    w.run_to(30);
    w.post("alertname=A i=3", false);
    w.run_to(80);
    w.post("alertname=A i=1", true);
    w.run_to(150);
    w.post("alertname=A i=2", true);
    w.post("alertname=A i=3", true);
    w.post("alertname=B i=9", true);
    w.run_to(400);
    let mut told: Vec<String> = w.seen.iter().map(|(_, _, m)| m.clone()).collect();
    told.sort();
    (w, told)
}

#[test]
fn killed_at_any_commit_nothing_is_lost_and_nothing_is_told_twice() {
    let (w, expect) = story(World::new());
    assert_eq!(
        expect,
        [
            "+1 +2 (first notification)",
            "+1 +2 +3 (new alerts added)",
            "+2 +3 -1 (some alerts resolved)",
            "+9 (first notification)",
            "-2 -3 (all alerts resolved)",
            "-9 (all alerts resolved)",
        ]
    );
    let commits = w.store.commits.load(Ordering::Relaxed);
    assert!(commits > 15, "{commits} commits");
    let mut collapsed = 0;
    for killed_at in 1..=commits {
        for applied in [false, true] {
            let (w, told) = story(World::mortal(killed_at, applied));
            assert_eq!(
                told, expect,
                "killed at commit {killed_at}, applied: {applied}"
            );
            collapsed += w.collapsed;
        }
    }
    // Killed between the answer and its note, the message goes out again under the same key.
    assert!(collapsed > 0);
}

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let mut w = World::new();
    w.now = 10_000_000;
    w.post("alertname=A", false);
    w.run_to(10_000_020);
    w.now = 20;
    w.post("alertname=A", true);
    w.run_to(100);
    let told: Vec<&str> = w.seen.iter().map(|(_, _, m)| m.as_str()).collect();
    assert_eq!(
        told,
        ["+A (first notification)", "-A (all alerts resolved)"]
    );
}

/// Alertmanager 0.25 was given this configuration and these alerts, ten times as fast; what its
/// webhooks received is the expectation.
#[test]
fn a_recorded_timeline_is_told_as_alertmanager_told_it() {
    let mut w = World::open(RECORDED_CONFIG, usize::MAX, false);
    for (second, what) in [
        (0, "+alertname=A i=1 cluster=é\"q"),
        (0, "+alertname=A i=2 cluster=é\"q"),
        (0, "+alertname=Crash severity=page"),
        (0, "+alertname=Q svc=db x=1"),
        (0, "+alertname=Q svc=db x=2"),
        (0, "+alertname=Down host=a"),
        (0, "+alertname=Slow host=a"),
        (0, "+alertname=Slow host=b"),
        (5, "+alertname=A i=3 cluster=é\"q"),
        (20, "+alertname=A i=4 cluster=é\"q"),
        (40, "-alertname=A i=1 cluster=é\"q"),
        (42, "-alertname=Crash severity=page"),
        (45, "-alertname=Down host=a"),
        (60, "?alertname=T"),
        (95, "-alertname=Q svc=db x=1"),
    ] {
        w.run_to(second);
        match what.split_at(1) {
            ("?", labels) => w.post_until(labels, None),
            (mark, labels) => w.post(labels, mark == "-"),
        }
    }
    w.run_to(145);
    w.by_group.sort_by_key(|line| {
        let (second, rest) = line.split_once(": ").unwrap();
        (second.parse::<u32>().unwrap(), rest.to_owned())
    });
    assert_eq!(
        w.by_group,
        [
            r#"10: {}/{severity=~"critical|page",team!="x\"y"}:{alertname="Crash"} +Crash"#,
            r#"10: {}/{svc="db"}:{alertname="Q", svc="db", x="1"} +Q"#,
            r#"10: {}/{svc="db"}:{alertname="Q", svc="db", x="2"} +Q"#,
            r#"10: {}:{alertname="A", cluster="é\"q"} +1 +2 and 1 more"#,
            r#"10: {}:{alertname="Down"} +Down"#,
            r#"10: {}:{alertname="Slow"} +Slow"#,
            r#"30: {}:{alertname="A", cluster="é\"q"} +1 +2 and 2 more"#,
            r#"50: {}:{alertname="A", cluster="é\"q"} +2 -1 and 2 more"#,
            r#"50: {}:{alertname="Down"} -Down"#,
            r#"50: {}:{alertname="Slow"} +Slow +Slow"#,
            r#"70: {}/{svc="db"}:{alertname="Q", svc="db", x="1"} +Q"#,
            r#"70: {}/{svc="db"}:{alertname="Q", svc="db", x="2"} +Q"#,
            r#"70: {}:{alertname="T"} +T"#,
            r#"90: {}:{alertname="T"} -T"#,
            r#"110: {}/{svc="db"}:{alertname="Q", svc="db", x="1"} -Q"#,
            r#"110: {}:{alertname="A", cluster="é\"q"} +2 +3 and 1 more"#,
            r#"110: {}:{alertname="Slow"} +Slow +Slow"#,
            r#"130: {}/{svc="db"}:{alertname="Q", svc="db", x="2"} +Q"#,
        ]
    );
}

const RECORDED_CONFIG: &str = r#"
global: {resolve_timeout: 30s}
route:
  receiver: hook.a
  group_by: [alertname, "cluster"]
  group_wait: 10s
  group_interval: 20s
  repeat_interval: 50s
  routes:
    - matchers: ['severity=~"critical|page"', team!="x\"y"]
      receiver: crit
      continue: true
    - match: {svc: db}
      group_by: ['...']
      receiver: db
receivers:
  - name: hook.a
    webhook_configs: [{url: 'http://127.0.0.1:1/a', max_alerts: 2}]
  - name: crit
    webhook_configs: [{url: 'http://127.0.0.1:1/crit', send_resolved: false}]
  - name: db
    webhook_configs: [{url: 'http://127.0.0.1:1/db'}]
inhibit_rules:
  - source_matchers: [alertname=Down]
    target_matchers: [alertname=Slow]
    equal: [host]
"#;
