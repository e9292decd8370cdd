//! Which groups of a block have a series with which label. Bytes: `docs/formats/block.md`.
//!
//! Groups, not series: a metric's series are neighbours, so its name leads to one or two
//! groups, and looking through the 128 series of a group costs less than reading the lists
//! that would name them one by one. The index of 100,000 series stays well below a megabyte.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use model::{MatchOp, Matcher};

use super::block::BlockError;
use super::block_frame::PieceRef;
use crate::bytes::{Malformed, Reader, put_bytes, put_varint};

/// Values of one label that are indexed at most. Beyond it (a label that is different for
/// every series) the label is left out: its matchers look through all groups.
pub(crate) const VALUES_MAX: usize = 1 << 16;
/// A page of the index is closed at this size.
const PAGE_BYTES: usize = 16 << 10;

/// The index as the footer tells; pages are read when asked for.
pub(crate) struct LabelIndex {
    pages: Vec<IndexPage>,
    names: Vec<(Box<str>, u32)>,
    groups: u32,
}

struct IndexPage {
    piece: PieceRef,
    /// Name and value of its first entry.
    first: (Box<str>, Box<str>),
}

/// Reads and unpacks a page.
pub(crate) type ReadPage<'a> =
    dyn Fn(&PieceRef) -> Result<std::sync::Arc<Vec<u8>>, BlockError> + 'a;

impl LabelIndex {
    /// From the footer; pages lie one after the other from `offset`.
    pub(crate) fn read(
        r: &mut Reader<'_>,
        mut offset: u64,
        groups: u32,
    ) -> Result<LabelIndex, Malformed> {
        let count = r.count(8)?;
        let mut pages = Vec::with_capacity(count);
        for _ in 0..count {
            let piece = PieceRef::read(r, offset)?;
            offset = piece.end();
            let first = (Box::from(r.text()?), Box::from(r.text()?));
            pages.push(IndexPage { piece, first });
        }
        let count = r.count(2)?;
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let name = Box::from(r.text()?);
            let values = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
            names.push((name, values));
        }
        Ok(LabelIndex {
            pages,
            names,
            groups,
        })
    }

    /// All label names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    /// Whether the values of `name` are indexed: not those of a label with too many.
    pub(crate) fn has_values(&self, name: &str) -> bool {
        self.values_count(name) != Some(0)
    }

    fn values_count(&self, name: &str) -> Option<u32> {
        let at = self.names.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(self.names[at].1)
    }

    /// Groups in which a series may exist for which all `matchers` hold, ascending;
    /// `None` when all groups may have one.
    pub(crate) fn candidates(
        &self,
        matchers: &[Matcher],
        read: &ReadPage<'_>,
    ) -> Result<Option<Vec<u32>>, BlockError> {
        let mut found: Option<Vec<u32>> = None;
        // A label that may be absent does not narrow the choice.
        for m in matchers.iter().filter(|m| !m.matches_empty()) {
            let groups = match self.values_count(m.name()) {
                None => Vec::new(),
                Some(0) => continue,
                // Groups of a few series already: looking at them is cheaper.
                Some(_)
                    if m.op() != MatchOp::Equal && found.as_ref().is_some_and(|f| f.len() < 4) =>
                {
                    continue;
                }
                Some(_) => self.groups_of(m, read)?,
            };
            found = Some(match found {
                None => groups,
                Some(mut before) => {
                    before.retain(|g| groups.binary_search(g).is_ok());
                    before
                }
            });
            if found.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        Ok(found)
    }

    /// Groups with a value for which a matcher holds, ascending.
    fn groups_of(&self, m: &Matcher, read: &ReadPage<'_>) -> Result<Vec<u32>, BlockError> {
        let mut groups = Vec::new();
        let shape = match m.op() {
            MatchOp::Equal => Shape::Any(vec![m.value()]),
            MatchOp::Regex => shape_of(m.value()),
            MatchOp::NotEqual | MatchOp::NotRegex => Shape::Prefix(""),
        };
        match shape {
            Shape::Any(values) => {
                for value in values {
                    self.visit(m.name(), value, read, &mut |v, list| {
                        if v == value {
                            list.read(&mut groups)?;
                        }
                        Ok(v < value)
                    })?;
                }
            }
            Shape::Prefix(prefix) => {
                self.visit(m.name(), prefix, read, &mut |v, list| {
                    if v.starts_with(prefix) && m.matches(v) {
                        list.read(&mut groups)?;
                    }
                    Ok(v < prefix || v.starts_with(prefix))
                })?;
            }
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// Hands the values of `name` that are indexed to `visit`, in order, together with the
    /// groups that have them.
    pub(crate) fn values(
        &self,
        name: &str,
        read: &ReadPage<'_>,
        visit: &mut dyn FnMut(&str),
    ) -> Result<(), BlockError> {
        self.visit(name, "", read, &mut |value, _| {
            visit(value);
            Ok(true)
        })
    }

    /// From the page that would have `(name, from)` on; `visit` may see values before `from`,
    /// and says whether it wants more.
    fn visit(
        &self,
        name: &str,
        from: &str,
        read: &ReadPage<'_>,
        visit: &mut dyn FnMut(&str, &Groups<'_>) -> Result<bool, Malformed>,
    ) -> Result<(), BlockError> {
        let at = self
            .pages
            .partition_point(|p| (&*p.first.0, &*p.first.1) <= (name, from));
        for page in &self.pages[at.saturating_sub(1)..] {
            if &*page.first.0 > name {
                break;
            }
            let raw = read(&page.piece)?;
            let mut r = Reader::new(&raw);
            let mut current = "";
            while !r.is_empty() {
                if r.u8()? == 1 {
                    current = r.text()?;
                }
                let value = r.text()?;
                let list = Groups {
                    bytes: r.bytes()?,
                    all: self.groups,
                };
                if current == name && !visit(value, &list)? || current > name {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A list of groups as stored.
struct Groups<'a> {
    bytes: &'a [u8],
    all: u32,
}

impl Groups<'_> {
    fn read(&self, into: &mut Vec<u32>) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            into.extend(0..self.all);
            return Ok(());
        }
        let mut r = Reader::new(self.bytes);
        let mut at = 0_u64;
        while !r.is_empty() {
            at = at.checked_add(r.varint()?).ok_or(Malformed)?;
            if at >= self.all.into() {
                return Err(Malformed);
            }
            into.push(at as u32);
        }
        Ok(())
    }
}

/// What a regular expression says about the values it matches.
enum Shape<'a> {
    /// One of these, exactly.
    Any(Vec<&'a str>),
    /// They start so.
    Prefix(&'a str),
}

/// Characters that mean themselves in a regular expression.
fn is_literal(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_-/:@#%&=,;<>~!\"' ".contains(&b) || b >= 0x80
}

fn shape_of(pattern: &str) -> Shape<'_> {
    let bytes = pattern.as_bytes();
    let special = bytes.iter().position(|b| !is_literal(*b) && *b != b'|');
    match special {
        None => Shape::Any(pattern.split('|').collect()),
        // An alternative may start otherwise.
        Some(_) if bytes.contains(&b'|') => Shape::Prefix(""),
        Some(mut at) => {
            // The character before `?`, `*` or `{` may be absent.
            if at > 0 && b"?*{+".contains(&bytes[at]) {
                at -= 1;
                while !pattern.is_char_boundary(at) {
                    at -= 1;
                }
            }
            Shape::Prefix(&pattern[..at])
        }
    }
}

/// Gathers the index while groups are written.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    names: BTreeMap<String, Values>,
    groups: u32,
}

#[derive(Default)]
struct Values {
    /// Empty when there were too many.
    map: HashMap<Box<str>, List, RandomState>,
    too_many: bool,
}

struct List {
    count: u32,
    last: u32,
    bytes: Vec<u8>,
}

/// The pages, and what of the index goes into the footer (behind their pieces).
pub(crate) struct BuiltIndex {
    /// Content, and name and value of the first entry.
    pub(crate) pages: Vec<(Vec<u8>, (String, String))>,
    names: Vec<(String, u64)>,
}

impl IndexBuilder {
    /// Adds the next group; `pairs` are the labels of its series.
    pub(crate) fn add_group<'p>(&mut self, pairs: impl Iterator<Item = (&'p str, &'p str)>) {
        let group = self.groups;
        self.groups += 1;
        for (name, value) in pairs {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), Values::default());
            }
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            if values.too_many {
                continue;
            }
            if !values.map.contains_key(value) {
                if values.map.len() == VALUES_MAX {
                    values.too_many = true;
                    values.map = HashMap::default();
                    continue;
                }
                let list = List {
                    count: 0,
                    last: 0,
                    bytes: Vec::new(),
                };
                values.map.insert(Box::from(value), list);
            }
            if let Some(list) = values.map.get_mut(value) {
                put_varint(&mut list.bytes, (group - list.last).into());
                list.last = group;
                list.count += 1;
            }
        }
    }

    pub(crate) fn finish(self) -> BuiltIndex {
        let mut built = BuiltIndex {
            pages: Vec::new(),
            names: Vec::new(),
        };
        let mut page: Vec<u8> = Vec::new();
        let mut first: Option<(String, String)> = None;
        for (name, values) in self.names {
            built.names.push((name.clone(), values.map.len() as u64));
            let mut values: Vec<_> = values.map.into_iter().collect();
            values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (i, (value, list)) in values.into_iter().enumerate() {
                let named = i == 0 || first.is_none();
                page.push(u8::from(named));
                if named {
                    put_bytes(&mut page, name.as_bytes());
                }
                put_bytes(&mut page, value.as_bytes());
                let all = list.count == self.groups;
                put_bytes(&mut page, if all { &[] } else { &list.bytes });
                first.get_or_insert_with(|| (name.clone(), value.into_string()));
                if page.len() >= PAGE_BYTES
                    && let Some(first) = first.take()
                {
                    built.pages.push((std::mem::take(&mut page), first));
                }
            }
        }
        if let Some(first) = first {
            built.pages.push((page, first));
        }
        built
    }
}

impl BuiltIndex {
    /// Appends the footer's part, with the pieces where the pages are.
    pub(crate) fn put(&self, pieces: &[PieceRef], out: &mut Vec<u8>) {
        put_varint(out, pieces.len() as u64);
        for (piece, (_, first)) in pieces.iter().zip(&self.pages) {
            piece.put(out);
            put_bytes(out, first.0.as_bytes());
            put_bytes(out, first.1.as_bytes());
        }
        put_varint(out, self.names.len() as u64);
        for (name, values) in &self.names {
            put_bytes(out, name.as_bytes());
            put_varint(out, *values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Groups of two series each, `job` and `i`.
    fn index(groups: u32) -> (LabelIndex, Vec<Vec<u8>>) {
        let mut builder = IndexBuilder::default();
        for g in 0..groups {
            let (i, odd) = (format!("{g:05}"), format!("api-{}", g % 2));
            let pairs = [("all", "x"), ("i", &i), ("job", &odd)];
            builder.add_group(pairs.into_iter());
        }
        let built = builder.finish();
        let mut offset = 8;
        let piece = |(page, _): &(Vec<u8>, _)| {
            let bytes = page.len() as u32;
            let piece = PieceRef {
                offset,
                bytes,
                raw_bytes: bytes,
                crc: 0,
            };
            offset = piece.end();
            piece
        };
        let pieces: Vec<PieceRef> = built.pages.iter().map(piece).collect();
        let mut out = Vec::new();
        built.put(&pieces, &mut out);
        let index = LabelIndex::read(&mut Reader::new(&out), 8, groups).unwrap();
        (index, built.pages.into_iter().map(|p| p.0).collect())
    }

    #[track_caller]
    fn check(op: MatchOp, name: &str, pattern: &str, expect: impl Into<Option<Vec<u32>>>) {
        let (index, pages) = index(3000);
        assert!(pages.len() > 1);
        let read = |piece: &PieceRef| {
            let at = index.pages.iter().position(|p| p.piece == *piece).unwrap();
            Ok(Arc::new(pages[at].clone()))
        };
        let matchers = [Matcher::new(name, op, pattern).unwrap()];
        let found = index.candidates(&matchers, &read).ok().unwrap();
        assert_eq!(found, expect.into(), "{}", matchers[0]);
    }

    #[test]
    fn matchers_lead_to_groups() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        check(Equal, "i", "01234", Some(vec![1234]));
        check(Equal, "i", "absent", Some(vec![]));
        check(Equal, "absent", "x", Some(vec![]));
        check(Equal, "absent", "", None);
        check(NotEqual, "i", "01234", None);
        check(NotRegex, "i", "0.*", None);
        check(Regex, "i", "00001|02999|7", Some(vec![1, 2999]));
        check(Regex, "i", "0000.", Some((0..10).collect()));
        check(Regex, "i", "0000[12]?", Some(vec![1, 2]));
        check(Regex, "i", ".*999", Some(vec![999, 1999, 2999]));
        check(Regex, "i", "(00001|2)", Some(vec![1]));
        check(Regex, "i", "02?999", Some(vec![2999]));
        check(Regex, "i", "(0000)?1|.*", None);
        check(Regex, "all", "x+", Some((0..3000).collect()));
        check(NotEqual, "all", "", Some((0..3000).collect()));
        check(
            Equal,
            "job",
            "api-1",
            Some((0..3000).filter(|g| g % 2 == 1).collect()),
        );
    }

    #[test]
    fn values_are_listed_in_order() {
        let (index, pages) = index(3000);
        let read = |piece: &PieceRef| {
            let at = index.pages.iter().position(|p| p.piece == *piece).unwrap();
            Ok(Arc::new(pages[at].clone()))
        };
        let values = |name| {
            let mut values = Vec::new();
            let found = index.values(name, &read, &mut |v| values.push(v.to_owned()));
            assert!(found.is_ok());
            values
        };
        assert_eq!(values("job"), ["api-0", "api-1"]);
        assert_eq!(values("i").len(), 3000);
        assert!(values("i").is_sorted());
        assert_eq!(index.names().collect::<Vec<_>>(), ["all", "i", "job"]);
    }
}
