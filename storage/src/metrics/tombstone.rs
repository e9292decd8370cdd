//! Deletions that blocks do not know yet. Bytes: `docs/formats/block.md`.
//!
//! A deletion is written down once, as matchers and a range; readers leave out what it covers
//! at once, and blocks are rewritten without it in the background. It holds for blocks with
//! smaller numbers than the one it names: what is written later, under a larger number, has
//! been written without the deleted samples or came after the deletion.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Labels, Matcher, TimeRange, Timestamp};

use super::matcher_bytes::{put_matchers, read_matchers};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::disk::Disk;
use crate::format::version_in;

const MAGIC: [u8; 4] = *b"SWTB";
const VERSION: u16 = 1;
/// Magic and version.
pub(crate) const FORMAT: ([u8; 4], u16) = (MAGIC, VERSION);
/// Deletions that may wait for their rewrite. Every reader looks at all of them.
pub(crate) const TOMBSTONES_MAX: usize = 1000;

/// One deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// Blocks with smaller numbers are meant.
    pub(crate) below: u64,
    /// First and last instant deleted, in milliseconds.
    pub(crate) range: (i64, i64),
    /// All must hold.
    pub(crate) matchers: Vec<Matcher>,
}

/// Why a file says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Damaged,
    /// It is of this version of the format.
    OtherFormat(u16),
}

/// The file beside the blocks.
pub(crate) fn tombstones_path(blocks_dir: &Path) -> PathBuf {
    blocks_dir.join("tombstones")
}

/// Reads the file; none when there is no such name.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Result<Vec<Tombstone>, Unread>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(e) => {
            let is_absent = e.kind() == io::ErrorKind::NotFound && !is_named(disk, path)?;
            return if is_absent {
                Ok(Ok(Vec::new()))
            } else {
                Err(e)
            };
        }
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    file.read_at(&mut bytes, 0)?;
    Ok(decode(&bytes).map_err(|Malformed| {
        let version = version_in(&bytes, MAGIC, VERSION);
        version.map_or(Unread::Damaged, Unread::OtherFormat)
    }))
}

/// Whether its directory lists it: a link may lead nowhere.
fn is_named(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let Some(dir) = path.parent() else {
        return Ok(false);
    };
    let names = disk.list(dir)?;
    Ok(names.iter().any(|e| path.ends_with(&e.name)))
}

/// Replaces the file; durable when it returns.
pub(crate) fn write(disk: &dyn Disk, path: &Path, tombstones: &[Tombstone]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    file.write_at(&encode(tombstones), 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
}

fn encode(tombstones: &[Tombstone]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&u32::from(VERSION).to_le_bytes());
    put_varint(&mut out, tombstones.len() as u64);
    for t in tombstones {
        put_varint(&mut out, t.below);
        put_signed(&mut out, t.range.0);
        put_signed(&mut out, t.range.1);
        put_matchers(&mut out, &t.matchers);
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<Vec<Tombstone>, Malformed> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return Err(Malformed);
    }
    let mut r = Reader::new(content);
    if r.array::<4>()? != MAGIC || r.u32()? != u32::from(VERSION) {
        return Err(Malformed);
    }
    let count = r.count(4)?;
    let mut tombstones = Vec::with_capacity(count);
    for _ in 0..count {
        let below = r.varint()?;
        let range = (r.signed()?, r.signed()?);
        tombstones.push(Tombstone {
            below,
            range,
            matchers: read_matchers(&mut r)?,
        });
    }
    Ok(tombstones)
}

impl Tombstone {
    /// Whether a block may hold what it deletes.
    pub(crate) fn concerns(&self, number: u64, range: TimeRange) -> bool {
        let at = Timestamp::from_millis;
        let deleted = TimeRange::new(at(self.range.0), at(self.range.1));
        number < self.below && deleted.overlaps(&range)
    }
}

/// How long which series are kept: the first rule that matches decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeepRules {
    pub(crate) rules: Vec<(Vec<Matcher>, Duration)>,
    /// For everything else. `None` where the age of the block alone decides.
    pub(crate) otherwise: Option<Duration>,
}

impl KeepRules {
    /// The rule that decides about a series.
    pub(crate) fn rule_of(&self, labels: &Labels) -> Option<usize> {
        let matches = |rule: &(Vec<Matcher>, _)| rule.0.iter().all(|m| m.matches_labels(labels));
        self.rules.iter().position(matches)
    }

    fn keep(&self, labels: &Labels) -> Option<Duration> {
        match self.rule_of(labels) {
            Some(rule) => Some(self.rules[rule].1),
            None => self.otherwise,
        }
    }
}

/// What must be left out of a block: deletions, and what is too old for its rule.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    pub(crate) tombstones: Vec<Tombstone>,
    pub(crate) keep: KeepRules,
    pub(crate) now: Timestamp,
}

impl Cuts {
    /// The ranges to leave out of a series of block `number`, ascending and apart.
    pub(crate) fn of(&self, labels: &Labels, number: u64) -> Vec<(i64, i64)> {
        let mut ranges = deleted(&self.tombstones, labels, number);
        if let Some(keep) = self.keep.keep(labels) {
            let cutoff = self.now.minus(keep).millis();
            ranges.push((i64::MIN, cutoff.saturating_sub(1)));
        }
        join(ranges)
    }
}

/// The ranges deleted from a series of block `number`, ascending and apart.
pub(crate) fn deleted(tombstones: &[Tombstone], labels: &Labels, number: u64) -> Vec<(i64, i64)> {
    let concerned = tombstones
        .iter()
        .filter(|t| number < t.below && t.matchers.iter().all(|m| m.matches_labels(labels)));
    join(concerned.map(|t| t.range).collect())
}

/// Sorted, overlapping ones made one.
pub(crate) fn join(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.retain(|r| r.0 <= r.1);
    ranges.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.0 <= last.1.saturating_add(1) => last.1 = last.1.max(range.1),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MatchOp;
    use proptest::prelude::*;

    #[test]
    fn tombstones_come_back() {
        let tombstones = vec![Tombstone {
            below: 9,
            range: (i64::MIN, 7),
            matchers: vec![
                Matcher::equal("a", "b"),
                Matcher::new("c", MatchOp::NotRegex, "d|e").unwrap(),
            ],
        }];
        let mut bytes = encode(&tombstones);
        assert_eq!(decode(&bytes).ok(), Some(tombstones));
        bytes[12] ^= 1;
        assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_an_absent_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = tombstones_path(dir.path());
        let none = read(&crate::disk::RealDisk, &path).unwrap();
        assert_eq!(none.ok(), Some(Vec::new()));
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(read(&crate::disk::RealDisk, &path).is_err());
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let keep = KeepRules {
            rules: vec![
                (vec![Matcher::equal("job", "a")], hours(50)),
                (
                    vec![Matcher::new("job", MatchOp::Regex, "a|b").unwrap()],
                    hours(1),
                ),
            ],
            otherwise: Some(hours(10)),
        };
        let now = Timestamp::from_millis(100 * 3_600_000);
        let cuts = Cuts {
            tombstones: Vec::new(),
            keep,
            now,
        };
        let end = |job: &str| cuts.of(&Labels::from_pairs([("job", job)]), 1)[0].1;
        assert_eq!(end("a"), 50 * 3_600_000 - 1);
        assert_eq!(end("b"), 99 * 3_600_000 - 1);
        assert_eq!(end("c"), 90 * 3_600_000 - 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut content = MAGIC.to_vec();
            content.extend_from_slice(&u32::from(VERSION).to_le_bytes());
            content.append(&mut bytes);
            let crc = crc32fast::hash(&content);
            content.extend_from_slice(&crc.to_le_bytes());
            let _ = decode(&content);
        }

        #[test]
        fn joined_ranges_cover_the_same(
            ranges in prop::collection::vec((0_i64..30, 0_i64..30), 0..6),
        ) {
            let joined = join(ranges.clone());
            for t in 0..30 {
                let inside = |r: &[(i64, i64)]| r.iter().any(|r| r.0 <= t && t <= r.1);
                prop_assert_eq!(inside(&ranges), inside(&joined));
            }
            prop_assert!(joined.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
