//! The HTTP server: so many connections at a time, and none of them for free.
//!
//! A client that sends nothing, or slowly, or does not read its answer holds a seat only until
//! its time is over, and only while nobody else wants it: when all seats are taken, a newcomer
//! gets the seat of the connection that has been idle longest.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Extensions, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::held_body::{Hold, holding};
use super::request_head;
use super::request_line::RequestLine;
use super::workshop::{Door, Peer};

/// Connections at a time. A browser with a dashboard holds six; each costs a file descriptor
/// and some kilobytes.
const CONNECTIONS_MAX: usize = 256;
/// Until a request's head must be complete, counted from the connection's start or the answer
/// before; so also how long an idle connection is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes: a query fits into a URL. Four pipelined ones, at most.
const HEAD_BYTES_MAX: usize = 400 << 10;
/// Until a request's body must be complete.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest request body accepted, in bytes: alerts posted by others are the largest.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Where other systems push samples and lines. They send what they have collected, so they may send more.
const PUSHES: [&str; 5] = [
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/otlp/v1/logs",
    "/otlp/v1/logs",
    "/loki/api/v1/push",
];
/// Largest body of a push, in bytes and as it is sent. Prometheus sends up to 2,000 samples, a
/// few hundred kilobytes; vmagent up to 8 MiB before compression; OpenTelemetry's collector
/// takes requests of up to 20 MiB by default, and passes on what it takes, compressed.
const PUSH_BYTES_MAX: usize = 16 << 20;
/// Bytes of request bodies held at once, besides one body; further ones wait.
const BODIES_BYTES_MAX: usize = 16 << 20;
/// Bodies that may grow to their end without a share of [`BODIES_BYTES_MAX`]: with none, bodies
/// that each hold a part would wait for each other. All bodies together are 32 MiB at most.
const BODIES_BEYOND: usize = 1;
const _: () = assert!(BODY_BYTES_MAX <= PUSH_BYTES_MAX && BODIES_BEYOND > 0);
/// How long a client may leave an answer unread.
const UNREAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Until work stops for a client that sends no more, counted from there or from what was written to
/// it last: it may have left, or have shut down only its own side and wait for the answer, which
/// looks the same from here.
const HALF_CLOSED_TIME_MAX: Duration = Duration::from_secs(1);
/// A connection keeps its seat at least this long, so that its request has time to arrive.
const IDLE_MIN: Duration = Duration::from_millis(250);
/// Pause after `accept` fails, which it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves `router` until `stopped` is done, then finishes requests in progress. `evicted` counts
/// connections that lost their seat to another.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    evicted: Counter,
    stopped: impl Future<Output = ()>,
) {
    let hall = Arc::new(Hall {
        seats: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
        beyond: Arc::new(Semaphore::new(BODIES_BEYOND)),
        idle: Mutex::default(),
        evicted,
    });
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    let mut ordinal = 0;
    loop {
        let arrival = async {
            let stream = accept(&listener).await;
            (stream, hall.seat().await)
        };
        let (stream, seat) = tokio::select! {
            () = &mut stopped => break,
            arrived = arrival => arrived,
        };
        while connections.try_join_next().is_some() {}
        ordinal += 1;
        let visit = Visit::new(Arc::clone(&hall), ordinal);
        let (router, stopping) = (router.clone(), stopping.clone());
        connections.spawn(async move {
            let _seat = seat;
            converse(stream, router, visit, stopping).await;
        });
    }
    drop((listener, stop));
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written in one go; waiting for more only delays the last packet.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // The peer has gone already.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(
    stream: TcpStream,
    router: Router,
    visit: Arc<Visit>,
    mut stopping: watch::Receiver<()>,
) {
    let mut peer = Extensions::new();
    if let Ok(address) = stream.peer_addr() {
        peer.insert(Peer(address.ip()));
    }
    peer.insert(visit.evicted.clone());
    let io = Patient {
        stream,
        line: RequestLine::default(),
        visit: Arc::clone(&visit),
        stalled: None,
        ended: None,
    };
    let service = {
        let (router, visit) = (TowerToHyperService::new(router), Arc::clone(&visit));
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().extend(peer.clone());
            let owed = Owed::new(Arc::clone(&visit));
            let answer = respond(router.clone(), Arc::clone(&visit), request);
            async move {
                let answer = answer.await?;
                Ok::<_, Infallible>(answer.map(|body| holding(body, owed)))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut finishing = false;
    loop {
        tokio::select! {
            // How a connection ends is its client's affair.
            _ = connection.as_mut() => return,
            () = visit.evicted.shown() => return,
            // The sender never sends: this is its end.
            _ = stopping.changed(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(
    router: TowerToHyperService<Router>,
    visit: Arc<Visit>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    if let Some(refusal) = request_head::refusal(&head) {
        return Ok(refusal);
    }
    let hall = &visit.hall;
    let is_push = PUSHES.contains(&head.uri.path());
    let bytes_max = if is_push {
        PUSH_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    };
    let (body, _held) = match tokio::time::timeout(BODY_TIME_MAX, hall.read(body, bytes_max)).await
    {
        Ok(Ok(read)) => read,
        // vmagent sends a block again for ever unless the answer is 400 or 409.
        Ok(Err(StatusCode::PAYLOAD_TOO_LARGE)) if is_push => {
            let why = format!("the body is larger than {PUSH_BYTES_MAX} bytes\n");
            return Ok((StatusCode::BAD_REQUEST, why).into_response());
        }
        Ok(Err(status)) => return Ok(status.into_response()),
        // Prometheus gives a request up after 408, and sends it again after 503.
        Err(_) if is_push => return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        Err(_) => return Ok(StatusCode::REQUEST_TIMEOUT.into_response()),
    };
    // From here to the answer the connection is ours to wait for, not its client's.
    let _busy = visit.busy();
    let request = Request::from_parts(head, Body::from(body));
    router.call(request).await
}

/// What connections share.
struct Hall {
    seats: Arc<Semaphore>,
    /// A permit per byte of a request's body.
    bodies: Arc<Semaphore>,
    /// A permit per body that needs no more of them.
    beyond: Arc<Semaphore>,
    /// Connections that wait for their client, the longest first.
    idle: Mutex<BTreeMap<(Instant, u64), Arc<Visit>>>,
    evicted: Counter,
}

impl Hall {
    /// A seat, taken from an idle connection when there is none.
    async fn seat(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
                return Some(seat);
            }
            let free = Arc::clone(&self.seats).acquire_owned();
            let patience = self.evict(Instant::now());
            if let Ok(seat) = tokio::time::timeout(patience, free).await {
                // The semaphore is never closed; without a seat it would merely go uncounted.
                return seat.ok();
            }
        }
    }

    /// Shows the longest idle connection the door; how long to wait before the next try.
    fn evict(&self, now: Instant) -> Duration {
        let mut idle = self.idle();
        let Some(entry) = idle.first_entry() else {
            return IDLE_MIN;
        };
        let age = now.saturating_duration_since(entry.key().0);
        if age < IDLE_MIN {
            return IDLE_MIN - age;
        }
        entry.remove().evicted.show();
        self.evicted.inc();
        IDLE_MIN
    }

    /// A whole body, and its claim.
    async fn read(&self, body: Incoming, bytes_max: usize) -> Result<(Bytes, Claim), StatusCode> {
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let mut body = pin!(body);
        let mut read = Vec::new();
        let mut held = Claim::default();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            // Trailers say nothing to us.
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if read.len() + piece.len() > bytes_max {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            self.claim(&mut held, piece.len()).await?;
            read.extend_from_slice(&piece);
        }
        Ok((read.into(), held))
    }

    /// Adds `bytes` to what a body holds.
    async fn claim(&self, held: &mut Claim, bytes: usize) -> Result<(), StatusCode> {
        if held.beyond.is_some() {
            return Ok(());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.bodies).acquire_many_owned(bytes);
        let beyond = Arc::clone(&self.beyond).acquire_owned();
        tokio::select! {
            biased;
            more = more => {
                let more = more.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                match &mut held.bytes {
                    Some(held) => held.merge(more),
                    None => held.bytes = Some(more),
                }
            }
            beyond = beyond => {
                held.beyond = Some(beyond.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?);
            }
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Arc<Visit>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a body holds, until its request is answered.
#[derive(Default)]
struct Claim {
    /// Of [`BODIES_BYTES_MAX`].
    bytes: Option<OwnedSemaphorePermit>,
    /// Of [`BODIES_BEYOND`].
    beyond: Option<OwnedSemaphorePermit>,
}

/// One connection, as the hall sees it.
struct Visit {
    hall: Arc<Hall>,
    ordinal: u64,
    /// Since when it waits for its client; `None` while its client waits for us.
    since: Mutex<Option<Instant>>,
    /// Requests whose answers hyper does not have whole.
    owed: AtomicUsize,
    evicted: Door,
}

impl Visit {
    fn new(hall: Arc<Hall>, ordinal: u64) -> Arc<Visit> {
        let visit = Arc::new(Visit {
            hall,
            ordinal,
            since: Mutex::new(None),
            owed: AtomicUsize::new(0),
            evicted: Door::default(),
        });
        visit.waits(Some(Instant::now()));
        visit
    }

    fn waits(self: &Arc<Self>, since: Option<Instant>) {
        let mut own = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = self.hall.idle();
        if let Some(before) = std::mem::replace(&mut *own, since) {
            idle.remove(&(before, self.ordinal));
        }
        if let Some(since) = since {
            idle.insert((since, self.ordinal), Arc::clone(self));
        }
    }

    fn busy(self: &Arc<Self>) -> Busy {
        self.waits(None);
        Busy(Arc::clone(self))
    }

    /// Some of an answer has left.
    fn progressed(self: &Arc<Self>) {
        let waiting = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_some() {
            drop(waiting);
            self.waits(Some(Instant::now()));
        }
    }
}

/// Ends with the handler.
struct Busy(Arc<Visit>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.waits(Some(Instant::now()));
    }
}

/// A request, from its head until hyper has the whole answer.
struct Owed(Arc<Visit>);

impl Owed {
    fn new(visit: Arc<Visit>) -> Owed {
        visit.owed.fetch_add(1, Ordering::Relaxed);
        Owed(visit)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.owed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hold for Owed {}

/// A stream that gives up a write nobody reads, and that ends only when what was asked on it is
/// answered or its time is over: hyper closes a connection where it reads the end.
struct Patient {
    stream: TcpStream,
    line: RequestLine,
    visit: Arc<Visit>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs since the client sent the last it will send.
    ended: Option<Pin<Box<Sleep>>>,
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.visit.waits(None);
    }
}

impl Patient {
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            if let Some(ended) = &mut self.ended {
                ended.as_mut().reset(Instant::now() + HALF_CLOSED_TIME_MAX);
                // It may have been the last; hyper waits to read.
                cx.waker().wake_by_ref();
            }
            self.visit.progressed();
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD_TIME_MAX)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            let Patient { stream, line, .. } = &mut *self;
            let before = buf.filled().len();
            let read = line.poll_read(stream, cx, buf);
            let is_end = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before;
            if !is_end {
                return read;
            }
        }
        let Patient {
            ended,
            stalled,
            visit,
            ..
        } = &mut *self;
        let ended = ended.get_or_insert_with(|| Box::pin(tokio::time::sleep(HALF_CLOSED_TIME_MAX)));
        if stalled.is_some() {
            // The write that waits decides.
            return Poll::Pending;
        }
        // hyper reads on only when it has made requests of all there was, and written what it has.
        if visit.owed.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Ok(()));
        }
        ended.as_mut().poll(cx).map(Ok)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
