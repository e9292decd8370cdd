//! Bytes of a log stream in, chunks out: the framing of containers without a terminal and the
//! bare text of those with one. Pure; bytes may be cut anywhere.

use bytes::{Buf, Bytes, BytesMut};

/// Of a timestamp as the engine writes it, with the blank behind it.
pub(crate) const STAMP_BYTES: usize = 31;

/// How much of a line the engine passes on at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A frame holds a chunk, its timestamp and, with odd drivers, a little more. A larger length
/// means that we read text as a header.
const FRAME_BYTES_MAX: usize = 1 << 20;

const HEADER_BYTES: usize = 8;

/// Which output of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The value of the `stream` label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A piece of a line, with its timestamp before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) stream: Stream,
    pub(crate) bytes: Bytes,
}

/// Why a stream cannot be read on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// What stands where a header should be is none.
    #[error("the engine's log stream is not framed as announced")]
    NotFramed,
    /// A line is older than the one before.
    #[error("the engine sends lines again")]
    Repeats,
    /// The engine says within the stream why it ends.
    #[error("the engine cannot read the log: {0}")]
    Engine(String),
}

/// Cuts a log stream into chunks.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// Unknown before the first byte.
    terminal: Option<bool>,
}

impl Decoder {
    /// A decoder for a stream asked for with timestamps.
    ///
    /// Containers with a terminal are not framed. With timestamps the first byte tells them
    /// apart for certain: it is a digit of a year there, and at most 3 in a header.
    pub(crate) fn new() -> Self {
        Decoder {
            buffer: BytesMut::new(),
            terminal: None,
        }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole chunk.
    ///
    /// # Errors
    /// When the stream cannot be read on; the decoder is of no use afterwards.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, FrameError> {
        let Some(first) = self.buffer.first() else {
            return Ok(None);
        };
        if *self.terminal.get_or_insert(first.is_ascii_digit()) {
            return Ok(self.next_of_terminal());
        }
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [kind, 0, 0, 0, length @ ..] = *header else {
            return Err(FrameError::NotFramed);
        };
        let length = u32::from_be_bytes(length) as usize;
        if kind > 3 || length > FRAME_BYTES_MAX {
            return Err(FrameError::NotFramed);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let bytes = self.buffer.split_to(length).freeze();
        let stream = match kind {
            2 => Stream::Stderr,
            3 => {
                return Err(FrameError::Engine(
                    String::from_utf8_lossy(&bytes).trim().to_owned(),
                ));
            }
            // 0 is the standard input, which an attached client may have echoed.
            _ => Stream::Stdout,
        };
        Ok(Some(Chunk { stream, bytes }))
    }

    /// What is left at the end of the stream: text of a terminal without a line end.
    pub(crate) fn finish(&mut self) -> Option<Chunk> {
        (self.terminal == Some(true) && !self.buffer.is_empty()).then(|| Chunk {
            stream: Stream::Stdout,
            bytes: self.buffer.split().freeze(),
        })
    }

    /// Chunks of a terminal end at a line end, or where one at least as long as the engine makes
    /// them is followed by the same timestamp again. It may be longer: what is not UTF-8 grows
    /// when the engine replaces it.
    fn next_of_terminal(&mut self) -> Option<Chunk> {
        const WHOLE: usize = STAMP_BYTES + CHUNK_BYTES;
        let line_end = memchr(b'\n', &self.buffer).map(|at| at + 1);
        let within = line_end.unwrap_or(self.buffer.len());
        let again = self.buffer.get(WHOLE..within).and_then(|rest| {
            let stamp = &self.buffer[..STAMP_BYTES];
            rest.windows(STAMP_BYTES).position(|bytes| bytes == stamp)
        });
        let end = match again {
            Some(at) => WHOLE + at,
            None => line_end.or_else(|| (within > FRAME_BYTES_MAX).then_some(self.buffer.len()))?,
        };
        Some(Chunk {
            stream: Stream::Stdout,
            bytes: self.buffer.split_to(end).freeze(),
        })
    }
}

fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|other| *other == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-11-21T09:17:37.601862670Z ";

    fn framed(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Decodes `bytes` given in two pieces, for each place to cut them.
    fn check(bytes: &[u8], expect: &[(Stream, &str)]) {
        for cut in (0..=bytes.len()).step_by((bytes.len() / 4096).max(1)) {
            let mut decoder = Decoder::new();
            let mut chunks = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(piece);
                while let Some(chunk) = decoder.next().unwrap() {
                    chunks.push(chunk);
                }
            }
            chunks.extend(decoder.finish());
            let chunks: Vec<_> = chunks
                .iter()
                .map(|c| (c.stream, str::from_utf8(&c.bytes).unwrap()))
                .collect();
            assert_eq!(chunks, expect, "cut at {cut}");
        }
    }

    #[test]
    fn frames_wherever_they_are_cut() {
        let bytes = [
            framed(1, "a b\n"),
            framed(2, "e\n"),
            framed(1, ""),
            framed(1, "c"),
        ]
        .concat();
        let expect = [
            (Stream::Stdout, "a b\n"),
            (Stream::Stderr, "e\n"),
            (Stream::Stdout, ""),
            (Stream::Stdout, "c"),
        ];
        check(&bytes, &expect);
    }

    #[test]
    fn the_lines_of_a_terminal_wherever_they_are_cut() {
        let lines = [
            format!("{STAMP}a\r\n"),
            format!("{STAMP}\r\n"),
            format!("{STAMP}no end"),
        ];
        let expect: Vec<_> = lines
            .iter()
            .map(|line| (Stream::Stdout, line.as_str()))
            .collect();
        check(lines.concat().as_bytes(), &expect);
    }

    #[test]
    fn a_long_line_of_a_terminal_is_cut_where_the_engine_cut_it() {
        let first = format!("{STAMP}{}", "x".repeat(CHUNK_BYTES));
        let rest = format!("{STAMP}yy\r\n");
        let expect = [
            (Stream::Stdout, first.as_str()),
            (Stream::Stdout, rest.as_str()),
        ];
        check(format!("{first}{rest}").as_bytes(), &expect);
        // What the engine replaced is longer than what was written.
        let grown = format!(
            "{STAMP}{}{}",
            "\u{fffd}".repeat(9),
            "x".repeat(CHUNK_BYTES - 9)
        );
        let expect = [
            (Stream::Stdout, grown.as_str()),
            (Stream::Stdout, rest.as_str()),
        ];
        check(format!("{grown}{rest}").as_bytes(), &expect);
        // Without a second timestamp it is one line.
        let whole = format!("{first}{}\r\n", "z".repeat(99));
        check(whole.as_bytes(), &[(Stream::Stdout, whole.as_str())]);
        let whole = format!("{first}zz\r\n");
        check(whole.as_bytes(), &[(Stream::Stdout, whole.as_str())]);
    }

    #[test]
    fn text_where_a_header_should_be_is_refused() {
        let mut decoder = Decoder::new();
        decoder.push(b"a: not found");
        assert_eq!(decoder.next(), Err(FrameError::NotFramed));
        let mut decoder = Decoder::new();
        decoder.push(&[1, 0, 0, 0, 255, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(FrameError::NotFramed));
    }

    #[test]
    fn the_engines_own_complaint_is_an_error() {
        let mut decoder = Decoder::new();
        decoder.push(&framed(3, "broken log\n"));
        assert_eq!(
            decoder.next(),
            Err(FrameError::Engine("broken log".to_owned()))
        );
    }
}
