//! Which lines belong to the one before: stack traces of Java (and whatever else indents frames with
//! `at`: Node.js, .NET), Python and Go, and private keys, which only a whole scrubber recognizes.
//!
//! One line of state, no look-ahead: what may belong is decided when it comes.

/// A log record's message and the exception it prints come this soon after each other.
const SAME_RECORD_NS: i64 = 50_000_000;
/// Lines between a place in a program and the error, as Node.js prints them.
const SOURCE_LINES_MAX: u8 = 8;

/// What was seen of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Any text; frames may follow.
    Plain,
    /// Whole in itself.
    Closed,
    /// Frames.
    Frames,
    /// A frame that opened a brace, as Node.js prints an error's properties.
    Braces,
    /// `Traceback (most recent call last):` and what is indented below.
    Python,
    /// The exception itself.
    PythonEnd,
    /// An empty line behind it.
    PythonBlank,
    /// "During handling of the above exception …".
    PythonChain,
    /// `panic:` or `goroutine`.
    Go,
    /// A place in a program, and so many lines since.
    Source(u8),
    /// A private key.
    Key,
}

/// Recognizes the lines of one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    state: State,
}

impl Trace {
    /// Of an entry that begins with this line.
    pub(crate) fn new(line: &[u8]) -> Self {
        let trimmed = line.trim_ascii();
        let state = if trimmed.starts_with(b"{") && trimmed.ends_with(b"}") {
            State::Closed
        } else if line.trim_ascii_end().ends_with(TRACEBACK) {
            State::Python
        } else if begins_go(line) {
            State::Go
        } else if is_key_start(line) {
            State::Key
        } else if is_source(line) {
            State::Source(0)
        } else {
            State::Plain
        };
        Trace { state }
    }

    /// Whether it is a stack trace and no mere line.
    pub(crate) fn is_trace(&self) -> bool {
        !matches!(
            self.state,
            State::Plain | State::Closed | State::Key | State::Source(_)
        )
    }

    /// Whether `line`, `after_ns` after the one before, belongs to the entry, which `is_error` when
    /// it says so itself.
    pub(crate) fn continues(&mut self, line: &[u8], after_ns: i64, is_error: bool) -> bool {
        let next = match self.state {
            State::Closed => None,
            State::Key if contains(line, b"-----END ") => Some(State::Closed),
            State::Key => Some(State::Key),
            State::Plain => {
                let same_record = is_error && after_ns <= SAME_RECORD_NS;
                if is_frame(line) {
                    Some(frames(line))
                } else if same_record && line.starts_with(TRACEBACK) {
                    Some(State::Python)
                } else if same_record && is_exception(line) {
                    Some(State::Plain)
                } else {
                    None
                }
            }
            State::Frames => (is_frame(line) || is_cause(line)).then(|| frames(line)),
            State::Braces if line.starts_with(b"}") => Some(State::Frames),
            State::Braces => is_indented(line).then_some(State::Braces),
            State::Python if is_indented(line) || line.starts_with(TRACEBACK) => {
                Some(State::Python)
            }
            State::Python => (!line.is_empty()).then_some(State::PythonEnd),
            State::PythonEnd => line.is_empty().then_some(State::PythonBlank),
            State::PythonBlank => {
                let chained = line.starts_with(b"During handling of the above exception")
                    || line.starts_with(b"The above exception was the direct cause");
                chained.then_some(State::PythonChain)
            }
            State::PythonChain if line.starts_with(TRACEBACK) => Some(State::Python),
            State::PythonChain => line.is_empty().then_some(State::PythonChain),
            State::Go => continues_go(line).then_some(State::Go),
            State::Source(lines) => after_source(line, lines),
        };
        self.state = next.unwrap_or(self.state);
        next.is_some()
    }
}

const TRACEBACK: &[u8] = b"Traceback (most recent call last):";

fn is_indented(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.len() >= what.len() && line.windows(what.len()).any(|part| part == what)
}

/// `    at f (file:1)`, `\t... 12 more`, `   --- End of inner exception stack trace ---`.
fn is_frame(line: &[u8]) -> bool {
    if !is_indented(line) {
        return false;
    }
    let text = line.trim_ascii_start();
    if let Some(rest) = text.strip_prefix(b"at ") {
        return rest.iter().any(|byte| matches!(byte, b'(' | b':' | b'<'));
    }
    let more = text.starts_with(b"... ")
        && (text.ends_with(b" more") || text.ends_with(b" common frames omitted"));
    more || text.starts_with(b"--- End of ") || text.starts_with(b"---> ") || is_cause(line)
}

/// `Caused by: …` and `Suppressed: …`, indented or not.
fn is_cause(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    text.starts_with(b"Caused by: ") || text.starts_with(b"Suppressed: ")
}

fn frames(line: &[u8]) -> State {
    if line.ends_with(b" {") {
        State::Braces
    } else {
        State::Frames
    }
}

/// `java.lang.IllegalStateException: closed`, `Error: no`.
fn is_exception(line: &[u8]) -> bool {
    let end = line
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let kind = [&b"Exception"[..], b"Error", b"Throwable"];
    kind.iter().any(|kind| name.ends_with(kind)) && matches!(rest.first(), None | Some(b':'))
}

fn begins_go(line: &[u8]) -> bool {
    line.starts_with(b"panic: ")
        || line.starts_with(b"fatal error: ")
        || (line.starts_with(b"goroutine ") && line.ends_with(b"]:"))
}

fn continues_go(line: &[u8]) -> bool {
    // `main.(*server).run(0xc000012345, {0x1, 0x2})`
    let call = || {
        let open = line.iter().position(|byte| *byte == b'(');
        let name = &line[..open.unwrap_or(0)];
        line.ends_with(b")") && name.contains(&b'.') && !name.contains(&b' ')
    };
    line.is_empty()
        || line.starts_with(b"\t")
        || line.starts_with(b"goroutine ")
        || line.starts_with(b"created by ")
        || line.starts_with(b"[signal ")
        || line.starts_with(b"exit status ")
        || line.starts_with(b"runtime stack:")
        || line.starts_with(b"...")
        || is_register(line)
        || call()
}

/// `rax    0x0`
fn is_register(line: &[u8]) -> bool {
    let words = line.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
    let words: Vec<&[u8]> = words.take(3).collect();
    matches!(words.as_slice(), [name, value] if name.len() <= 6 && value.starts_with(b"0x"))
}

/// `/app/index.js:3`
fn is_source(line: &[u8]) -> bool {
    let path = [&b"/"[..], b"file:///", b"node:"];
    if !path.iter().any(|start| line.starts_with(start)) {
        return false;
    }
    let Some(colon) = line.iter().rposition(|byte| *byte == b':') else {
        return false;
    };
    let digits = &line[colon + 1..];
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && !line.contains(&b' ')
}

/// The line of the program, a caret below, an empty line, the error; then its frames.
fn after_source(line: &[u8], lines: u8) -> Option<State> {
    if is_frame(line) {
        return Some(frames(line));
    }
    let belongs = lines == 0
        || line.is_empty()
        || is_indented(line)
        || line.starts_with(b"^")
        || contains(&line[..line.len().min(64)], b"Error");
    (belongs && lines < SOURCE_LINES_MAX).then(|| State::Source(lines + 1))
}

fn is_key_start(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b"PRIVATE KEY-----")
        && contains(line, b"-----BEGIN ")
        && !contains(line, b"-----END ")
}

#[cfg(test)]
mod tests;
