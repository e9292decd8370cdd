//! After a reconnect the engine sends again what was already handed on; this drops it.
//!
//! A reader asks for lines from a little before its anchor, then skips until it sees the
//! anchor itself, by timestamp and content, and takes everything after it. Within a stream
//! the file's order is stable, so neither set-back clocks nor the skew between the streams
//! nor the two meanings of `since` (see [`super::container`]) can lose or repeat a line.
//! Nothing is ever dropped for being out of order.

use super::assemble::Line;
use super::position::Anchor;

/// How much is held back while the anchor is looked for among lines that are newer than it.
/// More than follows a set-back clock in practice; beyond, we rather repeat than lose.
const HELD_BYTES_MAX: usize = 1 << 20;
/// The same in lines, which may be empty.
const HELD_LINES_MAX: usize = 8192;

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new: hand it on.
    New(Line),
    /// It was handed on before.
    Known,
    /// Not clear yet; [`Replay::settle`] within a second or so.
    Held,
    /// The anchor is gone, with an unknown number of lines after it; these are new.
    Gap(Vec<Line>),
}

/// Where in the replay a stream is.
#[derive(Debug)]
pub(crate) enum Replay {
    /// Everything is new.
    Done,
    /// The anchor was not seen yet.
    Seeking {
        anchor: Anchor,
        /// Lines that are new unless the anchor follows them.
        held: Vec<Line>,
        held_bytes: usize,
    },
    /// The anchor is known to come; everything up to it is known.
    Expecting(Anchor),
    /// The anchor is known not to come: what is newer than this is new.
    Newer {
        than_ns: i64,
        /// Whether some before it is lost.
        is_gap: bool,
    },
}

impl Replay {
    /// `anchor`: the last line handed on, when it is among the lines asked for.
    pub(crate) fn new(anchor: Option<Anchor>) -> Self {
        anchor.map_or(Replay::Done, |anchor| Replay::Seeking {
            anchor,
            held: Vec::new(),
            held_bytes: 0,
        })
    }

    /// Judges the next line of the stream. With [`Verdict::Known`] everything held back was
    /// known too and is gone; `known` is told how many lines that makes.
    pub(crate) fn judge(&mut self, line: Line, mut known: impl FnMut(usize)) -> Verdict {
        let (anchor, held, held_bytes) = match self {
            Replay::Done => return Verdict::New(line),
            Replay::Expecting(anchor) => {
                known(1);
                if anchor.is(&line) {
                    *self = Replay::Done;
                }
                return Verdict::Known;
            }
            Replay::Newer { than_ns, .. } if line.at_ns <= *than_ns => {
                known(1);
                return Verdict::Known;
            }
            Replay::Newer { is_gap, .. } => {
                let is_gap = *is_gap;
                *self = Replay::Done;
                return match is_gap {
                    true => Verdict::Gap(vec![line]),
                    false => Verdict::New(line),
                };
            }
            Replay::Seeking {
                anchor,
                held,
                held_bytes,
            } => (anchor, held, held_bytes),
        };
        if anchor.is(&line) {
            known(held.len() + 1);
            *self = Replay::Done;
            return Verdict::Known;
        }
        // Before the anchor, as far as one can tell by time: the usual case.
        if line.at_ns < anchor.at_ns && held.is_empty() {
            known(1);
            return Verdict::Known;
        }
        *held_bytes += line.text.len();
        held.push(line);
        if *held_bytes > HELD_BYTES_MAX || held.len() >= HELD_LINES_MAX {
            return self.settle().map_or(Verdict::Held, Verdict::Gap);
        }
        Verdict::Held
    }

    /// Whether lines are held back.
    pub(crate) fn is_holding(&self) -> bool {
        matches!(self, Replay::Seeking { held, .. } if !held.is_empty())
    }

    /// The anchor did not come: the lines held back are new and some before them are lost.
    /// `None` when none are held.
    pub(crate) fn settle(&mut self) -> Option<Vec<Line>> {
        if !self.is_holding() {
            return None;
        }
        match std::mem::replace(self, Replay::Done) {
            Replay::Seeking { held, .. } => Some(held),
            Replay::Done | Replay::Expecting(_) | Replay::Newer { .. } => None,
        }
    }

    /// When the first line held back was written.
    pub(crate) fn held_since_ns(&self) -> Option<i64> {
        match self {
            Replay::Seeking { held, .. } => held.first().map(|line| line.at_ns),
            _ => None,
        }
    }

    /// How many lines are held back.
    pub(crate) fn held_lines(&self) -> usize {
        match self {
            Replay::Seeking { held, .. } => held.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are written `time:text`; the anchor is one of them or another.
    fn line(text: &str) -> Line {
        let (at, text) = text.split_once(':').unwrap();
        Line {
            at_ns: at.parse().unwrap(),
            text: text.into(),
            length: text.len(),
        }
    }

    /// What is handed on of `lines`, `!` where a gap is suspected.
    fn check(anchor: &str, lines: &str, expect: &str) {
        let anchor = (!anchor.is_empty()).then(|| Anchor::of(&line(anchor)));
        let mut replay = Replay::new(anchor);
        let mut out = Vec::new();
        let name = |line: &Line| format!("{}:{}", line.at_ns, String::from_utf8_lossy(&line.text));
        let (mut known, mut total) = (0, 0);
        for text in lines.split_whitespace() {
            total += 1;
            match replay.judge(line(text), |n| known += n) {
                Verdict::New(line) => out.push(name(&line)),
                Verdict::Known | Verdict::Held => {}
                Verdict::Gap(_) => panic!("too many held"),
            }
        }
        if let Some(lines) = replay.settle() {
            out.push("!".to_owned());
            out.extend(lines.iter().map(name));
        }
        let new = out.iter().filter(|text| *text != "!").count();
        assert_eq!(out.join(" "), expect, "{anchor:?} {lines}");
        assert_eq!(known + new, total, "each line is new or known");
    }

    #[test]
    fn without_an_anchor_everything_is_new() {
        check("", "1:a 2:b", "1:a 2:b");
    }

    #[test]
    fn lines_up_to_the_anchor_are_known() {
        check("2:b", "1:a 2:b 3:c", "3:c");
        check("2:b", "2:a 2:b 2:c", "2:c");
        check("2:b", "1:a 2:b", "");
        check("2:b", "1:a", "");
    }

    #[test]
    fn a_clock_that_was_set_back_loses_and_repeats_nothing() {
        check("1:c", "5:a 6:b 1:c 2:d 7:e", "2:d 7:e");
        check("6:b", "5:a 6:b 1:c 2:d 7:e", "1:c 2:d 7:e");
        check("7:e", "5:a 6:b 1:c 2:d 7:e", "");
    }

    #[test]
    fn a_missing_anchor_is_a_gap() {
        check("2:b", "3:c 4:d", "! 3:c 4:d");
        check("2:b", "1:a 3:c", "! 3:c");
        check("2:b", "2:x 3:c", "! 2:x 3:c");
    }

    #[test]
    fn what_a_search_of_the_file_found_decides() {
        let anchor = Anchor::of(&line("2:b"));
        let mut replay = Replay::Expecting(anchor);
        for text in ["9:z", "1:a", "2:b"] {
            assert_eq!(replay.judge(line(text), |_| ()), Verdict::Known);
        }
        assert_eq!(replay.judge(line("1:c"), |_| ()), Verdict::New(line("1:c")));
        let mut replay = Replay::Newer {
            than_ns: anchor.at_ns,
            is_gap: true,
        };
        assert_eq!(replay.judge(line("2:x"), |_| ()), Verdict::Known);
        let expect = Verdict::Gap(vec![line("3:c")]);
        assert_eq!(replay.judge(line("3:c"), |_| ()), expect);
        assert_eq!(replay.judge(line("1:c"), |_| ()), Verdict::New(line("1:c")));
    }

    #[test]
    fn holding_back_is_bounded() {
        let mut replay = Replay::new(Some(Anchor::of(&line("1:a"))));
        for _ in 1..HELD_LINES_MAX {
            assert_eq!(replay.judge(line("2:b"), |_| ()), Verdict::Held);
        }
        let Verdict::Gap(lines) = replay.judge(line("3:c"), |_| ()) else {
            panic!("still holding");
        };
        assert_eq!(lines.len(), HELD_LINES_MAX);
        assert_eq!(replay.judge(line("4:d"), |_| ()), Verdict::New(line("4:d")));
    }
}
