//! Follows a container's log in the engine's own `json-file` files: exact over rotations, damage and
//! truncation, where the engine's API skips or repeats without a sign.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::container::{End, Tail};
use super::entries::GapKind;
use super::json_files::{JsonFiles, Step};
use super::json_record;
use crate::engine::ContainerDetail;

/// Between two looks at a file that has not grown.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long the file of a container that ended must stay as it is to be read whole.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The files of a container's log, where the engine writes such and we may read them.
pub(super) struct Opened {
    path: PathBuf,
    files: JsonFiles,
}

/// Opens the files; the container may be gone by then.
pub(super) async fn open(tail: &mut Tail<'_>, detail: &ContainerDetail) -> Option<Opened> {
    let log = &detail.host_config.log_config;
    // The name is the engine's own: no container can lead us to another file.
    if log.driver != "json-file"
        || !detail
            .log_path
            .ends_with(&format!("/{0}-json.log", detail.id))
    {
        return None;
    }
    let inside = detail.log_path.strip_prefix('/')?;
    let path = tail.context.rootfs.join(inside);
    let files = begin(tail, &path, Belief::Search).await?;
    Some(Opened { path, files })
}

/// Follows the files until the container has ended or is gone; `None` when they cannot be read any
/// more.
pub(super) async fn follow(tail: &mut Tail<'_>, opened: Opened) -> Option<End> {
    let Opened { path, mut files } = opened;
    let mut ended: Option<Instant> = None;
    loop {
        let (back, step) = tokio::task::spawn_blocking(move || {
            let step = files.step();
            (files, step)
        })
        .await
        .ok()?;
        files = back;
        match step.ok()? {
            Step::Lines => {
                ended = None;
                if take(tail, &files).await.is_err() {
                    return Some(End::Closed);
                }
            }
            Step::Gap(kind) => {
                ended = None;
                tail.reader.mark_gap(kind);
            }
            Step::Gone => return Some(tail.close(End::Gone).await),
            Step::Idle => {
                if tail.reader.is_expecting() {
                    // Only the rest of a line that began in a file that is gone.
                    files = begin(tail, &path, Belief::Absent).await?;
                    continue;
                }
                let is_over = !*tail.running.borrow_and_update();
                let since = *ended.get_or_insert_with(Instant::now);
                if !is_over {
                    ended = None;
                } else if since.elapsed() >= DRAIN_TIME {
                    return Some(tail.close(End::Exited).await);
                }
                if wait(tail, &files, is_over).await.is_err() {
                    return Some(End::Closed);
                }
            }
        }
    }
}

/// Whether the last stored lines are believed to be in the files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    Search,
    Absent,
}

async fn begin(tail: &mut Tail<'_>, path: &Path, belief: Belief) -> Option<JsonFiles> {
    let since = tail.since();
    let (path, anchors) = (path.to_owned(), tail.reader.anchors());
    let opened = tokio::task::spawn_blocking(move || JsonFiles::open(&path, since, anchors));
    let (files, found) = opened.await.ok()?.ok()?;
    let found = match belief {
        Belief::Search => found,
        Belief::Absent => [false; 2],
    };
    tail.reader.begin_file(since, found);
    Some(files)
}

/// Hands on the lines of a step.
async fn take(tail: &mut Tail<'_>, files: &JsonFiles) -> Result<(), ()> {
    for line in files.lines().split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let record = json_record::parse(line);
        if record.as_ref().is_none_or(|record| record.is_after_damage) {
            tail.reader.mark_gap(GapKind::Damaged);
        }
        if let Some(record) = record
            && tail
                .reader
                .record(record.stream, record.at_ns, record.text.as_bytes())
        {
            tail.flush().await?;
        }
    }
    tail.set_timers();
    tail.flush_if_due().await
}

/// Until the file may have grown; hands on meanwhile what has waited for company.
async fn wait(tail: &mut Tail<'_>, files: &JsonFiles, is_over: bool) -> Result<(), ()> {
    loop {
        let poll = Instant::now() + POLL_INTERVAL;
        tokio::select! {
            () = tokio::time::sleep_until(tail.wakes_before(poll)) => {}
            Ok(()) = tail.running.changed() => return tail.flush_if_due().await,
        }
        tail.flush_if_due().await?;
        if is_over || files.has_news() {
            return Ok(());
        }
    }
}
