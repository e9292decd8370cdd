//! The metric store against a naive map: random batches, flushes, faults, kills and power
//! cuts. What was synced must be there bit by bit, nothing else may appear, and a batch is
//! all or nothing.
//!
//! Every run follows from its seed, which a failure names:
//! `STACKWATCH_MODEL_SEED=7 STACKWATCH_MODEL_STEPS=2000 cargo test -p storage model_test`
//! replays it; `STACKWATCH_MODEL_RUNS` seeds are tried one after the other, from that one or 1 on.

pub(super) mod model;
mod workload;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::model::{TimeRange, Timestamp};

use self::model::{Content, Model, content_of};
use self::workload::Workload;
use super::MetricStore;
use super::compact_run::Policy;
use crate::Config;
use crate::config::Rollup;
use crate::disk::faulty::{FaultyDisk, Rng, Weather};
use crate::health::Watch;

const DIR: &str = "/data/metrics";
/// Whether batches hold native histograms.
const HISTOGRAMS: bool = true;
const MINUTE: i64 = 60_000;
/// Steps told when a run fails.
const TRACE_STEPS: usize = 30;

/// One store on one disk, and what it should hold.
struct Run {
    seed: u64,
    step: u64,
    rng: Rng,
    disk: FaultyDisk,
    store: Option<MetricStore>,
    clock: i64,
    workload: Workload,
    model: Model,
    stormy: bool,
    /// Syncs may fail, also those that a flush or an append asks for.
    syncs_fail: bool,
    /// An append could not sync what was before it, and no sync has told of it yet.
    doubtful: bool,
    trace: VecDeque<String>,
}

/// How late samples may be in the runs.
const WINDOWS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(600),
    Duration::from_secs(2 * 3600),
];

/// Targets of the workload have four series and those that lately came and went.
const TARGET_LIMITS: [usize; 2] = [1000, 5];

fn open(disk: &FaultyDisk, seed: u64, head_bytes_max: u64) -> MetricStore {
    let disk = Arc::new(disk.clone());
    let config = Config {
        head_bytes_max,
        out_of_order_window: WINDOWS[(seed % 3) as usize],
        series_per_target_max: TARGET_LIMITS[usize::from(seed.is_multiple_of(5))],
        ..Config::default()
    };
    MetricStore::open(disk, Watch::for_test(), Path::new(DIR), &config).unwrap()
}

pub(super) fn policy() -> Policy {
    Policy {
        retention: Duration::from_secs(15 * 24 * 3600),
        rules: Vec::new(),
        rollups: Vec::new(),
        late: Duration::ZERO,
        horizon: Timestamp::MAX,
    }
}

const ROLLUPS: [Rollup; 2] = [
    Rollup {
        resolution: Duration::from_secs(300),
        retention: Duration::from_secs(30 * 24 * 3600),
    },
    Rollup {
        resolution: Duration::from_secs(3600),
        retention: Duration::from_secs(90 * 24 * 3600),
    },
];

impl Run {
    fn new(seed: u64) -> Run {
        let disk = FaultyDisk::seeded(seed ^ 0xd15c);
        Run {
            seed,
            step: 0,
            rng: Rng::new(seed),
            store: Some(open(&disk, seed, 64 << 20)),
            disk,
            clock: 1_700_000_000_000,
            workload: Workload::default(),
            model: Model::default(),
            stormy: false,
            syncs_fail: false,
            doubtful: false,
            trace: VecDeque::new(),
        }
    }

    /// Half of the runs make roll-ups, which readers of raw samples must not notice.
    fn policy(&self) -> Policy {
        let mut policy = policy();
        if self.seed.is_multiple_of(2) {
            policy.rollups = ROLLUPS.to_vec();
        }
        policy
    }

    fn store(&self) -> &MetricStore {
        self.store.as_ref().unwrap()
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        if self.trace.len() == TRACE_STEPS {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{}: {what}", self.step));
    }

    fn everything(&self) -> Content {
        content_of(self.store(), &[], TimeRange::ALL)
    }

    fn step(&mut self) {
        self.step += 1;
        match self.rng.below(100) {
            0..62 => self.append(),
            62..72 => self.sync(),
            72..82 => self.maintain(),
            82..85 => self.reopen(),
            85..88 => self.power_cut(),
            88..92 => self.storm(),
            92..94 => self.fill_up(),
            94..95 => self.retain(),
            95..96 => self.delete(),
            96..97 => self.read_a_part(),
            97..98 => self.import(),
            98 if self.rng.chance(200) => self.set_clock_back(),
            _ => self.pass_hours(),
        }
        if self.syncs_fail {
            self.model.not_synced();
        }
        if self.step.is_multiple_of(16) {
            self.compare("now and then");
        }
    }

    fn append(&mut self) {
        self.clock += self.rng.below(120_000) as i64;
        let batch = self.workload.batch(&mut self.rng, self.clock);
        let size = batch.samples.len() + batch.histograms.len();
        let outcome = self
            .store()
            .append(&batch, Timestamp::from_millis(self.clock));
        self.note(format!("append {size} at {}: {outcome:?}", self.clock));
        let store = self.store.as_ref().unwrap();
        let matchers = [Workload::matcher_for(&batch)];
        let read = content_of(store, &matchers, TimeRange::ALL);
        match outcome {
            Ok(report) => {
                let told = report.appended
                    + report.repeated
                    + report.duplicate
                    + report.out_of_order
                    + report.too_old
                    + report.too_far_future
                    + report.series_limit
                    + report.target_limit;
                assert_eq!(told, size as u64, "not every sample was accounted for");
                self.model.appended(&batch, &read, &report, self.clock);
            }
            Err(_) => {
                assert!(self.stormy || self.doubtful, "an error without a cause");
                self.doubtful = true;
                self.model.refused(&batch, &read);
            }
        }
    }

    /// As `Storage::sync` does it.
    fn sync(&mut self) {
        let store = self.store();
        let mut result = Ok(());
        for part in store.unsynced() {
            let failed = part.sync().is_err();
            result = result.and(store.sync_done(&part, failed));
        }
        let result = result.and(store.is_trusted());
        self.note(format!("sync: {}", result.is_ok()));
        self.doubtful = false;
        match result {
            Ok(()) => self.model.synced(),
            Err(_) => self.model.not_synced(),
        }
    }

    fn maintain(&mut self) {
        self.note("maintain");
        let now = Timestamp::from_millis(self.clock);
        self.store().maintain(now);
        // Compaction meets bad reads too; queries do not, or the model could not tell.
        let reads = if self.stormy { self.rng.below(100) } else { 0 };
        self.disk.set_reads(reads as u32);
        for _ in 0..self.rng.below(6) {
            self.store().maintain_blocks(now, &self.policy());
        }
        self.disk.set_reads(0);
        if !self.stormy {
            let trusted = self.store().is_trusted();
            assert!(
                trusted.is_ok(),
                "maintenance did not make good: {trusted:?}"
            );
        }
        self.compare("after maintenance");
    }

    /// The process is killed: what was written is in the page cache.
    fn reopen(&mut self) {
        // After a failed sync the page cache says more than the disk holds, and a process
        // that starts anew cannot know: only maintenance of the one that saw it helps.
        if self.doubtful || self.store().is_trusted().is_err() {
            return;
        }
        let head_bytes_max = self.workload.head_bytes_max(&mut self.rng);
        self.note(format!("killed, opened with {head_bytes_max}"));
        self.calm();
        self.store = None;
        self.store = Some(open(&self.disk, self.seed, head_bytes_max));
        let found = self.everything();
        self.model.reopened(&found);
    }

    fn power_cut(&mut self) {
        let head_bytes_max = self.workload.head_bytes_max(&mut self.rng);
        self.note(format!("power cut, opened with {head_bytes_max}"));
        self.calm();
        self.store = None;
        self.doubtful = false;
        self.disk.power_cut_at_random();
        self.store = Some(open(&self.disk, self.seed, head_bytes_max));
        let found = self.everything();
        self.model.power_cut(found);
    }

    fn storm(&mut self) {
        if self.stormy {
            self.note("calm");
            self.calm();
            return;
        }
        let often = [20, 200, 700][self.rng.below(3) as usize];
        let mut some = || [0, often][self.rng.below(2) as usize];
        let weather = Weather {
            writes: some(),
            syncs: some(),
            names: some(),
            // Readers are told of an error and see less; the model cannot.
            reads: 0,
        };
        self.note(format!("{weather:?}"));
        self.disk.set_weather(weather);
        self.syncs_fail = weather.syncs > 0;
        self.stormy = true;
    }

    fn fill_up(&mut self) {
        let room = self.rng.below(40_000);
        self.note(format!("{room} bytes left"));
        self.disk.set_room(Some(room));
        self.stormy = true;
    }

    fn calm(&mut self) {
        self.disk.set_weather(Weather::default());
        self.disk.set_room(None);
        (self.stormy, self.syncs_fail) = (false, false);
    }

    /// Retention takes the oldest piece.
    fn retain(&mut self) {
        // Where samples are gone a roll-up would answer.
        if self.stormy || !self.policy().rollups.is_empty() {
            return;
        }
        let oldest = self.store().pieces().into_iter().min_by_key(|p| p.end_ms);
        let Some(piece) = oldest else { return };
        self.note(format!(
            "remove {} ({})",
            piece.path.display(),
            piece.end_ms
        ));
        self.store().remove(&piece.path);
        let found = self.everything();
        self.model.retained(found, piece.end_ms);
    }

    fn delete(&mut self) {
        // After a failed sync nothing can be deleted until the regular one has dealt with it.
        if self.stormy || self.doubtful || self.store().is_trusted().is_err() {
            return;
        }
        let start = self.clock - self.rng.below(600) as i64 * MINUTE;
        let end = start + self.rng.below(300) as i64 * MINUTE;
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        let matchers = self.workload.matchers(&mut self.rng);
        self.note(format!("delete {start}..={end} {matchers:?}"));
        let deleted = self
            .store()
            .delete_series(std::slice::from_ref(&matchers), range);
        self.model.deleted(&matchers, range, &deleted.unwrap());
        self.compare("after a deletion");
    }

    fn read_a_part(&mut self) {
        let start = self.clock - self.rng.below(600) as i64 * MINUTE;
        let end = start + self.rng.below(300) as i64 * MINUTE;
        let matchers = self.workload.matchers(&mut self.rng);
        self.note(format!("read {start}..={end} {matchers:?}"));
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        let found = content_of(self.store(), &matchers, range);
        assert_eq!(found, self.model.part(&matchers, range), "a part");
    }

    /// Somebody's samples, some of them at instants that have others.
    fn import(&mut self) {
        if self.stormy || self.doubtful || self.store().is_trusted().is_err() {
            return;
        }
        let series = self.workload.import(&mut self.rng);
        if series.is_empty() {
            return;
        }
        self.note(format!("import of {} series", series.len()));
        let store = self.store.as_ref().unwrap();
        let (path, mut writer) = store.begin_block().unwrap();
        let mut end = i64::MIN;
        for (labels, samples) in &series {
            writer.add(labels, samples).unwrap();
            let last = samples.floats.last().map(|p| p.t);
            let last = last.max(samples.histograms.last().map(|p| p.t));
            end = end.max(last.unwrap_or(i64::MIN) + 1);
        }
        writer.finish(end).unwrap();
        store.adopt(&[path]).unwrap();
        self.model.imported(&series);
        self.compare("after an import");
    }

    fn pass_hours(&mut self) {
        self.clock += self.rng.below(240) as i64 * MINUTE;
        self.note(format!("hours pass, now {}", self.clock));
    }

    fn set_clock_back(&mut self) {
        self.clock -= self.rng.below(180) as i64 * MINUTE;
        self.note(format!("the clock was ahead, now {}", self.clock));
    }

    fn compare(&self, when: &str) {
        self.model.compare(&self.everything(), when);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (seed, step) = (self.seed, self.step);
        println!("--- the steps before the failure:");
        for line in &self.trace {
            println!("{line}");
        }
        println!(
            "--- replay: STACKWATCH_MODEL_SEED={seed} STACKWATCH_MODEL_STEPS={step} \
             cargo test -p storage model_test"
        );
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_store_holds_what_a_map_holds_through_faults_and_power_cuts() {
    let steps = number("STACKWATCH_MODEL_STEPS").unwrap_or(400);
    let runs = number("STACKWATCH_MODEL_RUNS").unwrap_or(5);
    let seeds = match number("STACKWATCH_MODEL_SEED") {
        Some(seed) => seed..seed + number("STACKWATCH_MODEL_RUNS").unwrap_or(1),
        None => 1..runs + 1,
    };
    for seed in seeds {
        let mut run = Run::new(seed);
        for _ in 0..steps {
            run.step();
        }
        run.compare("at the end");
    }
}
