//! `GET /loki/api/v1/tail`: lines as they come, over a WebSocket: what Grafana's live view and
//! `logcli query --tail` read.
//!
//! First the newest lines there are, then every accepted batch. A client that reads slowly is told
//! how much it missed; it never makes storing wait.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::{Direction, Labels, LogEntry, LogReader, LogSelection};
use query::logql::{self, Expr, Follower};
use scrub::LogBatch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, Receiver, error::TrySendError};
use tokio::time::Instant;

use super::websocket::{Reader, Said, Writer};
use super::{Refused, time};
use crate::api::params::Params;
use crate::api::{Api, Parts, json};

/// Clients that follow lines at a time; Loki's default.
pub(in crate::api) const TAILS_MAX: usize = 10;
/// Lines of the past that are shown first, unless the client says how many; Loki's default.
const LIMIT_DEFAULT: usize = 100;
/// How long lines are collected before they are sent together.
const COLLECT_TIME: Duration = Duration::from_millis(200);
/// Lines that wait for one client; further ones are counted and not sent.
const WAITING_MAX: usize = 10_000;
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
    stream: Labels,
    at_ns: i64,
    text: String,
}

/// What a client wants.
struct Wanted {
    query: Arc<Follower>,
    start_ns: i64,
    limit: usize,
    delay: Duration,
}

pub(super) async fn follow(
    State(api): State<Api>,
    upgrade: Option<Extension<OnUpgrade>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let wanted = wanted(&api, &params)?;
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
        let why =
            format!("max concurrent tail requests limit exceeded, count > limit ({TAILS_MAX})");
        return Err(Refused(StatusCode::TOO_MANY_REQUESTS, why));
    };
    let accept = collector::websocket_accept(key);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            serve(TokioIo::new(upgraded), wanted, &parts).await;
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

fn wanted(api: &Api, params: &Params) -> Result<Wanted, Refused> {
    let text = params.get("query").unwrap_or_default();
    let refused = |e: logql::ParseError| Refused::bad(e.to_string());
    let Expr::Log(expr) = logql::parse(text).map_err(refused)? else {
        return Err(Refused::bad("only log selector is supported"));
    };
    let query = Arc::new(Follower::new(&expr, api.now()).map_err(refused)?);
    let (start_ns, _) = time::range(params, api.now()).map_err(Refused::bad)?;
    let delay = match params.get("delay_for") {
        None => Duration::ZERO,
        Some(text) => text.parse().ok().map(Duration::from_secs).ok_or_else(|| {
            Refused::bad(format!("delay_for {text:?} is no whole number of seconds"))
        })?,
    };
    if delay > DELAY_MAX {
        return Err(Refused::bad("delay_for can't be greater than 5"));
    }
    Ok(Wanted {
        query,
        start_ns,
        limit: match params.get("limit") {
            Some(_) => super::query::limit(params)?,
            None => LIMIT_DEFAULT,
        },
        delay,
    })
}

async fn serve(stream: impl AsyncRead + AsyncWrite, wanted: Wanted, parts: &Arc<Parts>) {
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
        let telling = tell(&mut writer, &wanted, parts, &mut said);
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
    wanted: &Wanted,
    parts: &Arc<Parts>,
    said: &mut Receiver<Said>,
) -> Option<(u16, &'static str)> {
    let (mut lines, missed) = watch(wanted, parts);
    // Watched first, so that nothing falls between; what is in both is sent once.
    let Ok(past) = past(wanted, parts).await else {
        return Some((1011, "the past cannot be read"));
    };
    if !past.is_empty() {
        writer.text(&message(&past, 0)).await.ok()?;
    }
    let mut known: HashSet<Line> = past.into_iter().collect();
    let end = Instant::now() + TAIL_TIME_MAX;
    let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        let mut together = Vec::new();
        tokio::select! {
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
            first = lines.recv() => together.push(first?),
        }
        tokio::time::sleep(COLLECT_TIME + wanted.delay).await;
        while together.len() < MESSAGE_LINES_MAX
            && let Ok(line) = lines.try_recv()
        {
            together.push(line);
        }
        together.retain(|line| !known.contains(line));
        together.sort_by_key(|line| line.at_ns);
        let missed = missed.swap(0, Ordering::Relaxed);
        if !together.is_empty() || missed > 0 {
            writer.text(&message(&together, missed)).await.ok()?;
        }
    }
}

/// The lines accepted from now on, and how many did not fit.
fn watch(wanted: &Wanted, parts: &Parts) -> (Receiver<Line>, Arc<AtomicU64>) {
    let (send, lines) = mpsc::channel(WAITING_MAX);
    let missed = Arc::new(AtomicU64::new(0));
    let (query, count) = (Arc::clone(&wanted.query), Arc::clone(&missed));
    (parts.watch_logs)(Box::new(move |batch: &LogBatch| {
        if send.is_closed() {
            return ControlFlow::Break(());
        }
        let stream = batch.stream.labels();
        if !query.matchers().iter().all(|m| m.matches_labels(stream)) {
            return ControlFlow::Continue(());
        }
        for entry in &batch.entries {
            let at_ns = entry.at_ns;
            let entry = LogEntry {
                at_ns,
                line: entry.line.as_str().to_owned(),
                metadata: entry.metadata.labels().clone(),
            };
            let Some((stream, text)) = query.show(stream, &entry) else {
                continue;
            };
            let line = Line {
                stream,
                at_ns,
                text,
            };
            if let Err(TrySendError::Full(_)) = send.try_send(line) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        ControlFlow::Continue(())
    }));
    (lines, missed)
}

/// The newest lines there are, oldest first.
async fn past(wanted: &Wanted, parts: &Arc<Parts>) -> Result<Vec<Line>, ()> {
    let (query, parts) = (Arc::clone(&wanted.query), Arc::clone(parts));
    let (start_ns, limit) = (wanted.start_ns, wanted.limit);
    let read = move || {
        let selection = LogSelection {
            matchers: query.matchers(),
            start_ns,
            end_ns: i64::MAX,
            direction: Direction::Backward,
        };
        let mut lines = Vec::new();
        let read = LogReader::read(&*parts.logs, &selection, &mut |stream, entry| {
            if let Some((stream, text)) = query.show(stream, entry) {
                lines.push(Line {
                    stream,
                    at_ns: entry.at_ns,
                    text,
                });
            }
            match lines.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        lines.reverse();
        read.map(|()| lines)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(drop)?
        .map_err(drop)
}

/// `{"streams": […], "dropped_entries": […]}`.
fn message(lines: &[Line], missed: u64) -> String {
    let mut streams: BTreeMap<&Labels, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        streams.entry(&line.stream).or_default().push(line);
    }
    let mut out = String::from("{\"streams\":");
    json::array(&mut out, streams, |out, (labels, lines)| {
        out.push_str("{\"stream\":");
        json::labels(out, labels);
        out.push_str(",\"values\":");
        json::array(out, lines, |out, line| {
            out.push_str(&format!("[\"{}\",", line.at_ns));
            json::string(out, &line.text);
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
    out.push('}');
    out
}
