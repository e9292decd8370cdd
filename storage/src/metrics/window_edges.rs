//! Rates over roll-ups: the value of a counter at both ends of each window.

use model::{FPoint, ReadError, SampleCursor, Samples, Selection, is_stale};

use super::cursor::Cursor;

/// The windows of a selection, all of one length and a step apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// The first instant of the first window and the last one of it.
    first: (i64, i64),
    /// 0 when there is only one.
    step_ms: i64,
    /// The last instant of the last window.
    end: i64,
    /// Whether a decrease is a reset.
    resets: bool,
}

/// A cursor over a series that is, in part, a roll-up. A bucket has one point, at the instant of
/// its last sample, and what a rate guesses beyond the first and the last point of a window goes by
/// how far apart points are: it would be wrong by up to a bucket at each end, and a window shorter
/// than a bucket would have no points at all. So where a window begins or ends before a point that
/// stands for a bucket, there is a point on the line to it.
pub(crate) struct WindowEdges {
    inner: Cursor,
    windows: Windows,
    /// The last point given out, unless the series ended with it.
    last: Option<FPoint>,
}

impl Windows {
    /// `None` where the function does not look at the ends of its windows.
    pub(crate) fn of(selection: &Selection<'_>) -> Option<Windows> {
        let hints = &selection.hints;
        let resets = match hints.function {
            "rate" | "increase" | "irate" => true,
            "delta" | "idelta" => false,
            _ => return None,
        };
        let (start, end) = (selection.range.start.millis(), selection.range.end.millis());
        let length = hints.window_ms.saturating_sub(1);
        Some(Windows {
            first: (start, start.saturating_add(length)),
            step_ms: hints.step_ms,
            end,
            resets,
        })
    }

    /// The first end of a window after `t`.
    fn next_after(&self, t: i64) -> Option<i64> {
        let next = |first: i64| {
            if t < first {
                return Some(first);
            }
            let past = t.checked_sub(first)?.checked_div(self.step_ms)? + 1;
            first.checked_add(past.checked_mul(self.step_ms)?)
        };
        let edges = [next(self.first.0), next(self.first.1)];
        edges.into_iter().flatten().min().filter(|e| *e <= self.end)
    }

    /// The value at `t`, between two points. After a reset a counter begins at zero.
    fn value(&self, before: FPoint, after: FPoint, t: i64) -> f64 {
        let from = match self.resets && after.v < before.v {
            true => 0.0,
            false => before.v,
        };
        let part = (t - before.t) as f64 / (after.t - before.t) as f64;
        from + (after.v - from) * part
    }
}

impl WindowEdges {
    pub(crate) fn new(inner: Cursor, windows: Windows) -> WindowEdges {
        WindowEdges {
            inner,
            windows,
            last: None,
        }
    }

    /// Whether the second of two points stands for a bucket, and none is empty between them.
    fn is_one_line(&self, before: i64, after: i64) -> bool {
        let resolution = self.inner.resolution_ms(after);
        resolution > 0 && after.div_euclid(resolution) - before.div_euclid(resolution) <= 1
    }
}

impl SampleCursor for WindowEdges {
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        let before = into.floats.len();
        let is_more = self.inner.next_run(into)?;
        let points = into.floats.split_off(before);
        for point in points {
            if let Some(last) = self.last
                && let Some(mut edge) = self.windows.next_after(last.t)
                && edge < point.t
                && !is_stale(point.v)
                && self.is_one_line(last.t, point.t)
            {
                loop {
                    let v = self.windows.value(last, point, edge);
                    into.floats.push(FPoint { t: edge, v });
                    match self.windows.next_after(edge) {
                        Some(next) if next < point.t => edge = next,
                        _ => break,
                    }
                }
            }
            into.floats.push(point);
            self.last = (!is_stale(point.v)).then_some(point);
        }
        Ok(is_more)
    }

    fn held_bytes(&self) -> usize {
        size_of::<WindowEdges>() - size_of::<Cursor>() + self.inner.held_bytes()
    }

    fn resolution_ms(&self, t: i64) -> i64 {
        self.inner.resolution_ms(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(first: (i64, i64), step_ms: i64, end: i64) -> Windows {
        Windows {
            first,
            step_ms,
            end,
            resets: true,
        }
    }

    #[test]
    fn the_ends_of_windows_are_found_in_order() {
        let all = |w: Windows| {
            let mut edges = Vec::new();
            let mut t = i64::MIN;
            while let Some(edge) = w.next_after(t) {
                edges.push(edge);
                t = edge;
            }
            edges
        };
        assert_eq!(all(windows((1, 10), 0, 10)), [1, 10]);
        assert_eq!(all(windows((1, 10), 10, 30)), [1, 10, 11, 20, 21, 30]);
        assert_eq!(all(windows((1, 10), 4, 18)), [1, 5, 9, 10, 13, 14, 17, 18]);
        let everything = windows((i64::MIN, i64::MIN + 5), 1, i64::MAX);
        assert_eq!(everything.next_after(i64::MAX - 1), None);
    }

    #[test]
    fn a_counter_goes_straight_from_one_point_to_the_next_and_starts_anew_at_zero() {
        let w = windows((1, 10), 0, 10);
        let at = |t, v| FPoint { t, v };
        assert_eq!(w.value(at(0, 10.0), at(10, 20.0), 5), 15.0);
        assert_eq!(w.value(at(0, 10.0), at(10, 8.0), 5), 4.0);
        let gauge = Windows { resets: false, ..w };
        assert_eq!(gauge.value(at(0, 10.0), at(10, 8.0), 5), 9.0);
    }
}
