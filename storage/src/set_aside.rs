//! Damaged files that were set aside and are still there.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, number_in};

/// A file that nobody reads any more but a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// When it was last written to, in milliseconds since the epoch.
    pub(crate) modified_ms: i64,
}

/// Those under the data directory, oldest first. What cannot be listed counts as empty.
pub(crate) fn find(disk: &dyn Disk, dir: &Path) -> Vec<SetAside> {
    let logs = dir.join("logs");
    let of_logs = disk.list(&logs).unwrap_or_default();
    let of_logs = of_logs.iter().filter(|e| e.is_dir);
    let mut places = vec![
        dir.to_owned(),
        dir.join("metrics/blocks"),
        dir.join("metrics/wal"),
    ];
    places.extend(of_logs.map(|e| logs.join(&e.name)));
    let mut found = Vec::new();
    for place in places {
        for entry in disk.list(&place).unwrap_or_default() {
            if is_ours(&entry.name) && !entry.is_dir {
                found.push(SetAside {
                    path: place.join(&entry.name),
                    bytes: entry.bytes,
                    modified_ms: entry.modified_ms,
                });
            }
        }
    }
    found.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
    found
}

/// For health; `None` when there are none.
pub(crate) fn report(found: &[SetAside]) -> Option<String> {
    let newest = found.last()?;
    let bytes: u64 = found.iter().map(|f| f.bytes).sum();
    let (files, were) = match found.len() {
        1 => ("file", "was"),
        _ => ("files", "were"),
    };
    Some(format!(
        "{} damaged {files} ({bytes} bytes) {were} set aside, the newest is {}: nothing in there is \
         answered; remove what you do not want to look at",
        found.len(),
        newest.path.display()
    ))
}

fn is_ours(name: &str) -> bool {
    let known = ["control.redb", "tombstones"];
    let of = name.strip_suffix(".corrupt");
    of.is_some_and(|of| known.contains(&of) || number_in(of).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    #[test]
    fn only_what_was_set_aside_by_us_is_found() {
        let disk = FaultyDisk::default();
        let dir = Path::new("/data");
        for path in [
            "control.redb.corrupt",
            "notes.corrupt",
            "metrics/blocks/0000000003.blk.corrupt",
            "metrics/blocks/0000000004.blk",
            "metrics/blocks/tombstones.corrupt",
            "metrics/wal/0000000001.wal.corrupt",
            "logs/wal/0000000002.wal.corrupt",
            "logs/2026-11-21/0000000005.frames.corrupt",
            "snapshots/a/metrics/blocks/0000000003.blk.corrupt",
        ] {
            let path = dir.join(path);
            disk.create_dir(path.parent().unwrap()).unwrap();
            disk.create(&path).unwrap().write_at(b"12345", 0).unwrap();
        }
        let found = find(&disk, dir);
        let names: Vec<&str> = found
            .iter()
            .map(|f| f.path.strip_prefix(dir).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "control.redb.corrupt",
                "logs/2026-11-21/0000000005.frames.corrupt",
                "logs/wal/0000000002.wal.corrupt",
                "metrics/blocks/0000000003.blk.corrupt",
                "metrics/blocks/tombstones.corrupt",
                "metrics/wal/0000000001.wal.corrupt",
            ]
        );
        let text = report(&found).unwrap();
        assert!(
            text.starts_with("6 damaged files (30 bytes) were"),
            "{text}"
        );
        assert_eq!(report(&[]), None);
    }
}
