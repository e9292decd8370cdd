//! `stackwatch run`.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Shared};
use crate::app::App;
use crate::telemetry;

/// Threads that serve requests and timers. Two: the machine we are made for has two cores.
const WORKERS: usize = 2;
/// Threads for what blocks: queries (bounded by `query.concurrency`), the disk, name lookups.
const BLOCKING_MAX: usize = 16;
/// Blocking threads that idle this long end and give their memory back.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Open files asked for; more than all bounds together can need.
const OPEN_FILES: u64 = 16_384;
/// What is left of tasks after the orderly stop gets this long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Shared) -> Result<(), Failure> {
    let settings = shared.settings()?;
    telemetry::start_logging(shared.log_level);
    log_panics();
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(Failure::other)?;
        let app = tokio::select! {
            started = App::start(settings) => started?,
            // Whatever was being replayed is untouched on disk.
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => {
                    // The outcome has been logged, and the old configuration stays if it failed.
                    let _ = app.reloader().reload().await;
                }
            }
        }
        app.stop().await.map_err(Failure::from)
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    done
}

/// Raises the soft limit of open files to the hard one, at most [`OPEN_FILES`]: each connection and
/// file of log lines is one, and the usual soft limit of 1,024 dates from `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Panics go to the log, in one line, like everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = crate::app::supervise::panic_text(panic.payload());
        tracing::error!(place, text, "panic");
    }));
}
