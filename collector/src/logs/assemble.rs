//! Chunks in, lines out, for one stream of a container.
//!
//! The engine cuts lines into chunks of 16 KiB and says so nowhere; but all chunks of a line
//! carry the timestamp of its first, and only the last ends in a line end. So a line is
//! whole at its line end, and also when the next chunk has another timestamp: engines up to
//! 20.10 lose the line end of a cut line with the `local` driver, and the last words of a
//! program may have none.

use super::stamp;

/// A line as the container wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When the engine received it, nanoseconds since the epoch.
    pub(crate) at_ns: i64,
    /// Without its line end, at most as long as the assembler allows.
    pub(crate) text: Vec<u8>,
    /// Length before it was cut.
    pub(crate) length: usize,
}

impl Line {
    /// Whether there was more than `text`.
    pub(crate) fn is_cut(&self) -> bool {
        self.text.len() < self.length
    }
}

/// Joins chunks.
#[derive(Debug)]
pub(crate) struct Assembler {
    line_bytes_max: usize,
    open: Option<Line>,
}

impl Assembler {
    /// Of a line, `line_bytes_max` bytes are kept.
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Assembler {
            line_bytes_max,
            open: None,
        }
    }

    /// Takes a chunk and hands on the lines it completes: the one before, its own, or both.
    /// `fallback_ns` dates a chunk without a timestamp.
    pub(crate) fn push(&mut self, chunk: &[u8], fallback_ns: i64, line: impl FnMut(Line)) {
        let (at_ns, text) = stamp::split(chunk).unwrap_or((fallback_ns, chunk));
        self.push_text(at_ns, text, line);
    }

    /// As [`Assembler::push`], of a chunk whose timestamp is known.
    pub(crate) fn push_text(&mut self, at_ns: i64, text: &[u8], mut line: impl FnMut(Line)) {
        if self.open.as_ref().is_some_and(|open| open.at_ns != at_ns) {
            self.finish().into_iter().for_each(&mut line);
        }
        let max = self.line_bytes_max;
        let open = self.open.get_or_insert_with(|| Line {
            at_ns,
            text: Vec::new(),
            length: 0,
        });
        let (text, ended) = match text {
            [text @ .., b'\n'] => (text, true),
            _ => (text, false),
        };
        let room = max.saturating_sub(open.text.len()).min(text.len());
        if open.text.is_empty() {
            // Most lines are one chunk.
            open.text.reserve_exact(room);
        }
        open.text.extend_from_slice(&text[..room]);
        open.length += text.len();
        if ended {
            self.finish().into_iter().for_each(line);
        }
    }

    /// When the line that is not whole yet began.
    pub(crate) fn open_since_ns(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.at_ns)
    }

    /// The last line, when nothing more can come.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        let mut line = self.open.take()?;
        // A terminal ends its lines with both.
        if !line.is_cut() && line.text.last() == Some(&b'\r') {
            line.text.pop();
            line.length -= 1;
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks as (timestamp, text), lines likewise.
    fn check(chunks: &[(u8, &str)], expect: &[(i64, &str)]) {
        let mut assembler = Assembler::new(8);
        let mut lines = Vec::new();
        for (at, text) in chunks {
            let chunk = format!("1970-01-01T00:00:00.00000000{at}Z {text}");
            assembler.push(chunk.as_bytes(), 0, |line| lines.push(line));
        }
        lines.extend(assembler.finish());
        let lines: Vec<_> = lines
            .iter()
            .map(|l| (l.at_ns, str::from_utf8(&l.text).unwrap()))
            .collect();
        assert_eq!(lines, expect, "{chunks:?}");
    }

    #[test]
    fn chunks_join_until_the_line_ends() {
        check(&[(1, "a\n"), (1, "b\n")], &[(1, "a"), (1, "b")]);
        check(
            &[(1, "ab"), (1, "cd"), (1, "\n"), (2, "e\n")],
            &[(1, "abcd"), (2, "e")],
        );
        check(&[(1, "\n"), (2, "\n")], &[(1, ""), (2, "")]);
        check(&[(1, "a\r\n")], &[(1, "a")]);
    }

    #[test]
    fn another_timestamp_ends_a_line_too() {
        check(&[(1, "ab"), (2, "c\n")], &[(1, "ab"), (2, "c")]);
        check(
            &[(1, "ab"), (2, "c"), (3, "d")],
            &[(1, "ab"), (2, "c"), (3, "d")],
        );
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut assembler = Assembler::new(4);
        let mut lines = Vec::new();
        assembler.push(b"abc", 7, |line| lines.push(line));
        assert_eq!(assembler.open_since_ns(), Some(7));
        assembler.push(b"def\n", 7, |line| lines.push(line));
        assert_eq!(
            (lines[0].text.as_slice(), lines[0].length),
            (&b"abcd"[..], 6)
        );
        assert!(lines[0].is_cut());
        assert_eq!(assembler.open_since_ns(), None);
    }
}
