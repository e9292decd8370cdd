//! What is known to be missing, told beside every answer that lacks it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Gap, Missing, TimeRange, Timestamp};

use super::block::{Block, bounds_in_header};
use crate::disk::{Disk, quarantined};
use crate::health::Watch;
use crate::telemetry::FileKind;

/// The files of blocks that are there and not read, or not in full: as many as the directory has.
#[derive(Default)]
pub(crate) struct Gaps(Mutex<Vec<KnownGap>>);

struct KnownGap {
    /// Of the block; the file may have been set aside since.
    path: PathBuf,
    gap: Gap,
}

impl Gaps {
    /// Nothing of a block is read, or the part of it that was damaged has been left out. `bounds`
    /// are the first instant and the end (exclusive) of its samples, where they are known.
    pub(crate) fn add(&self, path: &Path, why: &str, bounds: Option<(i64, i64)>) {
        let gap = Gap {
            what: format!("block {} {why}", name_of(path)),
            range: bounds.map(|(start, end)| range_of(start, end.saturating_sub(1))),
        };
        let path = path.to_owned();
        self.lock().push(KnownGap { path, gap });
    }

    /// Tells of those that a look-up in `range` may lack something of.
    pub(crate) fn tell(&self, range: TimeRange, missing: &Missing) {
        for KnownGap { gap, .. } in self.lock().iter() {
            if gap.range.is_none_or(|r| r.overlaps(&range)) {
                missing.note(gap.clone());
            }
        }
    }

    /// Forgets those whose files are gone: somebody has seen to them.
    pub(crate) fn retain(&self, is_there: impl Fn(&Path) -> bool) {
        let is_left =
            |known: &KnownGap| is_there(&known.path) || is_there(&quarantined(&known.path));
        self.lock().retain(is_left);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<KnownGap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the header of a block that cannot be opened says of the time of its samples.
pub(crate) fn bounds_of(disk: &dyn Disk, path: &Path) -> Option<(i64, i64)> {
    let file = disk.open(path).ok()?;
    bounds_in_header(file.as_ref()).ok()
}

/// Where a reader reports damage.
pub(crate) struct Damage {
    pub(crate) watch: Arc<Watch>,
    /// Told beside the answer.
    pub(crate) missing: Option<Arc<Missing>>,
}

impl Damage {
    /// A piece of a block is passed over; with it go samples between these two instants, both
    /// inclusive. `None`: nothing is lost.
    pub(crate) fn found(&self, block: &Block, what: &'static str, lost: Option<(i64, i64)>) {
        self.watch.corrupt(FileKind::Block, &block.path, what);
        if let (Some(missing), Some((first, last))) = (&self.missing, lost) {
            missing.note(Gap {
                what: format!("block {} is damaged ({what})", name_of(&block.path)),
                range: Some(range_of(first, last)),
            });
        }
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn range_of(first: i64, last: i64) -> TimeRange {
    let at = Timestamp::from_millis;
    TimeRange::new(at(first), at(last))
}

#[cfg(test)]
mod tests {
    use model::{Hints, ReadBounds, Samples, Selection};

    use super::*;
    use crate::Config;
    use crate::disk::faulty::FaultyDisk;
    use crate::metrics::MetricStore;
    use crate::metrics::tests::{at, batch, open_as};

    const HOUR: i64 = 3_600_000;

    fn open(disk: &FaultyDisk) -> MetricStore {
        open_as(disk, &Config::default())
    }

    /// Two blocks of two hours each.
    fn filled() -> (FaultyDisk, Vec<PathBuf>) {
        let disk = FaultyDisk::default();
        let store = open(&disk);
        for t in (0..4 * HOUR).step_by(60_000) {
            store
                .append(&batch([(1, t, 1.0), (2, t, 2.0)]), at(t))
                .unwrap();
        }
        store.maintain(at(5 * HOUR));
        let mut blocks = disk.files();
        blocks.retain(|p| p.extension().is_some_and(|e| e == "blk"));
        assert_eq!(blocks.len(), 2);
        (disk, blocks)
    }

    fn flip(disk: &FaultyDisk, path: &Path, place: usize) {
        let mut content = disk.content(path);
        content[place] ^= 1;
        disk.set_content(path, &content);
    }

    /// What is told to somebody who reads these hours.
    fn told(store: &MetricStore, hours: std::ops::Range<i64>) -> Vec<(String, Option<(i64, i64)>)> {
        let missing = Arc::new(Missing::default());
        let bounds = ReadBounds {
            missing: Some(Arc::clone(&missing)),
            ..ReadBounds::default()
        };
        let selection = Selection {
            range: range_of(hours.start * HOUR, hours.end * HOUR - 1),
            matchers: &[],
            hints: Hints::default(),
        };
        for mut series in store.select_within(&selection, &bounds).unwrap() {
            while series.cursor.next_run(&mut Samples::default()).unwrap() {}
        }
        let range = |r: TimeRange| (r.start.millis(), r.end.millis());
        let gaps = missing.gaps().into_iter();
        gaps.map(|g| (g.what, g.range.map(range))).collect()
    }

    #[test]
    fn a_block_that_was_set_aside_is_told_to_those_who_ask_for_its_time_while_its_file_is_there() {
        let (disk, blocks) = filled();
        // In the footer.
        flip(&disk, &blocks[0], disk.content(&blocks[0]).len() - 30);
        let what = "block 0000000001.blk is set aside as damaged".to_owned();
        for _ in 0..2 {
            let store = open(&disk);
            store.drop_vanished();
            let expect = vec![(what.clone(), Some((0, 2 * HOUR - 1)))];
            assert_eq!(told(&store, 1..3), expect);
            assert_eq!(told(&store, 2..4), []);
            let missing = Arc::new(Missing::default());
            let bounds = ReadBounds {
                missing: Some(Arc::clone(&missing)),
                ..ReadBounds::default()
            };
            store
                .series_within(&[], range_of(0, HOUR), &bounds)
                .unwrap();
            store.label_names(&[], range_of(0, HOUR), &bounds).unwrap();
            assert_eq!(missing.gaps().len(), 1);
        }
        let store = open(&disk);
        disk.remove(&quarantined(&blocks[0])).unwrap();
        store.drop_vanished();
        assert_eq!(told(&store, 0..4), []);
    }

    #[test]
    fn damage_that_a_query_meets_is_told_to_it() {
        let (disk, blocks) = filled();
        flip(&disk, &blocks[1], super::super::block::HEADER_BYTES + 8);
        let store = open(&disk);
        assert_eq!(told(&store, 0..2), []);
        let what = "block 0000000002.blk is damaged (frame)".to_owned();
        let lost = Some((2 * HOUR, 4 * HOUR - 60_000));
        assert_eq!(told(&store, 1..3), [(what, lost)]);
    }

    #[test]
    fn of_what_time_the_samples_were_may_be_unknown() {
        let (disk, blocks) = filled();
        flip(&disk, &blocks[0], 0);
        disk.set_readable(&blocks[1], false);
        let store = open(&disk);
        let gaps = told(&store, 9..10);
        let whats: Vec<&str> = gaps.iter().map(|g| &*g.0).collect();
        assert_eq!(
            whats,
            [
                "block 0000000001.blk is set aside as damaged",
                "block 0000000002.blk cannot be read"
            ]
        );
        assert!(gaps.iter().all(|g| g.1.is_none()));
    }
}
