//! Lines of many frames and heads in one order of time, with few frames open at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::collections::binary_heap::PeekMut;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Direction, Labels, LogEntry, PassedOver, ReadError, Skim};

use super::file::FrameRef;
use super::frame::Line;
use super::frame_read::{Frame, Scratch, Wanted};
use super::scan::{Loaded, Loader, Pending, Workers};
use crate::health::Watch;
use crate::telemetry::FileKind;

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
    pub(super) fn key(&self, at_ns: i64, seq: u64) -> (i64, u64) {
        match self.direction {
            Direction::Forward => (at_ns, seq),
            // `!x` turns the order round without overflow.
            Direction::Backward => (!at_ns, !seq),
        }
    }

    pub(super) fn contains(&self, at_ns: i64) -> bool {
        self.start_ns <= at_ns && at_ns < self.end_ns
    }

    /// The instant of a key.
    fn instant(&self, key: i64) -> i64 {
        match self.direction {
            Direction::Forward => key,
            Direction::Backward => !key,
        }
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
    /// The line that is visited.
    entry: LogEntry,
}

enum Content {
    Head(Vec<Arc<Line>>),
    Frame(Frame),
}

impl Open {
    fn new(labels: Labels, content: Content) -> Open {
        Open {
            labels,
            content,
            next: 0,
            entry: LogEntry {
                at_ns: 0,
                line: String::new(),
                metadata: Labels::empty(),
            },
        }
    }

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

    /// Shows the line that comes next.
    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let next = self.next;
        self.next += 1;
        match &self.content {
            Content::Head(lines) => visit(&self.labels, &lines[next].entry),
            Content::Frame(frame) => {
                frame.fill(&frame.rows[next], &mut self.entry);
                visit(&self.labels, &self.entry)
            }
        }
    }
}

/// Streams being visited, the one whose line is next on top.
#[derive(Default)]
struct Opened {
    open: Vec<Option<Open>>,
    free: Vec<usize>,
    heap: BinaryHeap<Reverse<((i64, u64), usize)>>,
}

impl Opened {
    fn add(&mut self, opened: Open, window: &Window) {
        let Some(key) = opened.key(window) else {
            return;
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.open[slot] = Some(opened);
                slot
            }
            None => {
                self.open.push(Some(opened));
                self.open.len() - 1
            }
        };
        self.heap.push(Reverse((key, slot)));
    }

    fn next_at(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse(((at, _), _))| *at)
    }

    /// Visits one line.
    fn step(
        &mut self,
        window: &Window,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(mut top) = self.heap.peek_mut() else {
            return ControlFlow::Break(());
        };
        let Reverse((_, slot)) = *top;
        let Some(current) = self.open[slot].as_mut() else {
            PeekMut::pop(top);
            return ControlFlow::Continue(());
        };
        let flow = current.visit(visit);
        match current.key(window) {
            Some(key) => *top = Reverse((key, slot)),
            None => {
                PeekMut::pop(top);
                self.open[slot] = None;
                self.free.push(slot);
            }
        }
        flow
    }
}

/// What a visit reads.
pub(super) struct Sources {
    /// Lines in memory, by stream.
    pub(super) heads: Vec<(Labels, Vec<Arc<Line>>)>,
    pub(super) frames: Vec<Pending>,
}

/// Visits the lines that lie in the window. A frame is read when the visit reaches its first
/// instant, or a little ahead, and dropped after its last: about one per stream is open.
pub(super) fn visit(
    watch: &Watch,
    workers: &Workers,
    window: Window,
    skim: Skim<'_>,
    mut sources: Sources,
    visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    if skim.no_texts {
        mark_touching(&mut sources);
    }
    let mut opened = Opened::default();
    for (labels, mut lines) in sources.heads {
        lines.retain(|l| window.contains(l.entry.at_ns));
        lines.sort_by_key(|l| window.key(l.entry.at_ns, l.seq));
        opened.add(Open::new(labels, Content::Head(lines)), &window);
    }
    let mut frames = sources.frames;
    frames.sort_by_key(|p| window.first_key(&p.frame));
    let wanted = Wanted {
        window,
        sieve: skim.sieve,
        no_texts: skim.no_texts,
    };
    let loader = Loader::new(&frames, wanted, workers);
    std::thread::scope(|scope| {
        let mut scratch = Scratch::new().map_err(|e| failed("memory for frames", e))?;
        let mut done = Ok(());
        let mut waiting = frames.iter().peekable();
        loop {
            let next_at = opened.next_at();
            let is_due = |p: &&Pending| next_at.is_none_or(|at| window.first_key(&p.frame) <= at);
            let Some(p) = waiting.next_if(is_due) else {
                if opened.step(&window, visit).is_break() {
                    break;
                }
                continue;
            };
            match loader.next(scope, &mut scratch) {
                Loaded::Lines(frame) => {
                    let (lines, bytes) = (frame.passed_lines, frame.passed_bytes);
                    if frame.has_bad_filter {
                        let what = format_args!("filter of the frame at byte {}", p.frame.offset);
                        watch.corrupt(FileKind::Frames, &p.file.path, what);
                    }
                    let content = Content::Frame(frame);
                    opened.add(Open::new(p.frame.labels.clone(), content), &window);
                    if tell(&skim, &window, &p.frame, lines, bytes).is_break() {
                        break;
                    }
                }
                Loaded::Unwanted => {
                    if tell(&skim, &window, &p.frame, 0, 0).is_break() {
                        break;
                    }
                }
                Loaded::Damaged => {
                    let what = format_args!("frame at byte {}", p.frame.offset);
                    watch.corrupt(FileKind::Frames, &p.file.path, what);
                }
                Loaded::Failed(e) => {
                    done = Err(failed(p.file.path.display(), e));
                    break;
                }
            }
        }
        loader.stop();
        done
    })
}

fn failed(what: impl std::fmt::Display, e: std::io::Error) -> ReadError {
    ReadError::Io {
        what: what.to_string(),
        source: Arc::new(e),
    }
}

fn tell(
    skim: &Skim<'_>,
    window: &Window,
    frame: &FrameRef,
    lines: u64,
    bytes: u64,
) -> ControlFlow<()> {
    let Some(passed_over) = skim.passed_over else {
        return ControlFlow::Continue(());
    };
    passed_over(PassedOver {
        at_ns: window.instant(window.first_key(frame)),
        lines,
        bytes,
    })
}

/// Finds the frames that may have a line of the same instant as another one of their stream.
fn mark_touching(sources: &mut Sources) {
    let mut spans: HashMap<&Labels, Vec<(i64, i64, Option<usize>)>, RandomState> =
        HashMap::default();
    for (labels, lines) in &sources.heads {
        let times = || lines.iter().map(|l| l.entry.at_ns);
        if let Some((min, max)) = times().min().zip(times().max()) {
            spans.entry(labels).or_default().push((min, max, None));
        }
    }
    for (i, p) in sources.frames.iter().enumerate() {
        let span = (p.frame.min_ns, p.frame.max_ns, Some(i));
        spans.entry(&p.frame.labels).or_default().push(span);
    }
    let mut touching = Vec::new();
    for spans in spans.values_mut() {
        spans.sort_unstable();
        let mut last: Option<(i64, Option<usize>)> = None;
        for (min, max, i) in spans {
            if let Some((end, before)) = last
                && *min <= end
            {
                touching.extend([before, *i].into_iter().flatten());
            }
            if last.is_none_or(|(end, _)| *max > end) {
                last = Some((*max, *i));
            }
        }
    }
    for i in touching {
        sources.frames[i].touches = true;
    }
}
