//! Lines of many frames and heads in one order of time, with few frames open at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{Direction, Labels, LogEntry, ReadError};

use super::file::{FrameFile, FrameRef};
use super::frame::{Frame, Line};
use crate::health::Watch;
use crate::telemetry::FileKind;

/// A frame that may have to be read.
pub(crate) struct Pending {
    pub(crate) file: Arc<FrameFile>,
    pub(crate) frame: FrameRef,
}

/// What is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    pub(crate) direction: Direction,
}

impl Window {
    /// Sorts in the order of the visit; equal instants in the order of reception, forwards or
    /// backwards: one page is the other read from its end.
    fn key(&self, at_ns: i64, seq: u64) -> (i64, u64) {
        match self.direction {
            Direction::Forward => (at_ns, seq),
            // `!x` turns the order round without overflow.
            Direction::Backward => (!at_ns, !seq),
        }
    }

    fn contains(&self, at_ns: i64) -> bool {
        self.start_ns <= at_ns && at_ns < self.end_ns
    }

    /// No line of the frame comes before this.
    fn first_key(&self, frame: &FrameRef) -> i64 {
        match self.direction {
            Direction::Forward => frame.min_ns,
            Direction::Backward => !frame.max_ns,
        }
    }
}

/// Lines of one stream, sorted, being visited.
struct Open {
    labels: Labels,
    content: Content,
    next: usize,
}

enum Content {
    Head(Vec<Arc<Line>>),
    Frame(Frame),
}

impl Open {
    fn key(&self, window: &Window) -> Option<(i64, u64)> {
        match &self.content {
            Content::Head(lines) => {
                let line = lines.get(self.next)?;
                Some(window.key(line.entry.at_ns, line.seq))
            }
            Content::Frame(frame) => {
                let row = frame.rows.get(self.next)?;
                Some(window.key(row.at_ns, row.seq))
            }
        }
    }
}

/// Visits the lines of `heads` and `frames` that lie in the window. A frame is read when the
/// visit reaches its first instant and dropped after its last: about one per stream is open.
pub(crate) fn visit(
    watch: &Watch,
    window: Window,
    heads: Vec<(Labels, Vec<Arc<Line>>)>,
    mut frames: Vec<Pending>,
    visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut open: Vec<Option<Open>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut heap = BinaryHeap::new();
    let add = |o: Open, open: &mut Vec<Option<Open>>, free: &mut Vec<usize>| {
        let key = o.key(&window)?;
        let slot = match free.pop() {
            Some(slot) => {
                open[slot] = Some(o);
                slot
            }
            None => {
                open.push(Some(o));
                open.len() - 1
            }
        };
        Some(Reverse((key, slot)))
    };
    for (labels, mut lines) in heads {
        lines.retain(|l| window.contains(l.entry.at_ns));
        lines.sort_by_key(|l| window.key(l.entry.at_ns, l.seq));
        let content = Content::Head(lines);
        let opened = Open {
            labels,
            content,
            next: 0,
        };
        heap.extend(add(opened, &mut open, &mut free));
    }
    // Taken from the end: the first to open is last.
    frames.sort_by_key(|p| Reverse(window.first_key(&p.frame)));
    let mut entry = LogEntry {
        at_ns: 0,
        line: String::new(),
        metadata: Labels::empty(),
    };
    loop {
        let next_at = heap.peek().map(|Reverse(((at, _), _))| *at);
        if let Some(p) =
            frames.pop_if(|p| next_at.is_none_or(|at| window.first_key(&p.frame) <= at))
        {
            let read = p.file.read(&p.frame).map_err(|e| ReadError::Io {
                what: p.file.path.display().to_string(),
                source: Arc::new(e),
            })?;
            let Some(mut frame) = read else {
                let what = format_args!("frame at byte {}", p.frame.offset);
                watch.corrupt(FileKind::Frames, &p.file.path, what);
                continue;
            };
            frame.rows.retain(|r| window.contains(r.at_ns));
            frame.rows.sort_by_key(|r| window.key(r.at_ns, r.seq));
            let opened = Open {
                labels: p.frame.labels,
                content: Content::Frame(frame),
                next: 0,
            };
            heap.extend(add(opened, &mut open, &mut free));
            continue;
        }
        let Some(Reverse((_, slot))) = heap.pop() else {
            return Ok(());
        };
        let Some(current) = open[slot].as_mut() else {
            continue;
        };
        let flow = match &current.content {
            Content::Head(lines) => visit(&current.labels, &lines[current.next].entry),
            Content::Frame(frame) => {
                frame.fill(&frame.rows[current.next], &mut entry);
                visit(&current.labels, &entry)
            }
        };
        if flow.is_break() {
            return Ok(());
        }
        current.next += 1;
        match current.key(&window) {
            Some(key) => heap.push(Reverse((key, slot))),
            None => {
                open[slot] = None;
                free.push(slot);
            }
        }
    }
}
