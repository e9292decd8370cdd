//! Follows one container's log until the container has ended and all of it is read.
//!
//! `since` is inclusive. Engines before 23 apply it to every line, later ones only until the
//! first line that passes; [`super::replay`] suits both. Engines up to 20.10 may cut off
//! whoever follows when the container ends, so a read without following comes last.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::position::Position;
use super::reader::{self, Reader};
use super::{Container, Context};
use crate::clock;
use crate::engine::{ByteStream, EngineError, nanos_param};

/// A line waits at most this long for company in its batch.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// Lines held back are new when their anchor has not come for this long.
const SETTLE_DELAY: Duration = Duration::from_secs(1);

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
enum Read {
    /// By the engine or the network.
    Ended,
    /// Nobody takes the batches any more.
    Closed,
}

/// Follows `container` to its end. May be dropped at any time: the next one continues where
/// the last batch ended.
pub(super) async fn follow(context: &Context, container: &Container) -> End {
    let _open = OpenGauge::new(context);
    let mut tail = Tail {
        context,
        container,
        reader: context.reader(container),
        flush_at: None,
        settle_at: None,
    };
    let mut backoff = BACKOFF.0;
    loop {
        let before = tail.reader.accepted();
        match tail.read_log(true).await {
            Ok(Read::Ended) => {}
            Ok(Read::Closed) => return End::Closed,
            Err(e) if e.status() == Some(501) => return End::Unreadable,
            Err(_) => {}
        }
        // At once, before asking why: a container run with `--rm` may be gone after the answer.
        if let Ok(Read::Closed) = tail.read_log(false).await {
            return End::Closed;
        }
        match context.engine.inspect(&container.id).await {
            Ok(None) => return tail.close(End::Gone).await,
            Ok(Some(detail)) if !detail.state.running => match tail.read_log(false).await {
                Ok(Read::Ended) => return tail.close(End::Exited).await,
                Ok(Read::Closed) => return End::Closed,
                Err(e) if e.status() == Some(404) => return tail.close(End::Gone).await,
                Err(_) => {}
            },
            // It runs, or the engine is not there: try again.
            _ => {}
        }
        if tail.reader.accepted() != before {
            backoff = BACKOFF.0;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
        context.telemetry.reconnects.inc();
    }
}

struct Tail<'a> {
    context: &'a Context,
    container: &'a Container,
    reader: Reader,
    flush_at: Option<Instant>,
    settle_at: Option<Instant>,
}

impl Tail<'_> {
    /// Asks for the log from the last position on.
    async fn open(&mut self, follow: bool) -> Result<ByteStream, EngineError> {
        let backlog_ns = i64::try_from(self.context.config.backlog.as_nanos()).unwrap_or(i64::MAX);
        let first = now_ns().saturating_sub(backlog_ns);
        // The engine refuses negative times.
        let since = self.reader.since().unwrap_or(first).max(0);
        let path = format!(
            "/containers/{}/logs?follow={}&timestamps=1&stdout=1&stderr=1&since={}",
            self.container.id,
            u8::from(follow),
            nanos_param(since)
        );
        let body = self.context.engine.get_stream(&path).await?;
        // Only now: when the engine refuses because the container is gone, what is not whole
        // of the last connection is all there will be.
        self.reader.reconnect();
        self.settle_at = None;
        Ok(body)
    }

    /// Reads from the last position on to the log's end or, following, until the connection ends.
    async fn read_log(&mut self, follow: bool) -> Result<Read, EngineError> {
        let body = self.open(follow).await?;
        Ok(self.read(body).await)
    }

    /// Reads a connection to its end.
    async fn read(&mut self, mut body: ByteStream) -> Read {
        loop {
            let wake = [self.flush_at, self.settle_at].into_iter().flatten().min();
            let piece = tokio::select! {
                piece = body.next() => piece,
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if self.settle_at.is_some_and(|at| at <= Instant::now()) {
                        self.reader.settle();
                        self.settle_at = None;
                    }
                    if self.flush().await.is_err() {
                        return Read::Closed;
                    }
                    continue;
                }
            };
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
                        tracing::warn!(container = %self.container.name, %error, "log stream broke");
                        return self.flush().await.map_or(Read::Closed, |()| Read::Ended);
                    }
                }
            }
            if !more {
                return self.flush().await.map_or(Read::Closed, |()| Read::Ended);
            }
            self.set_timers();
            // Under constant load the timer above may never win.
            if self.flush_at.is_some_and(|at| at <= Instant::now()) && self.flush().await.is_err() {
                return Read::Closed;
            }
        }
    }

    fn set_timers(&mut self) {
        if !self.reader.has_entries() {
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

    /// Hands all entries on; waits while the channel is full, the engine keeps the rest.
    async fn flush(&mut self) -> Result<(), ()> {
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
    async fn close(&mut self, end: End) -> End {
        self.reader.finish();
        self.flush().await.map_or(End::Closed, |()| end)
    }
}

impl Context {
    /// A reader that continues where the last batch ended: of this process, else as stored.
    fn reader(&self, container: &Container) -> Reader {
        let positions = super::frame::Stream::ALL.map(|stream| {
            let source = reader::source(&container.id, stream);
            self.progress.get(&source).or_else(|| {
                let bytes = self.positions.get(&source)?;
                Position::decode(&bytes)
            })
        });
        Reader::new(
            Arc::clone(&self.scrubber),
            self.telemetry.clone(),
            self.config.line_bytes_max,
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
