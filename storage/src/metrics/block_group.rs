//! Up to 128 neighbouring series of a block: their labels, and where their frames are.
//! Bytes: `docs/formats/block.md`.

use std::collections::BTreeMap;

use model::{Labels, Matcher};

use super::block_frame::PieceRef;
use crate::bytes::{Malformed, Reader, put_bytes, put_signed, put_varint};

/// Series of a group at most. More compress better; a reader unpacks whole groups.
pub(crate) const GROUP_SERIES: usize = 128;

/// Where the samples of a group over one slice of time are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameRef {
    /// The slice: its first instant divided by its length.
    pub(crate) slice: i64,
    pub(crate) piece: PieceRef,
}

/// A group as its page tells.
pub(crate) struct Group<'a> {
    symbols: Vec<&'a str>,
    rest: Reader<'a>,
    series: usize,
    first_t: i64,
}

/// One series of a group.
pub(crate) struct GroupSeries<'p, 'a> {
    /// Place in the group.
    pub(crate) at: u16,
    pairs: &'p [(u32, u32)],
    symbols: &'p [&'a str],
    /// Instants of its first and last sample.
    pub(crate) bounds: (i64, i64),
}

impl<'a> Group<'a> {
    /// Reads the symbols; `first_t` is the instant of the group's first sample.
    pub(crate) fn parse(page: &'a [u8], first_t: i64) -> Result<Group<'a>, Malformed> {
        let mut rest = Reader::new(page);
        let series = rest.count(4)?;
        if series > GROUP_SERIES {
            return Err(Malformed);
        }
        let count = rest.count(1)?;
        let mut symbols = Vec::with_capacity(count);
        for _ in 0..count {
            symbols.push(rest.text()?);
        }
        Ok(Group {
            symbols,
            rest,
            series,
            first_t,
        })
    }

    /// Hands all series, in label order, to `visit`, and then gives the frames.
    pub(crate) fn visit(
        mut self,
        visit: &mut dyn FnMut(GroupSeries<'_, 'a>),
    ) -> Result<Vec<FrameRef>, Malformed> {
        let r = &mut self.rest;
        let known = |symbol: u64| match u32::try_from(symbol) {
            Ok(symbol) if (symbol as usize) < self.symbols.len() => Ok(symbol),
            _ => Err(Malformed),
        };
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for at in 0..self.series {
            let shared = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
            if shared > pairs.len() {
                return Err(Malformed);
            }
            pairs.truncate(shared);
            for _ in 0..r.count(2)? {
                pairs.push((known(r.varint()?)?, known(r.varint()?)?));
            }
            let first = self.first_t.wrapping_add(r.varint()? as i64);
            let last = first.wrapping_add(r.varint()? as i64);
            visit(GroupSeries {
                at: at as u16,
                pairs: &pairs,
                symbols: &self.symbols,
                bounds: (first, last),
            });
        }
        let count = r.count(7)?;
        let mut frames = Vec::with_capacity(count);
        let (mut slice, mut end) = (0_i64, 0_u64);
        for _ in 0..count {
            slice = slice.wrapping_add(r.signed()?);
            let offset = end.wrapping_add(r.varint()?);
            let piece = PieceRef::read(r, offset)?;
            end = piece.end();
            frames.push(FrameRef { slice, piece });
        }
        match r.is_empty() && frames.is_sorted_by(|a, b| a.slice < b.slice) {
            true => Ok(frames),
            false => Err(Malformed),
        }
    }
}

impl<'a> GroupSeries<'_, 'a> {
    /// Name and value of each label.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = |symbol: u32| self.symbols[symbol as usize];
        self.pairs.iter().map(move |(n, v)| (text(*n), text(*v)))
    }

    pub(crate) fn labels(&self) -> Labels {
        // What was written was sorted; a page that passes its checksum still is.
        match self.pairs().is_sorted_by(|a, b| a.0 < b.0) && self.pairs().all(|p| !p.1.is_empty()) {
            true => Labels::from_sorted(self.pairs()),
            false => Labels::from_pairs(self.pairs()),
        }
    }

    pub(crate) fn matches(&self, matchers: &mut Memo<'_>) -> bool {
        (0..matchers.matchers.len()).all(|m| {
            let name = matchers.matchers[m].name();
            let value = self
                .pairs
                .iter()
                .find(|(n, _)| self.symbols[*n as usize] == name)
                .map(|(_, v)| *v);
            matchers.holds(m, value, self.symbols)
        })
    }
}

/// Matchers that remember what they said to the symbols of a group: neighbours share them.
pub(crate) struct Memo<'m> {
    matchers: &'m [Matcher],
    /// Per matcher: the last symbol asked about (`None`: an absent label), and the answer.
    last: Vec<Option<(Option<u32>, bool)>>,
}

impl<'m> Memo<'m> {
    /// For one group.
    pub(crate) fn new(matchers: &'m [Matcher]) -> Self {
        Memo {
            matchers,
            last: vec![None; matchers.len()],
        }
    }

    fn holds(&mut self, matcher: usize, value: Option<u32>, symbols: &[&str]) -> bool {
        if let Some((symbol, holds)) = self.last[matcher]
            && symbol == value
        {
            return holds;
        }
        let text = value.map_or("", |v| symbols[v as usize]);
        let holds = self.matchers[matcher].matches(text);
        self.last[matcher] = Some((value, holds));
        holds
    }
}

/// A group in the making.
#[derive(Default)]
pub(crate) struct GroupBuilder {
    series: Vec<(Labels, i64, i64)>,
}

impl GroupBuilder {
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Adds a series with the instants of its first and last sample.
    pub(crate) fn push(&mut self, labels: Labels, first_t: i64, last_t: i64) {
        self.series.push((labels, first_t, last_t));
    }

    /// First and last instant of all.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let first = self.series.iter().map(|s| s.1).min()?;
        Some((first, self.series.iter().map(|s| s.2).max()?))
    }

    /// Different pairs of name and value.
    pub(crate) fn pairs(&self) -> std::collections::BTreeSet<(&str, &str)> {
        self.series.iter().flat_map(|(l, ..)| l.iter()).collect()
    }

    /// The page.
    pub(crate) fn finish(&self, frames: &[FrameRef]) -> Vec<u8> {
        let mut symbols: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, value) in self.series.iter().flat_map(|(l, ..)| l.iter()) {
            symbols.insert(name, 0);
            symbols.insert(value, 0);
        }
        let mut out = Vec::new();
        put_varint(&mut out, self.series.len() as u64);
        put_varint(&mut out, symbols.len() as u64);
        for (i, (symbol, number)) in symbols.iter_mut().enumerate() {
            *number = i as u64;
            put_bytes(&mut out, symbol.as_bytes());
        }
        let base = self.bounds().map_or(0, |b| b.0);
        let number = |symbol: &str| symbols.get(symbol).copied().unwrap_or(0);
        let mut before: Vec<(u64, u64)> = Vec::new();
        for (labels, first, last) in &self.series {
            let pairs: Vec<_> = labels.iter().map(|(n, v)| (number(n), number(v))).collect();
            let same = pairs.iter().zip(&before).take_while(|(a, b)| a == b);
            let shared = same.count();
            put_varint(&mut out, shared as u64);
            put_varint(&mut out, (pairs.len() - shared) as u64);
            for (n, v) in &pairs[shared..] {
                put_varint(&mut out, *n);
                put_varint(&mut out, *v);
            }
            put_varint(&mut out, first.wrapping_sub(base) as u64);
            put_varint(&mut out, last.wrapping_sub(*first) as u64);
            before = pairs;
        }
        put_varint(&mut out, frames.len() as u64);
        let (mut slice, mut end) = (0_i64, 0_u64);
        for frame in frames {
            put_signed(&mut out, frame.slice.wrapping_sub(slice));
            put_varint(&mut out, frame.piece.offset.wrapping_sub(end));
            frame.piece.put(&mut out);
            slice = frame.slice;
            end = frame.piece.end();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(page: &[u8], matchers: &[Matcher]) -> (Vec<(Labels, i64, i64)>, Vec<FrameRef>) {
        let mut memo = Memo::new(matchers);
        let mut found = Vec::new();
        let frames = Group::parse(page, -5).unwrap().visit(&mut |s| {
            if s.matches(&mut memo) {
                found.push((s.labels(), s.bounds.0, s.bounds.1));
            }
        });
        (found, frames.unwrap())
    }

    #[test]
    fn series_and_frames_come_back() {
        let series: Vec<(Labels, i64, i64)> = (0..50)
            .map(|i| {
                let labels = [("__name__", "m".to_owned()), ("i", i.to_string())];
                (Labels::from_pairs(labels), i - 5, i * 1000)
            })
            .collect();
        let mut group = GroupBuilder::default();
        for (labels, first, last) in &series {
            group.push(labels.clone(), *first, *last);
        }
        let frame = |slice, offset| FrameRef {
            slice,
            piece: PieceRef {
                offset,
                bytes: 10,
                raw_bytes: 20,
                crc: 7,
            },
        };
        let frames = [frame(-3, 8), frame(5, 400), frame(6, 410)];
        let page = group.finish(&frames);
        assert_eq!(parsed(&page, &[]), (series.clone(), frames.to_vec()));
        let one = [Matcher::equal("i", "7"), Matcher::equal("absent", "")];
        assert_eq!(parsed(&page, &one).0, series[7..8]);
        assert_eq!(parsed(&page, &[Matcher::equal("i", "x")]).0, []);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(group) = Group::parse(&bytes, 0) {
                let _ = group.visit(&mut |s| {
                    s.labels();
                });
            }
        }
    }
}
