//! One request, one connection, one answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use super::stats::ContainerStats;
use super::types::{
    ContainerDetail, ContainerSummary, Environment, EnvironmentDetail, Event, ImageDetail, Info,
    Network, Version,
};

/// How long an answer may take, connecting included. Streams are exempt after their headers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the engine may count the files of all containers.
const SIZES_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer read: a list of some 10,000 containers.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// The longest line of an event stream.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How much of an error's text is kept.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// A Docker engine at an address. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Engine {
    address: Arc<Address>,
}

#[derive(Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address is neither `unix:///path` nor `tcp://host:port`.
    #[error("docker address {0:?}: expected unix:///path or tcp://host:port")]
    Address(String),
    /// The address has a user or a password, which an engine does not ask for.
    #[error("docker address: a user or password before the @ is not supported; it is not sent")]
    Credentials,
    /// No socket at that path.
    #[error(
        "docker socket {0} does not exist: start Docker, mount the socket, or set collect.docker.socket"
    )]
    NoSocket(String),
    /// The socket is there and may not be opened.
    #[error(
        "docker socket {0}: permission denied: run as root or as a member of the socket's group"
    )]
    Denied(String),
    /// Connecting failed otherwise.
    #[error("connecting to docker at {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// Nothing came in time.
    #[error("docker did not answer {path} in time")]
    Timeout {
        /// What was asked.
        path: String,
    },
    /// The connection broke.
    #[error("docker, asked {path}: {source}")]
    Http {
        /// What was asked.
        path: String,
        /// The cause.
        source: hyper::Error,
    },
    /// The engine, or a proxy before it, ended a stream.
    #[error("docker ended the event stream")]
    Closed,
    /// The engine refused.
    #[error("docker answered {path} with status {status}: {message}")]
    Status {
        /// What was asked.
        path: String,
        /// HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The answer is longer than we read.
    #[error("docker's answer to {path} exceeds {limit} bytes")]
    TooLong {
        /// What was asked.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("docker's answer to {path} is not understood: {source}")]
    Decode {
        /// What was asked.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
}

impl EngineError {
    /// HTTP status, when the engine answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            EngineError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Engine {
    /// The engine at `address`: `unix:///var/run/docker.sock`, a bare absolute path, or `tcp://host:port`.
    ///
    /// # Errors
    /// [`EngineError::Address`] for anything else, [`EngineError::Credentials`] when it must not be shown.
    pub fn new(address: &str) -> Result<Engine, EngineError> {
        let parsed = if let Some(path) = address.strip_prefix("unix://") {
            Address::Unix(PathBuf::from(path))
        } else if address.starts_with('/') {
            Address::Unix(PathBuf::from(address))
        } else if address.contains('@') {
            return Err(EngineError::Credentials);
        } else {
            let rest = address
                .strip_prefix("tcp://")
                .or_else(|| address.strip_prefix("http://"))
                .map(|r| r.trim_end_matches('/'))
                .filter(|r| {
                    r.rsplit_once(':')
                        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
                });
            match rest {
                Some(host_port) => Address::Tcp(host_port.to_owned()),
                None => return Err(EngineError::Address(address.to_owned())),
            }
        };
        if matches!(&parsed, Address::Unix(path) if !path.is_absolute()) {
            return Err(EngineError::Address(address.to_owned()));
        }
        Ok(Engine {
            address: Arc::new(parsed),
        })
    }

    /// Whether it answers at all.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.get_bytes("/_ping", ANSWER_TIMEOUT).await.map(|_| ())
    }

    /// Versions of engine and API.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn version(&self) -> Result<Version, EngineError> {
        self.get_json("/version").await
    }

    /// Containers: the running ones, or with `all` every one that exists.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn list(&self, all: bool) -> Result<Vec<ContainerSummary>, EngineError> {
        let path = if all {
            "/containers/json?all=1"
        } else {
            "/containers/json"
        };
        self.get_json(path).await
    }

    /// Running containers that fit the filters, which are the API's: a name, and values one of which
    /// must fit.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn list_where(
        &self,
        filters: &std::collections::BTreeMap<&str, Vec<&str>>,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        if filters.is_empty() {
            return self.list(false).await;
        }
        let filters = serde_json::to_string(filters).unwrap_or_default();
        self.get_json(&format!("/containers/json?filters={}", escape(&filters)))
            .await
    }

    /// All networks.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        self.get_json("/networks").await
    }

    /// All containers with the bytes in their own layers, which the engine counts file by file:
    /// it may take long, and costs it.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn sizes(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let path = "/containers/json?all=1&size=1";
        let body = self.get_bytes(path, SIZES_TIMEOUT).await?;
        decode(path, &body)
    }

    /// An image, by id or name.
    ///
    /// # Errors
    /// When the engine does not answer as expected; there is none.
    pub async fn image(&self, id: &str) -> Result<ImageDetail, EngineError> {
        self.get_json(&format!("/images/{}/json", escape(id))).await
    }

    /// About the engine itself.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn info(&self) -> Result<Info, EngineError> {
        self.get_json("/info").await
    }

    /// One container, by id or name; `None` when there is none (any more).
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerDetail>, EngineError> {
        match self
            .get_json(&format!("/containers/{}/json", escape(id)))
            .await
        {
            Ok(detail) => Ok(Some(detail)),
            Err(e) if e.status() == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What a container uses, read once.
    ///
    /// # Errors
    /// When the engine does not answer as expected; there is none.
    pub async fn stats(&self, id: &str) -> Result<ContainerStats, EngineError> {
        let query = "stream=false&one-shot=true";
        self.get_json(&format!("/containers/{}/stats?{query}", escape(id)))
            .await
    }

    /// What a container was started with, secrets included; `None` when there is none (any more).
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn environment(&self, id: &str) -> Result<Option<Environment>, EngineError> {
        let path = format!("/containers/{}/json", escape(id));
        match self.get_json::<EnvironmentDetail>(&path).await {
            Ok(detail) => Ok(Some(detail.into())),
            Err(e) if e.status() == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What happens from `since_ns` on (nanoseconds since the epoch; `None`: from now), as it happens.
    /// `filters` are the API's: `[("type", &["container"]), ("event", &["die", "start"])]`.
    ///
    /// # Errors
    /// When the engine does not answer as expected.
    pub async fn events(
        &self,
        filters: &[(&str, &[&str])],
        since_ns: Option<i64>,
    ) -> Result<JsonLines<Event>, EngineError> {
        let filters: std::collections::BTreeMap<_, _> = filters.iter().copied().collect();
        let filters = serde_json::to_string(&filters).unwrap_or_default();
        let mut path = format!("/events?filters={}", escape(&filters));
        if let Some(ns) = since_ns {
            path.push_str(&format!("&since={}", nanos_param(ns)));
        }
        Ok(JsonLines {
            stream: self.get_stream(&path).await?,
            buffer: BytesMut::new(),
            items: std::marker::PhantomData,
        })
    }

    /// The body of `GET path` as it comes. The answer's headers are awaited for at most ten
    /// seconds, the body for ever. Dropping the stream closes its connection.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn get_stream(&self, path: &str) -> Result<ByteStream, EngineError> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.open(path))
            .await
            .unwrap_or_else(|_| Err(timeout_error(path)))
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let body = self.get_bytes(path, ANSWER_TIMEOUT).await?;
        decode(path, &body)
    }

    async fn get_bytes(&self, path: &str, limit: Duration) -> Result<BytesMut, EngineError> {
        let whole = async {
            let mut stream = self.open(path).await?;
            stream.read_to_end(ANSWER_BYTES_MAX).await
        };
        tokio::time::timeout(limit, whole)
            .await
            .unwrap_or_else(|_| Err(timeout_error(path)))
    }

    async fn open(&self, path: &str) -> Result<ByteStream, EngineError> {
        let http_error = |source| EngineError::Http {
            path: path.to_owned(),
            source,
        };
        let (response, connection) = match &*self.address {
            Address::Unix(socket) => {
                let io = UnixStream::connect(socket)
                    .await
                    .map_err(|e| connect_error(socket, e))?;
                exchange(TokioIo::new(io), "docker", path).await
            }
            Address::Tcp(host_port) => {
                let io =
                    TcpStream::connect(host_port)
                        .await
                        .map_err(|source| EngineError::Connect {
                            address: host_port.clone(),
                            source,
                        })?;
                exchange(TokioIo::new(io), host_port, path).await
            }
        }
        .map_err(http_error)?;
        let status = response.status();
        let mut stream = ByteStream {
            body: response.into_body(),
            path: path.to_owned(),
            _connection: connection,
        };
        if status == StatusCode::OK {
            return Ok(stream);
        }
        let text = stream
            .read_to_end(ERROR_BYTES_MAX)
            .await
            .unwrap_or_default();
        Err(EngineError::Status {
            path: path.to_owned(),
            status: status.as_u16(),
            message: error_message(&text),
        })
    }
}

/// Ends the connection's task when the answer is no longer wanted.
struct ConnectionGuard(AbortHandle);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn decode<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(body).map_err(|source| EngineError::Decode {
        path: path.to_owned(),
        source,
    })
}

async fn exchange<I>(
    io: I,
    host: &str,
    path: &str,
) -> Result<(Response<Incoming>, ConnectionGuard), hyper::Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let task = tokio::spawn(async move {
        // Errors of the connection also reach whoever reads the body.
        let _ = connection.await;
    });
    let guard = ConnectionGuard(task.abort_handle());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(hyper::header::HOST, host);
    }
    Ok((sender.send_request(request).await?, guard))
}

/// A body on its way.
pub struct ByteStream {
    body: Incoming,
    path: String,
    _connection: ConnectionGuard,
}

impl ByteStream {
    /// The next piece, `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(source)) => {
                    return Err(EngineError::Http {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
    }

    async fn read_to_end(&mut self, limit: usize) -> Result<BytesMut, EngineError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > limit {
                return Err(EngineError::TooLong {
                    path: self.path.clone(),
                    limit,
                });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// A body of one JSON value per line.
pub struct JsonLines<T> {
    stream: ByteStream,
    buffer: BytesMut,
    items: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    /// The next value, `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or a line is too long or not the JSON expected.
    pub async fn next(&mut self) -> Result<Option<T>, EngineError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|source| {
                    EngineError::Decode {
                        path: self.stream.path.clone(),
                        source,
                    }
                });
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(EngineError::TooLong {
                    path: self.stream.path.clone(),
                    limit: LINE_BYTES_MAX,
                });
            }
            match self.stream.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// Nanoseconds since the epoch as the API's `since` and `until` take them: `seconds.nanoseconds`.
#[must_use]
pub fn nanos_param(ns: i64) -> String {
    format!(
        "{}.{:09}",
        ns.div_euclid(1_000_000_000),
        ns.rem_euclid(1_000_000_000)
    )
}

/// Percent-encodes whatever is not unreserved in a URL.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn timeout_error(path: &str) -> EngineError {
    EngineError::Timeout {
        path: path.to_owned(),
    }
}

fn connect_error(socket: &Path, source: io::Error) -> EngineError {
    let address = socket.display().to_string();
    match source.kind() {
        io::ErrorKind::NotFound => EngineError::NoSocket(address),
        io::ErrorKind::PermissionDenied => EngineError::Denied(address),
        _ => EngineError::Connect { address, source },
    }
}

/// Docker wraps its words in `{"message": "…"}`; a proxy may answer in plain text.
fn error_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Wrapped {
        message: String,
    }
    serde_json::from_slice::<Wrapped>(body).map_or_else(
        |_| String::from_utf8_lossy(body).trim().to_owned(),
        |w| w.message,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A socket that answers each connection with the next of `answers`.
    fn serve(answers: &'static [&'static str]) -> (tempfile::TempDir, Engine) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut io, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = io.read(&mut request).await.unwrap();
                io.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let engine = Engine::new(&format!("unix://{}", path.display())).unwrap();
        (dir, engine)
    }

    #[test]
    fn addresses_are_unix_or_tcp() {
        for good in [
            "unix:///run/docker.sock",
            "/run/docker.sock",
            "tcp://proxy:2375",
            "http://proxy:2375/",
        ] {
            assert!(Engine::new(good).is_ok(), "{good} was refused");
        }
        for bad in [
            "",
            "docker.sock",
            "unix://docker.sock",
            "tcp://proxy",
            "https://proxy:1",
        ] {
            assert!(Engine::new(bad).is_err(), "{bad} was accepted");
        }
        for secret in [
            "tcp://u:hunter2@proxy:2375",
            "https://u:hunter2@proxy:1",
            "u:hunter2@x",
        ] {
            let refused = Engine::new(secret).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        assert!(Engine::new("unix:///run/a@b.sock").is_ok());
    }

    #[test]
    fn since_keeps_its_nanoseconds() {
        assert_eq!(
            nanos_param(1_700_000_000_000_000_001),
            "1700000000.000000001"
        );
    }

    #[tokio::test]
    async fn a_missing_socket_is_named_and_says_what_to_do() {
        let engine = Engine::new("unix:///nowhere/docker.sock").unwrap();
        let error = engine.ping().await.unwrap_err().to_string();
        assert!(
            error.starts_with("docker socket /nowhere/docker.sock does not exist: start Docker")
        );
    }

    #[tokio::test]
    async fn the_engines_own_words_are_kept() {
        let (_dir, engine) = serve(&[
            "HTTP/1.1 500 Oops\r\nContent-Length: 19\r\n\r\n{\"message\":\"a b c\"}",
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        ]);
        let error = engine.version().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "docker answered /version with status 500: a b c"
        );
        assert!(engine.inspect("gone").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn events_come_line_by_line_whatever_the_pieces() {
        let (_dir, engine) = serve(&[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"Action\":\"start\"}\n{\r\n13\r\n\"Action\":\"die\"}\n\n\n\n\r\n0\r\n\r\n",
        ]);
        let mut events = engine
            .events(&[("type", &["container"])], Some(1))
            .await
            .unwrap();
        assert_eq!(events.next().await.unwrap().unwrap().action, "start");
        assert_eq!(events.next().await.unwrap().unwrap().action, "die");
        assert!(events.next().await.unwrap().is_none());
    }
}
