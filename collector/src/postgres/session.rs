//! One connection, and questions over it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleColumn, SimpleQueryMessage};

use super::advice::{self, Trouble};
use super::dsn::{Dsn, SslMode};
use super::password::Surroundings;
use super::table::Table;
use super::tls::Tls;

/// Bytes read over one connection in one collection. A server with 300 databases sends 2 MB; a
/// broken one costs us this much memory for a moment.
const BYTES_MAX: u64 = 64 << 20;
/// How long a connection may take to end before it is cut off.
const GOODBYE: Duration = Duration::from_millis(500);
/// The part of a statement's time it may wait for a lock.
const LOCK_SHARE: u32 = 4;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Read-only, with bounds on time.
    Read { statement_timeout: Duration },
    /// Looking at the server's settings, which those bounds would change.
    Settings,
}

/// A connection; cut off when dropped.
pub(super) struct Session {
    client: Client,
    connection: Connection,
    allowance: Arc<AtomicU64>,
}

/// The task that moves bytes; gives why it ended.
struct Connection(JoinHandle<Option<String>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Connects to a database. Takes as long as the server does: the caller has the clock.
    pub(super) async fn open(
        dsn: &Dsn,
        database: &str,
        purpose: Purpose,
        from: &Surroundings,
    ) -> Result<Session, Trouble> {
        let port = dsn.port().map_err(Trouble::Config)?;
        let address = dsn.address();
        let stream: Box<dyn Stream> = if dsn.is_socket() {
            let path = format!("{address}/.s.PGSQL.{port}");
            let stream = UnixStream::connect(&path).await;
            Box::new(stream.map_err(|e| Trouble::Unreachable(format!("{path}: {e}")))?)
        } else {
            let stream = crate::names::connect(address, port).await;
            let stream =
                stream.map_err(|e| Trouble::Unreachable(format!("{}: {e}", dsn.instance())))?;
            // Questions and answers are small.
            let _ = stream.set_nodelay(true);
            Box::new(stream)
        };
        let allowance = Arc::new(AtomicU64::new(BYTES_MAX));
        let stream = Metered {
            inner: stream,
            left: Arc::clone(&allowance),
        };
        let (password, unusable) = from.password(dsn, database);
        let config = config(dsn, database, purpose, password.as_deref())?;
        let tls = Tls::new(dsn).map_err(Trouble::Config)?;
        let (client, connection) = config.connect_raw(stream, tls).await.map_err(|error| {
            Trouble::connecting(&error, dsn, database, unusable, password.is_some())
        })?;
        let connection =
            tokio::spawn(async move { connection.await.err().map(|e| advice::chain(&e)) });
        Ok(Session {
            client,
            connection: Connection(connection),
            allowance,
        })
    }

    /// Whether the server has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Allows the bytes of one collection.
    pub(super) fn refill(&self) {
        self.allow(BYTES_MAX);
    }

    pub(super) fn allow(&self, bytes: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
    }

    /// Asks one question; keeps at most `rows_max` rows.
    pub(super) async fn ask(&self, query: &str, rows_max: usize) -> Result<Table, Trouble> {
        let answer = self.client.simple_query_raw(query).await;
        let mut answer = pin!(answer.map_err(|e| Trouble::asking(&e))?);
        let mut table = None;
        while let Some(message) = answer.next().await {
            match (message.map_err(|e| Trouble::asking(&e))?, &mut table) {
                (SimpleQueryMessage::RowDescription(columns), None) => {
                    table = Some(Table::new(columns.iter().map(SimpleColumn::name)));
                }
                (SimpleQueryMessage::RowDescription(_), Some(_)) => {
                    return Err(Trouble::Answer("more than one SELECT".to_owned()));
                }
                (SimpleQueryMessage::Row(row), Some(table)) => {
                    if table.len() >= rows_max {
                        table.cut = true;
                        // What still comes is read and dropped before the next answer.
                        break;
                    }
                    for column in 0..row.len() {
                        table.push(row.try_get(column).map_err(|e| Trouble::asking(&e))?);
                    }
                }
                _ => {}
            }
        }
        let mut table = table.ok_or_else(|| Trouble::Answer("no rows".to_owned()))?;
        table.shrink();
        Ok(table)
    }

    /// Ends the connection in good order; gives why it had ended already, if it had.
    pub(super) async fn close(self) -> Option<String> {
        let Session {
            client,
            mut connection,
            ..
        } = self;
        drop(client);
        let ended = tokio::time::timeout(GOODBYE, &mut connection.0).await;
        ended.ok()?.ok()?
    }
}

fn config(
    dsn: &Dsn,
    database: &str,
    purpose: Purpose,
    password: Option<&str>,
) -> Result<tokio_postgres::Config, Trouble> {
    let mut config = tokio_postgres::Config::new();
    let user = dsn.user().ok_or_else(|| {
        Trouble::Config("the connection string names no user: add user=stackwatch".to_owned())
    })?;
    config
        .user(user)
        .dbname(database)
        .application_name("stackwatch")
        .ssl_mode(match dsn.ssl_mode().map_err(Trouble::Config)? {
            _ if dsn.is_socket() => tokio_postgres::config::SslMode::Disable,
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
    if let Some(password) = password {
        config.password(password);
    }
    let ours = match purpose {
        Purpose::Settings => String::new(),
        // In the first message, so that a pooler refuses them instead of handing them to the next
        // client, as it would a SET.
        Purpose::Read { statement_timeout } => format!(
            "-c default_transaction_read_only=on -c statement_timeout={} -c lock_timeout={} \
             -c datestyle=ISO",
            statement_timeout.as_millis().max(1),
            (statement_timeout / LOCK_SHARE).as_millis().max(1)
        ),
    };
    let options = [dsn.options().unwrap_or(""), &ours].join(" ");
    if !options.trim().is_empty() {
        config.options(options.trim());
    }
    Ok(config)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Fails a server that sends without end: the protocol lets one message be a gigabyte.
struct Metered {
    inner: Box<dyn Stream>,
    left: Arc<AtomicU64>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.inner).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        let left = self.left.load(Ordering::Relaxed);
        if read > left {
            return Poll::Ready(Err(io::Error::other(format!(
                "more bytes in one collection than the {BYTES_MAX} allowed"
            ))));
        }
        self.left.store(left - read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }
}
