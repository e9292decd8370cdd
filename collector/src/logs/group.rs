//! Lines in, entries out: joins the lines of a stack trace, or those between two first lines.
//!
//! An entry is at most as long and as late as its bounds allow; what goes beyond becomes another
//! entry. The store's position moves only past whole entries, so an entry that was not stored when
//! we ended is read again from its first line.

use model::Regex;

use super::assemble::Line;
use super::level;
use super::position::Anchor;
use super::trace::Trace;

/// Lines of an entry. A trace of a deep recursion has more, and nobody reads them.
const LINES_MAX: u32 = 500;
/// Two lines of an entry are written at most this far apart. A restart cuts entries at the same
/// place, whenever it reads them.
const PAUSE_NS_MAX: i64 = 1_000_000_000;

/// What begins an entry.
#[derive(Clone, Debug)]
pub(crate) enum Joining {
    /// Each line.
    Off,
    /// Each line that is not part of the stack trace before it.
    Traces,
    /// Lines that match.
    FirstLine(Box<Regex>),
}

/// One or more lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Of its first line.
    pub(crate) at_ns: i64,
    /// Lines joined by line ends.
    pub(crate) text: Vec<u8>,
    /// Bytes of its lines before any was cut.
    pub(crate) length: usize,
    pub(crate) lines: u32,
    /// Whether a line was cut.
    pub(crate) is_cut: bool,
    /// Whether it is a stack trace.
    pub(crate) is_trace: bool,
    last: Last,
}

/// The last line of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    at_ns: i64,
    /// Where it begins in the text.
    from: usize,
    length: usize,
}

impl Group {
    fn new(line: Line) -> Self {
        Group {
            at_ns: line.at_ns,
            length: line.length,
            lines: 1,
            is_cut: line.is_cut(),
            is_trace: false,
            last: Last {
                at_ns: line.at_ns,
                from: 0,
                length: line.length,
            },
            text: line.text,
        }
    }

    fn push(&mut self, line: &Line) {
        self.text.push(b'\n');
        self.last = Last {
            at_ns: line.at_ns,
            from: self.text.len(),
            length: line.length,
        };
        self.text.extend_from_slice(&line.text);
        self.length += line.length;
        self.lines += 1;
        self.is_cut |= line.is_cut();
    }

    /// Of its last line, with which it is known again.
    pub(crate) fn anchor(&self) -> Anchor {
        Anchor::of_parts(
            self.last.at_ns,
            &self.text[self.last.from..],
            self.last.length,
        )
    }
}

/// Joins the lines of one stream.
#[derive(Debug)]
pub(crate) struct Joiner {
    joining: Joining,
    bytes_max: usize,
    open: Option<(Group, Trace)>,
    /// Whether a line came since the last [`Joiner::age`].
    touched: bool,
}

impl Joiner {
    /// Entries of at most `bytes_max` bytes, unless a single line is longer.
    pub(crate) fn new(joining: Joining, bytes_max: usize) -> Self {
        Joiner {
            joining,
            bytes_max,
            open: None,
            touched: false,
        }
    }

    /// Takes the next line; gives the entry that is whole now.
    pub(crate) fn push(&mut self, line: Line) -> Option<Group> {
        if matches!(self.joining, Joining::Off) {
            return Some(Group::new(line));
        }
        self.touched = true;
        if let Some((group, trace)) = &mut self.open
            && fits(group, &line, self.bytes_max)
            && continues(&self.joining, group, trace, &line)
        {
            group.push(&line);
            return None;
        }
        let trace = Trace::new(&line.text);
        let whole = self.open.replace((Group::new(line), trace));
        whole.map(finished)
    }

    /// When the entry that is not whole yet began.
    pub(crate) fn open_since_ns(&self) -> Option<i64> {
        self.open.as_ref().map(|(group, _)| group.at_ns)
    }

    /// The entry to which no line came since this was last asked.
    pub(crate) fn age(&mut self) -> Option<Group> {
        if std::mem::take(&mut self.touched) {
            return None;
        }
        self.finish()
    }

    /// The last entry.
    pub(crate) fn finish(&mut self) -> Option<Group> {
        self.open.take().map(finished)
    }

    /// Forgets the entry that is not whole: its lines come again.
    pub(crate) fn forget(&mut self) -> u32 {
        self.open.take().map_or(0, |(group, _)| group.lines)
    }
}

fn finished((mut group, trace): (Group, Trace)) -> Group {
    group.is_trace = trace.is_trace();
    group
}

fn fits(group: &Group, line: &Line, bytes_max: usize) -> bool {
    let pause = line.at_ns.saturating_sub(group.last.at_ns);
    group.lines < LINES_MAX
        && group.text.len() + 1 + line.text.len() <= bytes_max
        && (0..=PAUSE_NS_MAX).contains(&pause)
}

fn continues(joining: &Joining, group: &Group, trace: &mut Trace, line: &Line) -> bool {
    match joining {
        Joining::Off => false,
        Joining::FirstLine(first) => {
            str::from_utf8(&line.text).is_ok_and(|text| !first.is_match(text))
        }
        Joining::Traces => {
            let is_error = || {
                let head = &group.text[..group.text.len().min(level::REACH)];
                level::is_error(level::of(&String::from_utf8_lossy(head)))
            };
            // Asked only where it matters: it reads the line.
            let may_matter = line.text.first().is_some_and(u8::is_ascii_alphabetic);
            let pause = line.at_ns.saturating_sub(group.last.at_ns);
            trace.continues(&line.text, pause, may_matter && is_error())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ns: i64, text: &str) -> Line {
        Line {
            at_ns,
            text: text.into(),
            length: text.len(),
        }
    }

    /// Each line a nanosecond after the one before; `|` between entries, `/` within.
    fn check(joiner: &mut Joiner, lines: &[&str], expect: &str) {
        let mut groups = Vec::new();
        for (at, text) in lines.iter().enumerate() {
            groups.extend(joiner.push(line(at as i64, text)));
        }
        groups.extend(joiner.finish());
        let total: u32 = groups.iter().map(|g| g.lines).sum();
        assert_eq!(total as usize, lines.len());
        let text = |g: &Group| String::from_utf8_lossy(&g.text).replace('\n', "/");
        let groups: Vec<_> = groups.iter().map(text).collect();
        assert_eq!(groups.join("|"), expect);
    }

    #[test]
    fn what_begins_an_entry() {
        let lines = ["a", "\tat f(x)", "b"];
        check(&mut Joiner::new(Joining::Off, 99), &lines, "a|\tat f(x)|b");
        check(
            &mut Joiner::new(Joining::Traces, 99),
            &lines,
            "a/\tat f(x)|b",
        );
        let first = Joining::FirstLine(Box::new(Regex::unanchored("^b").unwrap()));
        check(&mut Joiner::new(first, 99), &lines, "a/\tat f(x)|b");
    }

    #[test]
    fn an_exception_belongs_to_the_error_that_was_logged_just_before() {
        let trace = ["java.lang.Error: x", "\tat f(x)"];
        let lines = [&["10:00 ERROR no"][..], &trace].concat();
        check(
            &mut Joiner::new(Joining::Traces, 99),
            &lines,
            "10:00 ERROR no/java.lang.Error: x/\tat f(x)",
        );
        let lines = [&["10:00 INFO yes"][..], &trace].concat();
        check(
            &mut Joiner::new(Joining::Traces, 99),
            &lines,
            "10:00 INFO yes|java.lang.Error: x/\tat f(x)",
        );
    }

    #[test]
    fn an_entry_is_bounded_in_bytes_lines_and_time() {
        let frames = ["a", "\tat f(x)", "\tat f(y)", "\tat f(z)"];
        check(
            &mut Joiner::new(Joining::Traces, 20),
            &frames,
            "a/\tat f(x)/\tat f(y)|\tat f(z)",
        );
        let mut joiner = Joiner::new(Joining::Traces, usize::MAX);
        assert_eq!(joiner.push(line(0, "a")), None);
        let late = joiner.push(line(PAUSE_NS_MAX + 1, "\tat f(x)")).unwrap();
        assert_eq!(late.lines, 1);
        for at in 1..i64::from(LINES_MAX) {
            let next = line(PAUSE_NS_MAX + 1 + at, "\tat f(x)");
            assert_eq!(joiner.push(next), None);
        }
        let full = joiner.push(line(PAUSE_NS_MAX * 2, "\tat f(x)")).unwrap();
        assert_eq!(full.lines, LINES_MAX);
    }

    #[test]
    fn an_entry_waits_for_its_next_line_only_so_long() {
        let mut joiner = Joiner::new(Joining::Traces, 99);
        assert_eq!(joiner.push(line(1, "a")), None);
        assert_eq!(joiner.age(), None);
        assert_eq!(joiner.open_since_ns(), Some(1));
        let whole = joiner.age().unwrap();
        assert_eq!((whole.lines, joiner.age()), (1, None));
    }

    #[test]
    fn the_anchor_is_the_last_line() {
        let mut joiner = Joiner::new(Joining::Traces, 99);
        joiner.push(line(1, "a"));
        joiner.push(line(2, "\tat f(x)"));
        let group = joiner.finish().unwrap();
        assert_eq!(group.anchor(), Anchor::of(&line(2, "\tat f(x)")));
        assert!(group.is_trace);
    }
}
