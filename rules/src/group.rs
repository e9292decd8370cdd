//! A group: rules evaluated one after the other at the same instant.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::{HashSet, HashSetExt as _};
use model::{ControlStore, ControlWrite, Labels, STALE_NAN, Sample, SampleBatch, Timestamp};
use query::{Engine, PointValue};

use crate::alert_rule::{AlertRule, RuleError};
use crate::alert_state::{ActiveAlert, TABLE};
use crate::expr::{Evaluation, RuleExpr};
use crate::file::{GroupSpec, RuleSpec};
use crate::recording_rule::RecordingRule;
use crate::schedule::Schedule;
use crate::telemetry::{GroupLabels, Telemetry};
use crate::{Environment, GroupDefaults, GroupStatus, Health, RuleKind, RuleStatus};

/// How far in the past lines are read when the group has no `query_offset`. A line is stored a moment
/// after its own time: what reads it waits for company, for its pipe, for its sender's next request.
/// Windows that follow each other would miss it in between. Loki leaves that to `ruler_evaluation_delay_duration`.
const LOGS_OFFSET: Duration = Duration::from_secs(5);

/// A group that is being evaluated at its interval.
pub struct Group {
    pub(crate) spec: GroupSpec,
    pub(crate) file: String,
    pub(crate) labels: GroupLabels,
    interval: Duration,
    query_offset: Duration,
    logs_offset: Duration,
    defaults: GroupDefaults,
    schedule: Schedule,
    telemetry: Telemetry,
    control: Arc<dyn ControlStore>,
    /// Replaced by a reload: an evaluation that still holds it must not touch state any more.
    retired: AtomicBool,
    state: Mutex<State>,
    status: Mutex<GroupStatus>,
}

/// What one evaluation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvalReport {
    /// Rules evaluated.
    pub rules: usize,
    /// Those that failed.
    pub failures: usize,
    /// Alerts handed on.
    pub sent: usize,
    /// Slots skipped since the evaluation before.
    pub missed: u64,
}

pub(crate) struct State {
    pub(crate) rules: Vec<Rule>,
    last_at: Option<Timestamp>,
    /// Restored alerts are given until then to be seen again.
    settled_at: Option<Timestamp>,
    /// Series of rules that are gone, to be ended by the next evaluation.
    pub(crate) orphans: Vec<Labels>,
}

pub(crate) struct Rule {
    /// Start of its rows' keys in the control store.
    pub(crate) key: String,
    pub(crate) kind: Kind,
    /// Series that its last evaluation wrote.
    pub(crate) series: HashSet<Labels>,
    /// Its rows as they are on disk.
    pub(crate) stored: BTreeMap<u64, Vec<u8>>,
}

pub(crate) enum Kind {
    Alert(AlertRule),
    Record(RecordingRule),
}

/// One evaluation of one group, as its rules see it.
pub(crate) struct Round<'r> {
    pub(crate) at: Timestamp,
    pub(crate) interval: Duration,
    pub(crate) resend_delay: Duration,
    pub(crate) settling: bool,
    pub(crate) env: &'r dyn Environment,
    query_offset: Duration,
    logs_offset: Duration,
    limit: usize,
    engine: &'r Engine,
}

impl Group {
    pub(crate) fn new(
        file: &str,
        spec: GroupSpec,
        defaults: &GroupDefaults,
        control: Arc<dyn ControlStore>,
        telemetry: Telemetry,
    ) -> Group {
        let interval = spec
            .interval
            .unwrap_or(defaults.interval)
            .max(Duration::from_millis(1));
        let labels = GroupLabels {
            rule_group: format!("{file};{}", spec.name),
        };
        telemetry.touch(&labels, interval.as_secs_f64(), spec.rules.len());
        let query_offset = spec.query_offset.unwrap_or(defaults.query_offset);
        let logs_offset = spec
            .query_offset
            .unwrap_or_else(|| defaults.query_offset.max(LOGS_OFFSET));
        let rules = rules_of(&labels.rule_group, &spec);
        let status = GroupStatus {
            name: spec.name.clone(),
            file: file.to_owned(),
            interval,
            limit: spec.limit,
            query_offset,
            last_evaluation: None,
            evaluation_time: Duration::ZERO,
            iterations_missed: 0,
            rules: rules.iter().map(fresh_status).collect(),
        };
        Group {
            schedule: Schedule::new(file, &spec.name, interval),
            file: file.to_owned(),
            labels,
            interval,
            query_offset,
            logs_offset,
            defaults: defaults.clone(),
            telemetry,
            control,
            retired: AtomicBool::new(false),
            state: Mutex::new(State {
                rules,
                last_at: None,
                settled_at: None,
                orphans: Vec::new(),
            }),
            status: Mutex::new(status),
            spec,
        }
    }

    /// Its name, unique within its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Time between evaluations.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The first slot after `now`.
    #[must_use]
    pub fn next_eval(&self, now: Timestamp) -> Timestamp {
        self.schedule.next(now)
    }

    /// Whether a reload has replaced or removed it; its loop should end then.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Evaluates every rule at `at`, in order; each rule's samples are stored before the next runs.
    /// Alert state that changed is durable when this returns, and before an alert is sent.
    ///
    /// Blocks on the store. Evaluations of one group must be given ascending times.
    pub fn eval(&self, at: Timestamp, engine: &Engine, env: &dyn Environment) -> EvalReport {
        let mut state = lock(&self.state);
        let mut report = EvalReport::default();
        if self.is_retired() {
            return report;
        }
        let began = env.elapsed();
        if let Some(last) = state.last_at {
            report.missed = self.schedule.missed(last, at);
            self.telemetry
                .missed
                .get_or_create(&self.labels)
                .inc_by(report.missed);
        }
        state.last_at = Some(at);
        let settled_at = *state
            .settled_at
            .get_or_insert_with(|| at.plus(self.defaults.settle));
        self.telemetry.iterations.get_or_create(&self.labels).inc();
        let round = Round {
            at,
            interval: self.interval,
            resend_delay: self.defaults.resend_delay,
            settling: at < settled_at && !self.knows_by(at, env),
            env,
            query_offset: self.query_offset,
            logs_offset: self.logs_offset,
            limit: self.spec.limit,
            engine,
        };
        let State { rules, orphans, .. } = &mut *state;
        for (i, rule) in rules.iter_mut().enumerate() {
            self.eval_rule(i, rule, &round, &mut report);
        }
        end_series(&std::mem::take(orphans), &round);
        self.persist(rules);
        let took = env.elapsed().saturating_sub(began);
        self.telemetry
            .last_duration
            .get_or_create(&self.labels)
            .set(took.as_secs_f64());
        let mut status = lock(&self.status);
        status.last_evaluation = Some(at);
        status.evaluation_time = took;
        status.iterations_missed += report.missed;
        report
    }

    /// Whether what is missing at `at` is really gone: every source was read, and rules that
    /// others build on have had a turn since.
    fn knows_by(&self, at: Timestamp, env: &dyn Environment) -> bool {
        let enough = |read: Timestamp| at >= read.plus(self.interval + self.query_offset);
        env.collected_at().is_some_and(enough)
    }

    fn eval_rule(&self, i: usize, rule: &mut Rule, round: &Round<'_>, report: &mut EvalReport) {
        let began = round.env.elapsed();
        report.rules += 1;
        self.telemetry.evaluations.get_or_create(&self.labels).inc();
        let result = match &mut rule.kind {
            Kind::Alert(alert) => alert.eval(round),
            Kind::Record(record) => record.eval(round),
        };
        let result = result.and_then(|batch| {
            report.sent += self.send_due(rule, round);
            store(&mut rule.series, batch, round)
        });
        let mut status = lock(&self.status);
        let Some(shown) = status.rules.get_mut(i) else {
            return;
        };
        let error = result.err().map(|e| e.to_string());
        if let Some(error) = &error {
            report.failures += 1;
            self.telemetry.failures.get_or_create(&self.labels).inc();
            if shown.last_error.as_deref() != Some(error) {
                tracing::warn!(group = %self.labels.rule_group, rule = %shown.name, %error, "rule evaluation failed");
            }
        } else if shown.health == Health::Err {
            tracing::info!(group = %self.labels.rule_group, rule = %shown.name, "rule evaluation works again");
        }
        shown.health = if error.is_some() {
            Health::Err
        } else {
            Health::Ok
        };
        shown.last_error = error;
        shown.last_evaluation = Some(round.at);
        shown.evaluation_time = round.env.elapsed().saturating_sub(began);
        show_alerts(shown, rule);
    }

    /// Hands on the alerts that are due and says how many. What is sent is durable before: whoever
    /// has been told of an alert is also told of its end, even if we are killed in between.
    fn send_due(&self, rule: &mut Rule, round: &Round<'_>) -> usize {
        match &rule.kind {
            Kind::Alert(alert) if alert.is_due(round) => {}
            _ => return 0,
        }
        self.persist(std::slice::from_mut(rule));
        let Kind::Alert(alert) = &mut rule.kind else {
            return 0;
        };
        let due = alert.take_due(round);
        let count = due.len();
        round.env.send(due);
        count
    }

    /// Writes the rows that changed, all in one commit.
    fn persist(&self, rules: &mut [Rule]) {
        let mut writes = Vec::new();
        let mut after = Vec::with_capacity(rules.len());
        for rule in rules.iter() {
            let rows = rule.rows();
            changes(&rule.key, &rule.stored, &rows, &mut writes);
            after.push(rows);
        }
        if writes.is_empty() {
            return;
        }
        match self.control.commit(writes) {
            Ok(()) => {
                for (rule, rows) in rules.iter_mut().zip(after) {
                    rule.stored = rows;
                }
            }
            // What is on disk is older, not wrong; the next evaluation writes again.
            Err(error) => {
                self.telemetry.control_errors.inc();
                tracing::error!(group = %self.labels.rule_group, %error, "alert state is not durable");
            }
        }
    }

    /// What the API shows.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        lock(&self.status).clone()
    }

    /// Takes over alerts read from disk.
    pub(crate) fn restore(&self, rows: &BTreeMap<String, Vec<u8>>) {
        let mut state = lock(&self.state);
        let mut status = lock(&self.status);
        for (rule, shown) in state.rules.iter_mut().zip(&mut status.rules) {
            let Kind::Alert(alert_rule) = &mut rule.kind else {
                continue;
            };
            let end = format!("{}\u{7f}", rule.key);
            for bytes in rows.range(rule.key.clone()..end).map(|(_, v)| v) {
                let Some(alert) = ActiveAlert::decode(bytes) else {
                    continue;
                };
                let key = alert.labels.fingerprint();
                rule.stored.insert(key, bytes.clone());
                alert_rule.active.insert(key, alert);
            }
            rule.series = alert_rule.restored_series().collect();
            show_alerts(shown, rule);
        }
    }

    /// Ends this group and hands its state to `heir`: rules with the same key keep their alerts,
    /// series of the others are left to be ended. Returns rows of rules that are gone.
    pub(crate) fn retire(&self, heir: Option<&Group>) -> (Vec<Labels>, Vec<ControlWrite>) {
        self.retired.store(true, Ordering::Release);
        let mut old = lock(&self.state);
        let mut orphans = std::mem::take(&mut old.orphans);
        let mut writes = Vec::new();
        let mut heirs = heir.map(|h| (lock(&h.state), lock(&h.status)));
        if let Some((state, status)) = &mut heirs {
            state.last_at = old.last_at;
            state.settled_at = old.settled_at;
            status.last_evaluation = lock(&self.status).last_evaluation;
        }
        for mut rule in std::mem::take(&mut old.rules) {
            let taken = heirs.as_mut().and_then(|(state, status)| {
                let i = state
                    .rules
                    .iter()
                    .position(|r| r.key == rule.key && r.is_alert() == rule.is_alert())?;
                let new = &mut state.rules[i];
                new.series = std::mem::take(&mut rule.series);
                new.stored = std::mem::take(&mut rule.stored);
                if let (Kind::Alert(new), Kind::Alert(old)) = (&mut new.kind, &mut rule.kind) {
                    new.active = std::mem::take(&mut old.active);
                }
                show_alerts(&mut status.rules[i], &state.rules[i]);
                Some(())
            });
            if taken.is_none() {
                orphans.extend(rule.series);
                changes(&rule.key, &rule.stored, &BTreeMap::new(), &mut writes);
            }
        }
        (orphans, writes)
    }

    /// Adds series that the next evaluation ends.
    pub(crate) fn adopt(&self, orphans: Vec<Labels>) {
        lock(&self.state).orphans.extend(orphans);
    }

    /// Starts of the keys of its rows.
    pub(crate) fn row_prefixes(&self) -> Vec<String> {
        lock(&self.state)
            .rules
            .iter()
            .map(|r| r.key.clone())
            .collect()
    }
}

impl Rule {
    fn is_alert(&self) -> bool {
        matches!(self.kind, Kind::Alert(_))
    }

    fn rows(&self) -> BTreeMap<u64, Vec<u8>> {
        match &self.kind {
            Kind::Alert(rule) => rule.active.iter().map(|(k, a)| (*k, a.encode())).collect(),
            Kind::Record(_) => BTreeMap::new(),
        }
    }
}

impl Round<'_> {
    /// The instant at which expressions are evaluated and samples are stored.
    pub(crate) fn data_at(&self) -> Timestamp {
        self.at.minus(self.query_offset)
    }

    /// The group's limit, or `default` when it sets none.
    pub(crate) fn limit_or(&self, default: usize) -> usize {
        if self.limit > 0 { self.limit } else { default }
    }

    /// Path of an expression in the UI, with our address in front.
    pub(crate) fn table_link(&self, expr: &str) -> String {
        format!(
            "{}{}",
            self.env.external_url(),
            template::prometheus::table_link(expr)
        )
    }

    /// As [`Round::query`]; a histogram counts as 0, as in Prometheus.
    pub(crate) fn query_floats(
        &self,
        expr: &RuleExpr,
        at: Timestamp,
    ) -> Result<Vec<(Labels, f64)>, RuleError> {
        let results = self.query(expr, at)?;
        let float = |(labels, value): (Labels, PointValue)| (labels, value.float().unwrap_or(0.0));
        Ok(results.into_iter().map(float).collect())
    }

    /// Labels and values of an instant vector; a scalar is one value without labels. `at` is the instant
    /// for metrics.
    pub(crate) fn query(
        &self,
        expr: &RuleExpr,
        at: Timestamp,
    ) -> Result<Vec<(Labels, PointValue)>, RuleError> {
        expr.eval(&Evaluation {
            engine: self.engine,
            env: self.env,
            at,
            logs_at: self.at.minus(self.logs_offset),
        })
    }
}

/// Stores what a rule gave and ends the series that it gave before and gives no more.
fn store(
    series: &mut HashSet<Labels>,
    mut batch: SampleBatch,
    round: &Round<'_>,
) -> Result<(), RuleError> {
    let floats = batch.samples.iter().map(|s| &s.labels);
    let histograms = batch.histograms.iter().map(|s| &s.labels);
    let now: HashSet<Labels> = floats.chain(histograms).cloned().collect();
    let mut gone: Vec<&Labels> = series.difference(&now).collect();
    gone.sort_unstable();
    let ends = gone.into_iter().map(|labels| stale(labels, round));
    batch.samples.extend(ends);
    if !now.is_empty() || !batch.samples.is_empty() {
        round.env.append(batch).map_err(RuleError::Append)?;
    }
    *series = now;
    Ok(())
}

fn end_series(orphans: &[Labels], round: &Round<'_>) {
    if orphans.is_empty() {
        return;
    }
    let samples: Vec<Sample> = orphans.iter().map(|labels| stale(labels, round)).collect();
    // Unended, they disappear from queries five minutes later by themselves.
    if let Err(error) = round.env.append(SampleBatch::from(samples)) {
        tracing::warn!(%error, "series of removed rules could not be ended");
    }
}

fn stale(labels: &Labels, round: &Round<'_>) -> Sample {
    Sample {
        labels: labels.clone(),
        at: round.data_at(),
        value: STALE_NAN,
    }
}

/// What turns the rows `before` into `after`.
fn changes(
    prefix: &str,
    before: &BTreeMap<u64, Vec<u8>>,
    after: &BTreeMap<u64, Vec<u8>>,
    writes: &mut Vec<ControlWrite>,
) {
    for (key, value) in after {
        if before.get(key) != Some(value) {
            writes.push(ControlWrite::Put {
                table: TABLE,
                key: format!("{prefix}{key:016x}"),
                value: value.clone(),
            });
        }
    }
    for key in before.keys().filter(|k| !after.contains_key(k)) {
        writes.push(ControlWrite::Delete {
            table: TABLE,
            key: format!("{prefix}{key:016x}"),
        });
    }
}

/// The rules of a group; those with the same name and labels are told apart by a number.
fn rules_of(group: &str, spec: &GroupSpec) -> Vec<Rule> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    spec.rules
        .iter()
        .map(|rule| {
            let (name, labels, kind) = match rule {
                RuleSpec::Alert(a) => (&a.name, &a.labels, Kind::Alert(AlertRule::new(a.clone()))),
                RuleSpec::Record(r) => (
                    &r.name,
                    &r.labels,
                    Kind::Record(RecordingRule { spec: r.clone() }),
                ),
            };
            let labels = Labels::from_pairs(labels.clone()).fingerprint();
            let base = format!("{group}\n{name}\n{labels:016x}\n");
            let n = counts.entry(base.clone()).or_default();
            *n += 1;
            Rule {
                key: format!("{base}{n}\n"),
                kind,
                series: HashSet::new(),
                stored: BTreeMap::new(),
            }
        })
        .collect()
}

fn fresh_status(rule: &Rule) -> RuleStatus {
    let (name, expr, labels, kind) = match &rule.kind {
        Kind::Alert(a) => (
            &a.spec.name,
            &a.spec.expr,
            &a.spec.labels,
            RuleKind::Alerting {
                hold: a.spec.hold,
                keep_firing_for: a.spec.keep_firing_for,
                annotations: Labels::from_pairs(a.spec.annotations.clone()),
                state: crate::AlertState::Inactive,
                alerts: Vec::new(),
            },
        ),
        Kind::Record(r) => (
            &r.spec.name,
            &r.spec.expr,
            &r.spec.labels,
            RuleKind::Recording,
        ),
    };
    RuleStatus {
        name: name.clone(),
        expr: expr.to_string(),
        labels: Labels::from_pairs(labels.clone()),
        health: Health::Unknown,
        last_error: None,
        evaluation_time: Duration::ZERO,
        last_evaluation: None,
        kind,
    }
}

fn show_alerts(shown: &mut RuleStatus, rule: &Rule) {
    if let (RuleKind::Alerting { state, alerts, .. }, Kind::Alert(rule)) =
        (&mut shown.kind, &rule.kind)
    {
        (*state, *alerts) = rule.status();
    }
}

/// A panic under the lock leaves nothing half-written that the next evaluation does not redo.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
