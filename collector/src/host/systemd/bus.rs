//! A conversation over D-Bus: authentication, then calls in batches.
//!
//! Our own and not a crate's: calls with strings are all that is needed, and of the crates that do more
//! rustbus blocks a thread and zbus brings a whole object server.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::message::{Call, HEAD_BYTES, MESSAGE_BYTES_MAX, Message, length, malformed};

/// Calls under way at once. dbus-daemon refuses more than 128 of one connection.
const CALLS_AT_ONCE: usize = 64;
/// Bytes of the answers to calls that are under way at once.
const ANSWER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// A longer line while authenticating is no answer.
const LINE_BYTES_MAX: usize = 512;

const HELLO: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    arguments: &[],
};

/// Who is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A message bus, which wants to be greeted.
    Bus,
    /// A program itself.
    Program,
}

/// A connection that may be asked.
pub(super) struct Bus<S> {
    stream: BufReader<S>,
    /// Of the last call.
    serial: u32,
}

impl Bus<UnixStream> {
    /// Connects and authenticates as whoever we are.
    ///
    /// # Errors
    /// Of the socket, or when the peer does not want us.
    pub(super) async fn connect(socket: &Path, peer: Peer) -> io::Result<Self> {
        Bus::open(UnixStream::connect(socket).await?, peer).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bus<S> {
    /// As [`Bus::connect`], over a stream there is.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn open(stream: S, peer: Peer) -> io::Result<Bus<S>> {
        let mut bus = Bus {
            stream: BufReader::new(stream),
            serial: 0,
        };
        // Without a user: the peer asks the kernel who we are, also across user namespaces.
        bus.stream.write_all(b"\0AUTH EXTERNAL\r\n").await?;
        let mut answer = bus.line().await?;
        if answer.starts_with(b"DATA") {
            bus.stream.write_all(b"DATA\r\n").await?;
            answer = bus.line().await?;
        }
        if !answer.starts_with(b"OK") {
            let text = "D-Bus: the peer does not let us in";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        bus.stream.write_all(b"BEGIN\r\n").await?;
        if peer == Peer::Bus {
            let answers = bus.ask(&[HELLO]).await?;
            if let Some(error) = answers.first().and_then(|a| a.error.as_deref()) {
                return Err(io::Error::other(format!("D-Bus: {error}")));
            }
        }
        Ok(bus)
    }

    /// The answers in the order of the calls, errors among them.
    ///
    /// # Errors
    /// When the connection is of no use any more.
    pub(super) async fn ask(&mut self, calls: &[Call<'_>]) -> io::Result<Vec<Message>> {
        let mut answers = Vec::with_capacity(calls.len());
        for calls in calls.chunks(CALLS_AT_ONCE) {
            let first = self.serial.wrapping_add(1).max(1);
            let mut bytes = Vec::new();
            for call in calls {
                self.serial = self.serial.wrapping_add(1).max(1);
                call.write(self.serial, &mut bytes);
            }
            // Fits the socket's buffer, so the peer need not read before it answers.
            self.stream.write_all(&bytes).await?;
            let mut came = self.answers(first, calls.len()).await?;
            for at in 0..calls.len() {
                answers.extend(came.remove(&at));
            }
        }
        Ok(answers)
    }

    /// The answers to `count` calls by their place; what else comes is left out.
    async fn answers(&mut self, first: u32, count: usize) -> io::Result<HashMap<usize, Message>> {
        let mut came = HashMap::with_capacity(count);
        let mut left = ANSWER_BYTES_MAX;
        while came.len() < count {
            let mut head = [0; HEAD_BYTES];
            self.stream.read_exact(&mut head).await?;
            let length = length(&head)?;
            let mut bytes = head.to_vec();
            // Only as much as has come is held, whatever length the head claims.
            let rest = (length - HEAD_BYTES) as u64;
            (&mut self.stream)
                .take(rest)
                .read_to_end(&mut bytes)
                .await?;
            if bytes.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let message = Message::parse(bytes)?;
            let Some(serial) = message.answers else {
                continue;
            };
            let at = serial.wrapping_sub(first) as usize;
            if at >= count {
                continue;
            }
            left = left
                .checked_sub(length)
                .ok_or_else(|| malformed("answers of more than 8 MiB"))?;
            came.insert(at, message);
        }
        Ok(came)
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.stream.read_u8().await? {
                b'\n' => return Ok(line),
                _ if line.len() >= LINE_BYTES_MAX => return Err(malformed("a long line")),
                byte => line.push(byte),
            }
        }
    }
}
