//! The first line is an expression, the others describe series (`a{b="c"} 1+2x5 stale`).
//! Whatever they are, evaluation ends, in time and without a panic.
#![no_main]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::Timestamp;
use query::promqltest::{MemoryReader, series};
use query::{Engine, EngineOptions, Limits};

/// Between samples, in milliseconds.
const STEP_MS: i64 = 30_000;
/// Most series and samples of a run: small, so that many runs fit a second.
const SERIES_MAX: usize = 16;
const ITEMS_MAX: usize = 200;
const SAMPLES_MAX: usize = 200_000;
/// After so long a query is told to stop, as the server's deadline does; libFuzzer's own time
/// limit finds those that do not listen.
const PATIENCE: Duration = Duration::from_secs(2);

static RUN: AtomicU64 = AtomicU64::new(0);

/// Set when the present run has taken too long.
static CANCEL: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let cancel = Arc::new(AtomicBool::new(false));
    let seen = cancel.clone();
    std::thread::spawn(move || {
        loop {
            let run = RUN.load(Ordering::Relaxed);
            std::thread::sleep(PATIENCE);
            if RUN.load(Ordering::Relaxed) == run {
                seen.store(true, Ordering::Relaxed);
            }
        }
    });
    cancel
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.lines();
    let Ok(expr) = query::parse(lines.next().unwrap_or_default()) else {
        return;
    };
    let mut reader = MemoryReader::default();
    for line in lines.take(SERIES_MAX) {
        // `1x1000000` is a million items: refused before they are made.
        if line.split('x').skip(1).any(|n| {
            let digits = n.bytes().take_while(u8::is_ascii_digit).count();
            digits > 3
        }) {
            return;
        }
        let Ok((labels, items)) = series::parse(line) else {
            return;
        };
        if items.len() > ITEMS_MAX {
            return;
        }
        reader.load(&labels, &items, STEP_MS);
    }
    let limits = || {
        RUN.fetch_add(1, Ordering::Relaxed);
        CANCEL.store(false, Ordering::Relaxed);
        Limits {
            samples_max: SAMPLES_MAX,
            cancel: Some(CANCEL.clone()),
            ..Limits::default()
        }
    };
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    for delayed in [false, true] {
        let engine = Engine::new(EngineOptions {
            delayed_name_removal: delayed,
            start_timestamps: delayed,
            ..EngineOptions::default()
        });
        let _ = engine.instant(&expr, &reader, at(300), &limits());
        let step = Duration::from_secs(45);
        let _ = engine.range(&expr, &reader, at(-60), at(900), step, &limits());
    }
});
