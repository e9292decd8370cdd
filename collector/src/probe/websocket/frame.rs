//! Frames of RFC 6455 as a client sends and reads them: text, ping, close; the rest is passed over.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::probe::Failure;

/// Longest message read, bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Frames of one probe, so that a server that chatters without end is not listened to.
const FRAMES_MAX: usize = 10_000;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Messages over an upgraded connection.
pub(super) struct Messages<S> {
    stream: S,
    frames: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    pub(super) fn new(stream: S) -> Messages<S> {
        Messages { stream, frames: 0 }
    }

    /// Sends a text message.
    pub(super) async fn send(&mut self, text: &str) -> Result<(), Failure> {
        self.write(TEXT, text.as_bytes()).await
    }

    /// The next message, text or not.
    pub(super) async fn next(&mut self) -> Result<String, Failure> {
        let mut message = Vec::new();
        loop {
            let (last, opcode, payload) = self.read(MESSAGE_BYTES_MAX - message.len()).await?;
            match opcode {
                PING => self.write(PONG, &payload).await?,
                CLOSE => {
                    return Err(Failure::Unwanted(match payload[..] {
                        [a, b, ..] => {
                            format!("the server closed with code {}", u16::from_be_bytes([a, b]))
                        }
                        _ => "the server closed".to_owned(),
                    }));
                }
                TEXT | BINARY | CONTINUATION => {
                    message.extend_from_slice(&payload);
                    if last {
                        return Ok(String::from_utf8_lossy(&message).into_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// Says good-bye; the answer is not waited for.
    pub(super) async fn close(mut self) {
        const NORMAL: u16 = 1000;
        // Whether it arrives makes no difference any more.
        let _ = self.write(CLOSE, &NORMAL.to_be_bytes()).await;
    }

    async fn read(&mut self, bytes_max: usize) -> Result<(bool, u8, Vec<u8>), Failure> {
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            let why = format!("more than {FRAMES_MAX} frames");
            return Err(Failure::Protocol(why));
        }
        let failed = || Failure::io("reading a frame");
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.map_err(failed())?;
        if head[1] & 0x80 != 0 {
            return Err(Failure::Protocol("a server must not mask".to_owned()));
        }
        let length = match head[1] {
            126 => u64::from(self.stream.read_u16().await.map_err(failed())?),
            127 => self.stream.read_u64().await.map_err(failed())?,
            short => u64::from(short),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > bytes_max {
            let why = format!("a message is longer than {MESSAGE_BYTES_MAX} bytes");
            return Err(Failure::Protocol(why));
        }
        let mut payload = vec![0; length];
        let read = self.stream.read_exact(&mut payload).await;
        read.map_err(failed())?;
        Ok((head[0] & 0x80 != 0, head[0] & 0x0f, payload))
    }

    async fn write(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ ..=125 => frame.push(0x80 | short as u8),
            middle @ ..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mask = (fresh() as u32).to_be_bytes();
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        let failed = || Failure::io("writing a frame");
        self.stream.write_all(&frame).await.map_err(failed())?;
        self.stream.flush().await.map_err(failed())
    }
}

/// A number nobody had before: masks and keys keep caches from mistaking us, not secrets.
pub(super) fn fresh() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn conversation(
        bytes: &[u8],
    ) -> (Messages<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(bytes).await.unwrap();
        (Messages::new(ours), theirs)
    }

    #[tokio::test]
    async fn a_message_in_pieces_is_whole_and_a_ping_between_is_answered() {
        let bytes = b"\x01\x03one\x89\x02hi\x80\x04 two\x81\x05three";
        let (mut messages, mut theirs) = conversation(bytes).await;
        assert_eq!(messages.next().await.unwrap(), "one two");
        assert_eq!(messages.next().await.unwrap(), "three");
        let mut pong = [0; 8];
        theirs.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong[..2], [0x8a, 0x82]);
        let text = [pong[6] ^ pong[2], pong[7] ^ pong[3]];
        assert_eq!(&text, b"hi");
    }

    #[tokio::test]
    async fn what_a_server_must_not_do_ends_the_probe() {
        for (bytes, why) in [
            (&b"\x88\x02\x03\xf3"[..], "the server closed with code 1011"),
            (b"\x81\x83abcdefg", "a server must not mask"),
            (
                b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
                "a message is longer than 1048576 bytes",
            ),
        ] {
            let (mut messages, _theirs) = conversation(bytes).await;
            assert_eq!(messages.next().await.unwrap_err().to_string(), why);
        }
    }

    #[tokio::test]
    async fn a_long_message_is_sent_with_its_length() {
        let (mut messages, mut theirs) = conversation(b"").await;
        messages.send(&"x".repeat(300)).await.unwrap();
        let mut frame = [0; 308];
        theirs.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[..4], [0x81, 0xfe, 1, 44]);
        assert!(
            frame[8..]
                .iter()
                .zip(frame[4..8].iter().cycle())
                .all(|(b, m)| b ^ m == b'x')
        );
    }
}
