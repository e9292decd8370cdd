//! A visit of more than may be open at a time, slice of time after slice of time.
//!
//! Lines of a stream mostly come in the order of time, and then a visit has about one frame of each
//! stream open. Where many overlap (thousands of streams, or lines pushed in any order), each slice
//! keeps only its own lines of every frame, and a frame is read again for the next one.

use std::ops::ControlFlow;

use model::{Labels, LogEntry, ReadError, Skim};

use super::frame_read::Row;
use super::merge::{self, Sources, Window};
use super::scan::{Pending, Workers};
use crate::health::Watch;

/// Bytes of lines that a visit has open, about. Forty streams of packed days take 20 MB.
const OPEN_BYTES_MAX: f64 = (32 << 20) as f64;

/// As [`merge::visit`], with a bound on memory.
pub(super) fn visit(
    watch: &Watch,
    workers: &Workers,
    window: Window,
    skim: Skim<'_>,
    sources: Sources,
    visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut visits = Visits {
        watch,
        workers,
        skim,
        visit,
        open_bytes_max: OPEN_BYTES_MAX,
    };
    visits.within(window, sources).map(|_| ())
}

struct Visits<'a> {
    watch: &'a Watch,
    workers: &'a Workers,
    skim: Skim<'a>,
    visit: &'a mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    open_bytes_max: f64,
}

impl Visits<'_> {
    fn within(&mut self, window: Window, sources: Sources) -> Result<ControlFlow<()>, ReadError> {
        let halves = match open_bytes(&sources.frames, &window, self.skim.no_texts) {
            few if few <= self.open_bytes_max => None,
            _ => halves(&window, &sources.frames),
        };
        let Some(halves) = halves else {
            let mut flow = ControlFlow::Continue(());
            let mut visit = |labels: &Labels, entry: &LogEntry| {
                flow = (self.visit)(labels, entry);
                flow
            };
            merge::visit(
                self.watch,
                self.workers,
                window,
                self.skim,
                sources,
                &mut visit,
            )?;
            return Ok(flow);
        };
        for half in halves {
            if self.within(half, sources.within(&half))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Sources {
    /// What of them lies in `window`.
    fn within(&self, window: &Window) -> Sources {
        let heads = self.heads.iter().map(|(labels, lines)| {
            let inside = lines.iter().filter(|l| window.contains(l.entry.at_ns));
            (labels.clone(), inside.cloned().collect())
        });
        let inside = |p: &&Pending| p.frame.is_within(window.start_ns, window.end_ns);
        Sources {
            heads: heads.collect(),
            frames: self.frames.iter().filter(inside).cloned().collect(),
        }
    }
}

/// The most that is open at once, if a frame's lines are spread evenly over its time.
fn open_bytes(frames: &[Pending], window: &Window, no_texts: bool) -> f64 {
    let mut changes = Vec::with_capacity(2 * frames.len());
    for Pending { frame, .. } in frames {
        let (begin, end) = (
            frame.min_ns.max(window.start_ns),
            frame.max_ns.min(window.end_ns),
        );
        let columns = frame.lines as usize * size_of::<Row>();
        let texts = if no_texts { 0 } else { frame.raw_bytes };
        let span = (frame.max_ns as f64 - frame.min_ns as f64 + 1.0).max(1.0);
        let part = ((end as f64 - begin as f64 + 1.0) / span).clamp(0.0, 1.0);
        let bytes = (columns as f64 + f64::from(texts)) * part;
        changes.extend([(begin, bytes), (end.saturating_add(1), -bytes)]);
    }
    // What ends goes before what begins.
    changes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (mut open, mut most) = (0.0, 0.0_f64);
    for (_, bytes) in changes {
        open += bytes;
        most = most.max(open);
    }
    most
}

/// The two halves of the time of the frames, in the order of the visit, with all that is beyond.
fn halves(window: &Window, frames: &[Pending]) -> Option<[Window; 2]> {
    let begin = frames.iter().map(|p| p.frame.min_ns).min()?;
    let end = frames.iter().map(|p| p.frame.max_ns).max()?;
    let (begin, end) = (
        begin.max(window.start_ns),
        end.min(window.end_ns.saturating_sub(1)),
    );
    let middle = begin.midpoint(end) + 1;
    if middle <= begin || middle > end {
        return None;
    }
    let earlier = Window {
        end_ns: middle,
        ..*window
    };
    let later = Window {
        start_ns: middle,
        ..*window
    };
    Some(match window.direction {
        model::Direction::Forward => [earlier, later],
        model::Direction::Backward => [later, earlier],
    })
}

#[cfg(test)]
mod tests {
    use model::Direction;

    use super::super::tests::{all_of, sources_of, store_with_overlaps};
    use super::*;

    #[test]
    fn slices_give_what_one_visit_gives() {
        let store = store_with_overlaps();
        for direction in [Direction::Forward, Direction::Backward] {
            for (start_ns, end_ns) in [(i64::MIN, i64::MAX), (100, 900), (505, 506)] {
                let window = Window {
                    start_ns,
                    end_ns,
                    direction,
                };
                let expect = all_of(&store, window);
                assert!(!expect.is_empty());
                for enough in [usize::MAX, 1, 7] {
                    let mut seen = Vec::new();
                    let mut visits = Visits {
                        watch: &Watch::for_test(),
                        workers: &Workers::default(),
                        skim: Skim::default(),
                        visit: &mut |labels, entry| {
                            seen.push((entry.at_ns, labels.clone(), entry.line.clone()));
                            match seen.len() < enough {
                                true => ControlFlow::Continue(()),
                                false => ControlFlow::Break(()),
                            }
                        },
                        open_bytes_max: 2000.0,
                    };
                    let _ = visits.within(window, sources_of(&store, window)).unwrap();
                    let first = enough.min(expect.len());
                    assert_eq!(seen, expect[..first]);
                }
            }
        }
    }

    #[test]
    fn halves_end_at_one_instant() {
        let window = Window {
            start_ns: 5,
            end_ns: 6,
            direction: Direction::Forward,
        };
        let store = store_with_overlaps();
        let all = Window {
            start_ns: i64::MIN,
            end_ns: i64::MAX,
            ..window
        };
        let frames = sources_of(&store, all).frames;
        assert!(halves(&window, &frames).is_none());
        let [first, second] = halves(&all, &frames).unwrap();
        assert_eq!((first.start_ns, second.end_ns), (i64::MIN, i64::MAX));
        assert_eq!(first.end_ns, second.start_ns);
        assert!(open_bytes(&frames, &all, true) < open_bytes(&frames, &all, false));
    }
}
