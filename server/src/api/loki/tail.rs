//! `GET /loki/api/v1/tail`: lines as they come, over a WebSocket: what Grafana's live view and
//! `logcli query --tail` read.
//!
//! First the newest lines there are, then every accepted batch. A client that reads slowly is told
//! how much it missed; it never makes storing wait.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::{Direction, Labels, LogEntry};
use query::logql::ast::LogExpr;
use query::logql::{self, Expr, Follower, Limits, LogQuery, Shown, Value};
use scrub::{LogBatch, ScrubbedEntry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;

use super::query::{categorized, check_page, limit};
use super::websocket::{Reader, Said, Writer};
use super::{Refused, answer, time};
use crate::api::params::Params;
use crate::api::reading::Reading;
use crate::api::workshop::Client;
use crate::api::{Api, Parts, json};

/// Clients that follow lines at a time; Loki's default.
pub(in crate::api) const TAILS_MAX: usize = 10;
/// Lines of the past that are shown first, unless the client says how many; Loki's default.
const LIMIT_DEFAULT: usize = 100;
/// How long lines are collected before they are sent together.
const COLLECT_TIME: Duration = Duration::from_millis(200);
/// Bytes of lines that wait for one client, or to be looked at for it; further lines are counted
/// and not sent. A batch of the store's is at most half of it.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// Batches that wait to be looked at.
const BATCHES_MAX: usize = 256;
/// Lines that wait for one client, however short.
const WAITING_MAX: usize = 10_000;
/// Bytes of the past that are shown first: as many of the newest lines as fit.
const PAST_BYTES_MAX: usize = 1 << 20;
/// Bytes of lines that are looked at for the past; further back it is not shown.
const PAST_READ_BYTES_MAX: u64 = 1 << 30;
/// Bytes of lines sent together, but for one that is longer.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Lines sent together.
const MESSAGE_LINES_MAX: usize = 1000;
/// Pause between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client is served; Loki's default. Grafana connects again.
const TAIL_TIME_MAX: Duration = Duration::from_secs(3600);
/// Longest `delay_for`; Loki's.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// One line on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    at_ns: i64,
    shown: Shown,
}

impl Line {
    /// What it takes in memory, its labels counted for each line.
    fn bytes(&self) -> usize {
        let Shown {
            stream,
            metadata,
            parsed,
            line,
        } = &self.shown;
        let labels = [stream, metadata, parsed].map(Labels::heap_bytes);
        size_of::<Line>() + labels.iter().sum::<usize>() + line.len()
    }
}

/// Lines accepted since somebody began to watch.
struct Waiting {
    lines: Receiver<Line>,
    room: Room,
}

impl Waiting {
    async fn recv(&mut self) -> Option<Line> {
        let line = self.lines.recv().await;
        line.inspect(|line| self.left(line))
    }

    fn try_recv(&mut self) -> Option<Line> {
        let line = self.lines.try_recv().ok();
        line.inspect(|line| self.left(line))
    }

    fn left(&self, line: &Line) {
        self.room.give(line.bytes());
    }
}

/// What a client wants.
struct Wanted {
    expr: LogExpr,
    query: Arc<Follower>,
    start_ns: i64,
    limit: usize,
    delay: Duration,
    /// Metadata and parsed labels are a third element instead of among the labels.
    categorize: bool,
}

pub(super) async fn follow(
    State(api): State<Api>,
    client: Client,
    upgrade: Option<Extension<OnUpgrade>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let wanted = wanted(&api, &params, &headers).await?;
    let parts = api.parts()?;
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    let is_upgrade = text(header::UPGRADE).is_some_and(|v| v.eq_ignore_ascii_case("websocket"));
    let key = text(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade);
    let (Some(key), Some(Extension(upgrade))) = (key, upgrade) else {
        return Err(Refused::bad(
            "websocket: the client is not using the websocket protocol",
        ));
    };
    let Ok(seat) = Arc::clone(&api.0.tails).try_acquire_owned() else {
        return Err(Refused::bad(format!(
            "max concurrent tail requests limit exceeded, count > limit ({} > {TAILS_MAX})",
            TAILS_MAX + 1
        )));
    };
    let accept = collector::websocket_accept(key);
    // Watched first, so that nothing falls between; what is in both is sent once.
    let waiting = watch(&wanted, &parts);
    let past = past(&api, &client, &wanted).await?;
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            serve(TokioIo::new(upgraded), past, waiting, &wanted).await;
        }
        drop(seat);
    });
    let headers = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

async fn wanted(api: &Api, params: &Params, headers: &HeaderMap) -> Result<Wanted, Refused> {
    let text = params.get("query").unwrap_or_default();
    let refused = |e: logql::ParseError| Refused::bad(e.to_string());
    let Expr::Log(expr) = logql::parse(text).map_err(refused)? else {
        return Err(Refused::bad("only log selector is supported"));
    };
    let (stages, now) = (expr.clone(), api.now());
    // Its expressions may take long to compile.
    let made = tokio::task::spawn_blocking(move || Follower::new(&stages, now)).await;
    let made = made.map_err(|_| Refused::bad("the query cannot be made ready"))?;
    let query = Arc::new(made.map_err(refused)?);
    let (start_ns, _) = time::range(params, api.now())?;
    let delay = match params.get("delay_for") {
        None => Duration::ZERO,
        Some(text) => text.parse().ok().map(Duration::from_secs).ok_or_else(|| {
            Refused::bad(format!("delay_for {text:?} is no whole number of seconds"))
        })?,
    };
    if delay > DELAY_MAX {
        return Err(Refused::bad("delay_for can't be greater than 5"));
    }
    let limit = limit(params, LIMIT_DEFAULT)?;
    check_page(limit)?;
    Ok(Wanted {
        expr,
        query,
        start_ns,
        limit,
        delay,
        categorize: categorized(headers),
    })
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    past: Vec<Line>,
    waiting: Waiting,
    wanted: &Wanted,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
    // What the client says is read by a task of its own: half a frame must not be lost.
    let (say, mut said) = mpsc::channel(1);
    let listening = async move {
        while let Ok(next) = reader.next().await {
            let is_end = next == Said::Close;
            if say.send(next).await.is_err() || is_end {
                break;
            }
        }
    };
    let ended = {
        let telling = tell(&mut writer, past, waiting, wanted, &mut said);
        tokio::pin!(listening, telling);
        tokio::select! {
            // Without its sender `said` ends, and with it the telling.
            () = &mut listening => telling.await,
            ended = &mut telling => ended,
        }
    };
    if let Some((code, why)) = ended {
        // The client may be gone.
        let _ = writer.close(code, why).await;
    }
}

/// Until the client leaves (`None`), or with a code and a word for it.
async fn tell<W: AsyncWrite + Unpin>(
    writer: &mut Writer<W>,
    past: Vec<Line>,
    mut waiting: Waiting,
    wanted: &Wanted,
    said: &mut Receiver<Said>,
) -> Option<(u16, &'static str)> {
    let hasher = RandomState::default();
    let mut known: HashSet<u64> = past.iter().map(|line| hasher.hash_one(line)).collect();
    let mut past = past.into_iter().peekable();
    while past.peek().is_some() {
        let together = message_of(|| past.next());
        writer
            .text(&message(&together, 0, wanted.categorize))
            .await
            .ok()?;
    }
    let end = Instant::now() + TAIL_TIME_MAX;
    let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        let first = tokio::select! {
            () = tokio::time::sleep_until(end) => {
                return Some((1000, "reached tail max duration limit"));
            }
            _ = ping.tick() => {
                writer.ping().await.ok()?;
                // What was accepted while the past was read has come.
                known.clear();
                continue;
            }
            next = said.recv() => match next {
                Some(Said::Ping(payload)) => {
                    writer.pong(&payload).await.ok()?;
                    continue;
                }
                Some(Said::Close) | None => return None,
            },
            first = waiting.recv() => first?,
        };
        tokio::time::sleep(COLLECT_TIME + wanted.delay).await;
        let mut first = Some(first);
        let mut together = message_of(|| first.take().or_else(|| waiting.try_recv()));
        together.retain(|line| !known.contains(&hasher.hash_one(line)));
        together.sort_by_key(|line| line.at_ns);
        let missed = waiting.room.missed.swap(0, Ordering::Relaxed);
        if !together.is_empty() || missed > 0 {
            writer
                .text(&message(&together, missed, wanted.categorize))
                .await
                .ok()?;
        }
    }
}

/// As many lines as go together.
fn message_of(mut next: impl FnMut() -> Option<Line>) -> Vec<Line> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < MESSAGE_LINES_MAX
        && bytes < MESSAGE_BYTES_MAX
        && let Some(line) = next()
    {
        bytes += line.bytes();
        lines.push(line);
    }
    lines
}

/// The lines accepted from now on. They are only collected on the thread that stores them; the
/// query's stages run elsewhere, for they may take long.
fn watch(wanted: &Wanted, parts: &Parts) -> Waiting {
    let (send, batches) = mpsc::channel(BATCHES_MAX);
    let (show, lines) = mpsc::channel(WAITING_MAX);
    let room = Room::default();
    let waiting = Waiting {
        lines,
        room: room.clone(),
    };
    let query = Arc::clone(&wanted.query);
    let stages = Arc::clone(&query);
    tokio::spawn(look(stages, wanted.categorize, batches, show, room.clone()));
    (parts.watch_logs)(Box::new(move |batch: &LogBatch| {
        if send.is_closed() {
            return ControlFlow::Break(());
        }
        let stream = batch.stream.labels();
        if !query.matchers().iter().all(|m| m.matches_labels(stream)) {
            return ControlFlow::Continue(());
        }
        let bytes = |e: &ScrubbedEntry| {
            size_of::<LogEntry>() + e.line.as_str().len() + e.metadata.labels().heap_bytes()
        };
        let size = batch.entries.iter().map(bytes).sum();
        if room.take(size, batch.entries.len()) {
            let raw = Raw {
                stream: stream.clone(),
                entries: batch.entries.iter().map(entry_of).collect(),
                size,
            };
            if let Err(refused) = send.try_send(raw) {
                let raw = refused.into_inner();
                room.refuse(raw.size, raw.entries.len());
            }
        }
        ControlFlow::Continue(())
    }));
    waiting
}

/// Lines of a stream that fits, as they are stored.
struct Raw {
    stream: Labels,
    entries: Vec<LogEntry>,
    /// What was taken of the room for it.
    size: usize,
}

fn entry_of(entry: &ScrubbedEntry) -> LogEntry {
    LogEntry {
        at_ns: entry.at_ns,
        line: entry.line.as_str().to_owned(),
        metadata: entry.metadata.labels().clone(),
    }
}

/// What one client may still have waiting.
#[derive(Clone, Default)]
struct Room {
    bytes: Arc<AtomicUsize>,
    /// Lines that did not fit.
    missed: Arc<AtomicU64>,
}

impl Room {
    /// Takes room for lines, or counts them as missed. Something fits always when nothing waits.
    fn take(&self, size: usize, lines: usize) -> bool {
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = before == 0 || before + size <= WAITING_BYTES_MAX;
        if !fits {
            self.refuse(size, lines);
        }
        fits
    }

    fn refuse(&self, size: usize, lines: usize) {
        self.give(size);
        self.missed.fetch_add(lines as u64, Ordering::Relaxed);
    }

    fn give(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Runs the query's stages over what was collected, until the client is gone.
async fn look(
    query: Arc<Follower>,
    categorize: bool,
    mut batches: Receiver<Raw>,
    show: Sender<Line>,
    room: Room,
) {
    loop {
        let raw = tokio::select! {
            () = show.closed() => return,
            raw = batches.recv() => raw,
        };
        let Some(raw) = raw else {
            return;
        };
        let (query, show, room) = (Arc::clone(&query), show.clone(), room.clone());
        let looked = tokio::task::spawn_blocking(move || {
            room.give(raw.size);
            for entry in &raw.entries {
                if show.is_closed() {
                    return;
                }
                let Some(shown) = query.show(&raw.stream, entry, categorize) else {
                    continue;
                };
                let at_ns = entry.at_ns;
                let line = Line { at_ns, shown };
                let size = line.bytes();
                if room.take(size, 1) && show.try_send(line).is_err() {
                    room.refuse(size, 1);
                }
            }
        });
        if looked.await.is_err() {
            return;
        }
    }
}

/// The newest lines there are, oldest first.
async fn past(api: &Api, client: &Client, wanted: &Wanted) -> Result<Vec<Line>, Refused> {
    let (expr, now) = (wanted.expr.clone(), api.now());
    let asked = LogQuery {
        start_ns: wanted.start_ns,
        end_ns: i64::MAX,
        limit: wanted.limit,
        direction: Direction::Backward,
        interval_ns: 0,
        categorize: wanted.categorize,
    };
    let timeout = api.config().query.timeout.0;
    let read = move |reading: &Reading| {
        let limits = Limits {
            read_bytes_max: PAST_READ_BYTES_MAX,
            held_bytes_max: PAST_BYTES_MAX.min(reading.bytes_max / 2),
            cancel: Some(Arc::clone(&reading.cancel)),
            ..Limits::default()
        };
        logql::eval::log_query(&expr, &*reading.parts.logs, &asked, now, &limits)
            .map_err(super::query::failure)
    };
    let (done, _) = api.read(client, timeout, read).await?;
    let Value::Streams(streams) = done.value else {
        return Ok(Vec::new());
    };
    let mut lines: Vec<Line> = Vec::new();
    for stream in streams {
        // Newest first within each.
        lines.extend(stream.entries.into_iter().rev().map(|entry| Line {
            at_ns: entry.at_ns,
            shown: Shown {
                stream: stream.labels.clone(),
                metadata: entry.metadata,
                parsed: entry.parsed,
                line: entry.line,
            },
        }));
    }
    lines.sort_by_key(|line| line.at_ns);
    Ok(lines)
}

/// `{"streams": […], "dropped_entries": […]}`.
fn message(lines: &[Line], missed: u64, categorize: bool) -> String {
    let mut streams: BTreeMap<&Labels, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        streams.entry(&line.shown.stream).or_default().push(line);
    }
    let mut out = String::from("{\"streams\":");
    json::array(&mut out, streams, |out, (labels, lines)| {
        out.push_str("{\"stream\":");
        json::labels(out, labels);
        out.push_str(",\"values\":");
        json::array(out, lines, |out, line| {
            out.push_str(&format!("[\"{}\",", line.at_ns));
            json::string(out, &line.shown.line);
            if categorize {
                answer::apart(out, &line.shown.metadata, &line.shown.parsed);
            }
            out.push(']');
        });
        out.push('}');
    });
    if missed > 0 {
        let at = lines.last().map_or(0, |line| line.at_ns);
        let labels = format!("{{\"missed\":\"{missed} lines: the client reads too slowly\"}}");
        out.push_str(&format!(
            ",\"dropped_entries\":[{{\"timestamp\":\"{at}\",\"labels\":{labels}}}]"
        ));
    }
    if categorize {
        out.push_str(",\"encodingFlags\":[\"categorize-labels\"]");
    }
    out.push('}');
    out
}
