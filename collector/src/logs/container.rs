//! Follows one container's log until the container has ended and all of it is read.
//!
//! In the engine's own files where we may read them ([`super::from_file`]), else by its API. There
//! `since` is inclusive. Engines before 23 apply it to every line, later ones only until the
//! first line that passes; [`super::replay`] suits both. Engines up to 20.10 may cut off
//! whoever follows when the container ends, so a read without following comes last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::config::ReadFrom;
use super::frame::{FrameError, Stream};
use super::position::Position;
use super::reader::{self, Around, Reader};
use super::{Container, Context, from_file, stall};
use crate::clock;
use crate::engine::{ByteStream, ContainerDetail, EngineError, nanos_param};

/// A line waits at most this long for company in its batch, and for a line that belongs to it.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// Lines held back are new when their anchor has not come for this long.
const SETTLE_DELAY: Duration = Duration::from_secs(1);
/// A connection on which nothing came for so long is compared with the end of the log.
const SILENCE: Duration = Duration::from_secs(60);
/// Connections that ended without a line after which the end of the log is looked at.
const FRUITLESS_MAX: u32 = 3;

/// Waits between two attempts, doubled each time up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a container is no longer followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended and its log is read.
    Exited,
    /// It was removed; what could be read of its log is.
    Gone,
    /// Its log driver keeps nothing that could be read.
    Unreadable,
    /// Nobody takes the batches any more.
    Closed,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// By the engine or the network.
    Ended,
    /// By us: the log has lines that do not come.
    Stuck,
    /// Nobody takes the batches any more.
    Closed,
}

/// Follows `container` to its end; `running` tells whether it runs, as far as events say. May be
/// dropped at any time: the next one continues where the last batch ended.
pub(super) async fn follow(
    context: &Context,
    container: &Container,
    running: watch::Receiver<bool>,
) -> End {
    let _open = OpenGauge::new(context);
    let mut tail = Tail {
        context,
        container,
        reader: context.reader(container),
        running,
        flush_at: None,
        settle_at: None,
    };
    // Both at once: a container run with `--rm` may be gone after the first answer.
    let path = tail.path(true, tail.since());
    let (detail, opened) = tokio::join!(
        context.engine.inspect(&container.id),
        context.engine.get_stream(&path)
    );
    let mut files = None;
    if let Ok(Some(detail)) = &detail {
        tail.tell(detail);
        if context.config.read == ReadFrom::Auto {
            files = from_file::open(&mut tail, detail).await;
        }
    }
    let mut opened = Some(opened);
    if let Some(files) = files {
        opened = None;
        tail.read_from("file");
        if let Some(end) = from_file::follow(&mut tail, files).await {
            return end;
        }
        tracing::warn!(container = %container.name, "its log file cannot be read any more, asking the engine");
    }
    tail.read_from("api");
    tail.follow_api(opened).await
}

/// One container being followed.
pub(super) struct Tail<'a> {
    pub(super) context: &'a Context,
    pub(super) container: &'a Container,
    pub(super) reader: Reader,
    pub(super) running: watch::Receiver<bool>,
    flush_at: Option<Instant>,
    settle_at: Option<Instant>,
}

impl Tail<'_> {
    async fn follow_api(&mut self, mut opened: Option<Result<ByteStream, EngineError>>) -> End {
        let mut backoff = BACKOFF.0;
        let mut fruitless = 0;
        loop {
            let before = self.reader.accepted();
            let read = match opened.take() {
                Some(Ok(body)) => self.catch_up(body).await,
                Some(Err(error)) => Err(error),
                None if fruitless >= FRUITLESS_MAX && stall::is_behind(self).await => {
                    stall::read_tail(self).await
                }
                None => self.read_log(true).await,
            };
            match read {
                Ok(Read::Closed) => return End::Closed,
                Ok(Read::Stuck) => fruitless = FRUITLESS_MAX,
                Ok(Read::Ended) => {}
                Err(e) if is_unreadable(&e) => return End::Unreadable,
                Err(_) => {}
            }
            // At once, before asking why: a container run with `--rm` may be gone after the answer.
            if let Ok(Read::Closed) = self.read_log(false).await {
                return End::Closed;
            }
            match self.context.engine.inspect(&self.container.id).await {
                Ok(None) => return self.close(End::Gone).await,
                Ok(Some(detail)) if !detail.state.running => match self.read_log(false).await {
                    Ok(Read::Closed) => return End::Closed,
                    Ok(_) => return self.close(End::Exited).await,
                    Err(e) if e.status() == Some(404) => return self.close(End::Gone).await,
                    Err(_) => {}
                },
                Ok(Some(_)) if self.reader.accepted() == before => fruitless += 1,
                // It runs, or the engine is not there: try again.
                _ => {}
            }
            if self.reader.accepted() != before {
                backoff = BACKOFF.0;
                fruitless = 0;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
            self.context.telemetry.reconnects.inc();
        }
    }

    /// Reads what there is before it follows: an engine that follows leaves out the rest of a file
    /// that is rotated before we have taken it. `pinned` was opened first and serves when the
    /// container is gone by then.
    async fn catch_up(&mut self, pinned: ByteStream) -> Result<Read, EngineError> {
        match self.read_log(false).await {
            Ok(Read::Closed) => return Ok(Read::Closed),
            Ok(_) => {
                if let Ok(read) = self.read_log(true).await {
                    return Ok(read);
                }
            }
            Err(_) => {}
        }
        self.begin(self.since());
        Ok(self.read(pinned).await)
    }

    /// From when on to read.
    pub(super) fn since(&self) -> i64 {
        let backlog_ns = i64::try_from(self.context.config.backlog.as_nanos()).unwrap_or(i64::MAX);
        let now = now_ns();
        let first = now.saturating_sub(backlog_ns);
        // The engine refuses negative times.
        self.reader.since(now).unwrap_or(first).max(0)
    }

    fn path(&self, follow: bool, since: i64) -> String {
        format!(
            "/containers/{}/logs?follow={}&timestamps=1&stdout=1&stderr=1&since={}",
            self.container.id,
            u8::from(follow),
            nanos_param(since)
        )
    }

    fn begin(&mut self, since: i64) {
        self.reader.reconnect(Some(since));
        self.settle_at = None;
    }

    /// Reads from the last position on to the log's end or, following, until the connection ends.
    async fn read_log(&mut self, follow: bool) -> Result<Read, EngineError> {
        let since = self.since();
        let path = self.path(follow, since);
        let body = self.context.engine.get_stream(&path).await?;
        // Only now: when the engine refuses because the container is gone, what is not whole
        // of the last connection is all there will be.
        self.begin(since);
        Ok(self.read(body).await)
    }

    /// Reads a connection to its end.
    pub(super) async fn read(&mut self, mut body: ByteStream) -> Read {
        let mut silent_at = Instant::now() + SILENCE;
        loop {
            let wake = self.wakes_before(silent_at);
            let piece = tokio::select! {
                piece = body.next() => piece,
                () = tokio::time::sleep_until(wake) => {
                    if self.settle_at.is_some_and(|at| at <= Instant::now()) {
                        self.reader.settle();
                        self.settle_at = None;
                        self.set_timers();
                    }
                    if self.flush_if_due().await.is_err() {
                        return Read::Closed;
                    }
                    if silent_at <= Instant::now() {
                        silent_at = Instant::now() + SILENCE;
                        if stall::is_behind(self).await {
                            return self.flush().await.map_or(Read::Closed, |()| Read::Stuck);
                        }
                    }
                    continue;
                }
            };
            silent_at = Instant::now() + SILENCE;
            let more = match piece {
                Ok(Some(bytes)) => {
                    self.reader.push(&bytes);
                    true
                }
                Ok(None) | Err(_) => false,
            };
            loop {
                match self.reader.read(now_ns()) {
                    Ok(false) => break,
                    Ok(true) => {
                        if self.flush().await.is_err() {
                            return Read::Closed;
                        }
                    }
                    Err(error) => {
                        if error != FrameError::Repeats {
                            tracing::warn!(container = %self.container.name, %error, "log stream broke");
                        }
                        return self.flush().await.map_or(Read::Closed, |()| Read::Ended);
                    }
                }
            }
            if !more {
                self.reader.close_entries();
                return self.flush().await.map_or(Read::Closed, |()| Read::Ended);
            }
            self.set_timers();
            // Under constant load the timer above may never win.
            if self.flush_if_due().await.is_err() {
                return Read::Closed;
            }
        }
    }

    pub(super) fn set_timers(&mut self) {
        if !(self.reader.has_entries() || self.reader.has_open_entries()) {
            self.flush_at = None;
        } else if self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + BATCH_DELAY);
        }
        if !self.reader.is_holding() {
            self.settle_at = None;
        } else if self.settle_at.is_none() {
            self.settle_at = Some(Instant::now() + SETTLE_DELAY);
        }
    }

    /// When a timer ends, `limit` at the latest.
    pub(super) fn wakes_before(&self, limit: Instant) -> Instant {
        let timers = [self.flush_at, self.settle_at].into_iter().flatten();
        timers.fold(limit, Instant::min)
    }

    /// Hands on what has waited long enough.
    pub(super) async fn flush_if_due(&mut self) -> Result<(), ()> {
        if self.flush_at.is_some_and(|at| at <= Instant::now()) {
            self.reader.age();
            self.flush().await?;
            self.set_timers();
        }
        Ok(())
    }

    /// Hands all entries on; waits while the channel is full, the engine keeps the rest.
    pub(super) async fn flush(&mut self) -> Result<(), ()> {
        self.flush_at = None;
        while self.reader.has_entries() {
            // A place first: from taking to sending nothing can be dropped in between.
            let place = self.context.out.reserve().await.map_err(|_| ())?;
            if let Some((batch, position)) = self.reader.take() {
                if let Some(source) = &batch.position {
                    self.context.progress.set(&source.source, position);
                }
                place.send(batch);
            }
        }
        Ok(())
    }

    /// Hands on what needs no line end any more.
    pub(super) async fn close(&mut self, end: End) -> End {
        self.reader.finish();
        self.flush().await.map_or(End::Closed, |()| end)
    }

    fn read_from(&self, what: &'static str) {
        let c = self.container;
        self.context
            .telemetry
            .proof
            .set(&c.id, &c.name, |status| status.read_from = what);
    }

    /// Says what its driver may lose.
    fn tell(&self, detail: &ContainerDetail) {
        let log = &detail.host_config.log_config;
        let mut notes = self.container.settings.problems.clone();
        if log
            .config
            .get("mode")
            .is_some_and(|mode| mode == "non-blocking")
        {
            notes.push("its log driver drops lines when it cannot keep up (mode: non-blocking); to mend it: logging: { options: { mode: blocking } }".to_owned());
        }
        let c = self.container;
        self.context.telemetry.proof.set(&c.id, &c.name, |status| {
            status.driver.clone_from(&log.driver);
            status.notes = notes;
        });
    }
}

/// Whether the driver keeps nothing; engines say so with 501, some with 500.
fn is_unreadable(error: &EngineError) -> bool {
    match error {
        EngineError::Status {
            status, message, ..
        } => *status == 501 || message.contains("does not support reading"),
        _ => false,
    }
}

impl Context {
    /// A reader that continues where the last batch ended: of this process, else as stored.
    fn reader(&self, container: &Container) -> Reader {
        let positions = Stream::ALL.map(|stream| {
            let source = reader::source(&container.id, stream);
            self.progress.get(&source).or_else(|| {
                let bytes = self.positions.get(&source)?;
                Position::decode(&bytes)
            })
        });
        let around = Around {
            scrubber: Arc::clone(&self.scrubber),
            telemetry: self.telemetry.clone(),
            counts: self.telemetry.proof.counts(&container.name),
        };
        Reader::new(
            around,
            &self.config.options(container),
            &container.id,
            &container.labels(&self.host),
            positions,
        )
    }
}

/// Counts open tails, also when they are dropped.
struct OpenGauge<'a>(&'a Context);

impl<'a> OpenGauge<'a> {
    fn new(context: &'a Context) -> Self {
        context.telemetry.containers.inc();
        OpenGauge(context)
    }
}

impl Drop for OpenGauge<'_> {
    fn drop(&mut self) {
        self.0.telemetry.containers.dec();
    }
}

fn now_ns() -> i64 {
    clock::now().millis().saturating_mul(1_000_000)
}
