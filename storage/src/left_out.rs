//! What lies in a data directory and is neither read nor part of a copy of it.

use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::format::{OtherFormats, other_version};
use crate::set_aside;
use crate::{logs, metrics, wal};

/// Files told by name; further ones are counted.
const NAMED_MAX: usize = 20;

/// Files that were set aside as damaged, and those of formats that this version does not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub files: u64,
    /// What to tell an operator about them; 22 lines at most.
    pub lines: Vec<String>,
}

impl LeftOut {
    /// Looks for them in a data directory, which may be in use. What cannot be read counts as
    /// empty.
    #[must_use]
    pub fn of(dir: &Path) -> LeftOut {
        let mut left_out = LeftOut::set_aside(&RealDisk, dir);
        let others = other_formats(&RealDisk, dir);
        left_out.files += others.count();
        left_out.lines.extend(others.text());
        left_out
    }

    /// Those only that were set aside, the newest first.
    pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path) -> LeftOut {
        let found = set_aside::find(disk, dir);
        let named = found.iter().rev().take(NAMED_MAX).map(|f| {
            let (path, bytes) = (f.path.display(), f.bytes);
            format!("{path} ({bytes} bytes) was set aside as damaged: nothing in there is read")
        });
        let mut lines: Vec<String> = named.collect();
        if let Some(more @ 1..) = found.len().checked_sub(NAMED_MAX) {
            lines.push(format!("{more} more files were set aside as damaged"));
        }
        LeftOut {
            files: found.len() as u64,
            lines,
        }
    }
}

fn other_formats(disk: &dyn Disk, dir: &Path) -> OtherFormats {
    let mut found = OtherFormats::default();
    let mut look = |place: &Path, ending: &str, what, magic, ours| {
        for entry in disk.list(place).unwrap_or_default() {
            let path = place.join(&entry.name);
            let is_one = entry.name.ends_with(ending) && !entry.is_dir;
            let file = is_one.then(|| disk.open(&path).ok()).flatten();
            if let Some(version) = file.and_then(|f| other_version(f.as_ref(), magic, ours)) {
                found.add(what, version, &path);
            }
        }
    };
    let (magic, ours) = metrics::BLOCK_FORMAT;
    let blocks = dir.join("metrics/blocks");
    look(&blocks, ".blk", "blocks", magic, ours);
    let (magic, ours) = metrics::TOMBSTONES_FORMAT;
    look(&blocks, "tombstones", "lists of deletions", magic, ours);
    let (magic, ours) = wal::FORMAT;
    for log in ["metrics/wal", "logs/wal"] {
        look(&dir.join(log), ".wal", "log segments", magic, ours);
    }
    let (magic, ours) = logs::FILE_FORMAT;
    let days = disk.list(&dir.join("logs")).unwrap_or_default();
    for day in days.iter().filter(|e| e.is_dir) {
        let day = dir.join("logs").join(&day.name);
        look(&day, ".frames", "files of log lines", magic, ours);
    }
    found
}
