//! What a range function remembers from one window of a series to the next, so that a window
//! costs what is new in it and not what it holds. Results are the same bit for bit.

use std::cmp::Ordering;

use model::{FPoint, Samples};

/// What to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Memory {
    #[default]
    Nothing,
    /// Where a value is below the one before.
    Falls,
    /// Where a value differs from the one before.
    Changes,
    /// The window's values in order.
    Sorted,
    Highest,
    Lowest,
}

impl Memory {
    /// What the function of this name can use.
    pub(crate) fn of(function: &str) -> Memory {
        match function {
            "rate" | "increase" | "resets" => Memory::Falls,
            "changes" => Memory::Changes,
            "quantile_over_time" => Memory::Sorted,
            "max_over_time" => Memory::Highest,
            "min_over_time" => Memory::Lowest,
            _ => Memory::Nothing,
        }
    }
}

/// What is remembered, over the floats of one series.
#[derive(Default)]
pub(crate) struct Slide {
    memory: Memory,
    /// The window, by index.
    low: usize,
    high: usize,
    /// Indices: of falls or changes, ascending; or of candidates for the extreme, best first.
    places: Vec<usize>,
    /// The part of `places` that is in the window.
    from: usize,
    to: usize,
    sorted: Vec<f64>,
}

/// What is known of a window.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// Indices, seen from the window's start, of the points asked for (never the first).
    pub(crate) places: Option<Places<'a>>,
    /// The values in order, NaN first.
    pub(crate) sorted: Option<&'a [f64]>,
    /// The highest or lowest value.
    pub(crate) extreme: Option<f64>,
}

/// Indices in a window.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    indices: &'a [usize],
    low: usize,
}

impl Places<'_> {
    pub(crate) fn len(self) -> usize {
        self.indices.len()
    }
}

impl<'a> Places<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> + 'a {
        self.indices.iter().map(move |i| i - self.low)
    }
}

impl Slide {
    /// Begins with a series. `plain` says that its points are floats whose starts are not known.
    pub(crate) fn begin(&mut self, memory: Memory, points: &Samples, plain: bool) {
        self.memory = if plain { memory } else { Memory::Nothing };
        (self.low, self.high, self.from, self.to) = (0, 0, 0, 0);
        self.places.clear();
        self.sorted.clear();
        let mark = match self.memory {
            Memory::Falls => |a: f64, b: f64| b < a,
            Memory::Changes => |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan()),
            _ => return,
        };
        let pairs = points.floats.windows(2).enumerate();
        let marked = pairs.filter(|(_, p)| mark(p[0].v, p[1].v));
        self.places.extend(marked.map(|(i, _)| i + 1));
    }

    /// Moves on to the window `low..high`; neither bound ever falls.
    pub(crate) fn advance(&mut self, floats: &[FPoint], low: usize, high: usize) -> Known<'_> {
        match self.memory {
            Memory::Nothing => Known::default(),
            Memory::Falls | Memory::Changes => {
                while self.places.get(self.from).is_some_and(|i| *i <= low) {
                    self.from += 1;
                }
                self.to = self.to.max(self.from);
                while self.places.get(self.to).is_some_and(|i| *i < high) {
                    self.to += 1;
                }
                Known {
                    places: Some(Places {
                        indices: &self.places[self.from..self.to],
                        low,
                    }),
                    ..Known::default()
                }
            }
            Memory::Sorted => {
                self.sort(floats, low, high);
                Known {
                    sorted: Some(&self.sorted),
                    ..Known::default()
                }
            }
            Memory::Highest => self.extreme(floats, low, high, |new, old| new > old),
            Memory::Lowest => self.extreme(floats, low, high, |new, old| new < old),
        }
    }

    fn sort(&mut self, floats: &[FPoint], low: usize, high: usize) {
        let new = high - self.high.max(low);
        let gone = self.high.min(low) - self.low;
        let kept = self.high.saturating_sub(low);
        if kept == 0 || kept < 2 * (new + gone) {
            self.sorted.clear();
            self.sorted.extend(floats[low..high].iter().map(|p| p.v));
            self.sorted.sort_unstable_by(order);
        } else {
            for p in &floats[self.low..low] {
                if let Ok(at) = self.sorted.binary_search_by(|v| order(v, &p.v)) {
                    self.sorted.remove(at);
                }
            }
            for p in &floats[self.high..high] {
                let at = self.sorted.partition_point(|v| order(v, &p.v).is_lt());
                self.sorted.insert(at, p.v);
            }
        }
        (self.low, self.high) = (low, high);
    }

    /// Keeps the candidates: each is better than all that follow it, or came before its equals.
    fn extreme(
        &mut self,
        floats: &[FPoint],
        low: usize,
        high: usize,
        better: fn(f64, f64) -> bool,
    ) -> Known<'_> {
        for (i, p) in floats
            .iter()
            .enumerate()
            .take(high)
            .skip(self.high.max(low))
        {
            if p.v.is_nan() {
                continue;
            }
            while self.places.len() > self.from
                && let Some(last) = self.places.last()
                && better(p.v, floats[*last].v)
            {
                self.places.pop();
            }
            self.places.push(i);
        }
        while self.places.get(self.from).is_some_and(|i| *i < low) {
            self.from += 1;
        }
        (self.low, self.high) = (low, high);
        let best = self
            .places
            .get(self.from)
            .map_or(f64::NAN, |i| floats[*i].v);
        Known {
            extreme: (high > low).then_some(best),
            ..Known::default()
        }
    }
}

/// NaN first; the rest by size, -0 before 0.
pub(crate) fn order(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => a.total_cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(f64::NAN),
            Just(-0.0),
            Just(0.0),
            Just(f64::INFINITY),
            (-3_i32..3).prop_map(f64::from)
        ]
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_a_fresh_look_finds(
            values in prop::collection::vec(value(), 0..60),
            moves in prop::collection::vec((0_usize..6, 0_usize..6), 1..40),
        ) {
            let floats: Vec<FPoint> = values.iter().zip(0..).map(|(v, t)| FPoint { t, v: *v }).collect();
            let points = Samples { floats: floats.clone(), histograms: Vec::new() };
            for memory in [Memory::Falls, Memory::Changes, Memory::Sorted, Memory::Highest, Memory::Lowest] {
                let mut slide = Slide::default();
                slide.begin(memory, &points, true);
                let (mut low, mut high) = (0, 0);
                for (l, h) in &moves {
                    low = (low + l).min(floats.len());
                    high = (high + h).min(floats.len()).max(low);
                    let window = &values[low..high];
                    let known = slide.advance(&floats, low, high);
                    let pairs = |f: &dyn Fn(f64, f64) -> bool| -> Vec<usize> {
                        (1..window.len()).filter(|i| f(window[i - 1], window[*i])).collect()
                    };
                    let places: Option<Vec<usize>> = known.places.map(|p| p.iter().collect());
                    match memory {
                        Memory::Falls => prop_assert_eq!(places.unwrap(), pairs(&|a, b| b < a)),
                        Memory::Changes => {
                            let differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
                            prop_assert_eq!(places.unwrap(), pairs(&differ));
                        }
                        Memory::Sorted => {
                            let mut sorted = window.to_vec();
                            sorted.sort_by(order);
                            let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                            prop_assert_eq!(bits(known.sorted.unwrap()), bits(&sorted));
                        }
                        Memory::Highest | Memory::Lowest => {
                            let better = |v: f64, best: f64| if memory == Memory::Highest { v > best } else { v < best };
                            let best = window.iter().copied().reduce(|best, v| if better(v, best) || best.is_nan() { v } else { best });
                            prop_assert_eq!(known.extreme.map(f64::to_bits), best.map(f64::to_bits));
                        }
                        Memory::Nothing => {}
                    }
                }
            }
        }
    }
}
