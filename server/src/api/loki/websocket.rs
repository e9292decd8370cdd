//! WebSocket as a server speaks it to clients that only listen: text out, pings answered, the rest
//! of what they say passed over. Source: RFC 6455.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame of a client: it has nothing to say.
const FRAME_BYTES_MAX: u64 = 4 << 10;
/// How long a client may leave a frame unread.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sends that matters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// To be answered by [`Writer::pong`].
    Ping(Vec<u8>),
    /// It will send no more.
    Close,
}

/// What comes from the client.
pub(crate) struct Reader<R>(R);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R) -> Reader<R> {
        Reader(stream)
    }

    /// The next that matters. Not to be dropped half way.
    ///
    /// # Errors
    /// When the connection breaks or the client sends what it must not.
    pub(crate) async fn next(&mut self) -> io::Result<Said> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).await?;
            if head[1] & 0x80 == 0 {
                return Err(io::Error::other("a client must mask"));
            }
            let length = match head[1] & 0x7f {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                short => u64::from(short),
            };
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other("a frame is too long"));
            }
            let mut mask = [0; 4];
            self.0.read_exact(&mut mask).await?;
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await?;
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            match head[0] & 0x0f {
                CLOSE => return Ok(Said::Close),
                PING => return Ok(Said::Ping(payload)),
                _ => {}
            }
        }
    }
}

/// What goes to the client.
pub(crate) struct Writer<W>(W);

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(stream: W) -> Writer<W> {
        Writer(stream)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection breaks or the client does not read.
    pub(crate) async fn text(&mut self, text: &str) -> io::Result<()> {
        self.frame(TEXT, text.as_bytes()).await
    }

    /// Asks whether the client is still there.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.frame(PING, b"").await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub(crate) async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.frame(PONG, payload).await
    }

    /// Says good-bye, and why.
    ///
    /// # Errors
    /// As [`Writer::text`].
    pub(crate) async fn close(mut self, code: u16, why: &str) -> io::Result<()> {
        let mut payload = code.to_be_bytes().to_vec();
        // A control frame has at most 125 bytes.
        payload.extend(why.bytes().take(123));
        self.frame(CLOSE, &payload).await
    }

    async fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut head = Vec::with_capacity(10);
        head.push(0x80 | opcode);
        match payload.len() {
            short @ ..=125 => head.push(short as u8),
            middle @ ..=0xffff => {
                head.push(126);
                head.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                head.push(127);
                head.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let write = async {
            self.0.write_all(&head).await?;
            self.0.write_all(payload).await?;
            self.0.flush().await
        };
        tokio::time::timeout(WRITE_TIME_MAX, write)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(bytes: &[u8]) -> io::Result<Said> {
        Reader::new(bytes).next().await
    }

    #[tokio::test]
    async fn only_pings_and_good_byes_matter() {
        // A text "hi" masked with zeros, then a masked ping.
        let bytes = b"\x81\x82\0\0\0\0hi\x89\x82\x01\x01\x01\x01``";
        assert_eq!(said(bytes).await.unwrap(), Said::Ping(b"aa".to_vec()));
        assert_eq!(said(b"\x88\x80\0\0\0\0").await.unwrap(), Said::Close);
        for bad in [
            &b"\x81\x02hi"[..],
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
            b"\x81",
            b"",
        ] {
            assert!(said(bad).await.is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn lengths_are_written_as_short_as_can_be() {
        for (length, head) in [
            (125, &b"\x81\x7d"[..]),
            (126, b"\x81\x7e\x00\x7e"),
            (70_000, b"\x81\x7f\0\0\0\0\0\x01\x11\x70"),
        ] {
            let mut out = Vec::new();
            Writer::new(&mut out)
                .text(&"x".repeat(length))
                .await
                .unwrap();
            assert_eq!(&out[..head.len()], head);
            assert_eq!(out.len(), head.len() + length);
        }
        let mut out = Vec::new();
        Writer::new(&mut out).close(1001, "gone").await.unwrap();
        assert_eq!(out, b"\x88\x06\x03\xe9gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let error = Writer::new(ours).text(&"x".repeat(1000)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
