//! The disk as this crate uses it: positioned reads and writes, explicit syncs.
//!
//! The trait exists for tests: [`faulty`] is a disk in memory that runs full, fails and
//! forgets what was not synced at a power cut.

#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzz targets use a part of it"))]
#[expect(clippy::unwrap_used, reason = "it serves tests and fuzz targets only")]
pub(crate) mod faulty;

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without its directory.
    pub(crate) name: String,
    /// Bytes; 0 for a directory.
    pub(crate) bytes: u64,
    /// Whether it is a directory.
    pub(crate) is_dir: bool,
    /// When it was last written to, in milliseconds since the epoch; 0 when not known.
    pub(crate) modified_ms: i64,
}

/// Room on the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes an ordinary user may still write.
    pub(crate) free: u64,
    /// Bytes in all.
    pub(crate) total: u64,
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`; a failed call may have written a part.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `into` from `offset`, or fails.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    /// Returns once the content would survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Its length.
    fn len(&self) -> io::Result<u64>;
}

/// A file system. Names are absolute or relative to the process, as given.
pub(crate) trait Disk: Send + Sync {
    /// A new, empty file; an old one of that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, to read and, where it may be written, to write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Moves a name, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory with its parents, durably.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Room on the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// The operating system's.
pub(crate) struct RealDisk;

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let opened = fs::OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => fs::File::open(path)?,
            opened => opened?,
        };
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let new: Vec<&Path> = path.ancestors().take_while(|p| !p.is_dir()).collect();
        fs::create_dir_all(path).map_err(|e| naming(path, &e))?;
        // What is synced in a directory is lost with its name.
        for parent in new.iter().filter_map(|dir| dir.parent()) {
            let here = parent.as_os_str().is_empty();
            let parent = if here { Path::new(".") } else { parent };
            // One that may be written but not read cannot be synced.
            if let Ok(parent) = fs::File::open(parent) {
                parent.sync_all()?;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| naming(dir, &e))? {
            let entry = entry?;
            // A name may vanish between the listing and the look at it.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: if about.is_dir() { 0 } else { about.len() },
                is_dir: about.is_dir(),
                modified_ms: about.mtime().saturating_mul(1000),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let s = rustix::fs::statvfs(dir)?;
        Ok(Space {
            free: s.f_bavail.saturating_mul(s.f_frsize),
            total: s.f_blocks.saturating_mul(s.f_frsize),
        })
    }
}

/// An error that says where: who reports it may know the directory above only.
fn naming(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// Numbers of our files are below: what counts on from one of them still has ten digits.
const NUMBERS_END: u64 = 9_000_000_000;

/// The number in the name of one of our files, ten digits before the first dot. Others put
/// files with larger numbers there, and counting on from those would end.
pub(crate) fn number_in(name: &str) -> Option<u64> {
    let (digits, _) = name.split_once('.')?;
    let ours = digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit());
    let number = ours.then(|| digits.parse().ok()).flatten();
    number.filter(|n| *n < NUMBERS_END)
}

/// Renames a bad file to `<name>.corrupt` so that nobody reads it again but a person.
/// Gives the new name.
pub(crate) fn quarantine(disk: &dyn Disk, path: &Path) -> PathBuf {
    let to = quarantined(path);
    if let Err(error) = disk.rename(path, &to) {
        tracing::warn!(path = %path.display(), %error, "cannot set a damaged file aside");
    }
    to
}

/// The name of a file that was set aside.
pub(crate) fn quarantined(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".corrupt");
    PathBuf::from(name)
}

/// All bytes of the files under `dir`, any depth. Unreadable parts count as empty.
pub(crate) fn bytes_under(disk: &dyn Disk, dir: &Path) -> u64 {
    let Ok(entries) = disk.list(dir) else {
        return 0;
    };
    entries
        .iter()
        .map(|e| match e.is_dir {
            true => bytes_under(disk, &dir.join(&e.name)),
            false => e.bytes,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_with_their_parents_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        for _ in 0..2 {
            RealDisk.create_dir(&path).unwrap();
            assert!(path.is_dir());
        }
        fs::write(path.join("file"), "").unwrap();
        assert!(RealDisk.create_dir(&path.join("file/d")).is_err());
    }

    #[test]
    fn only_names_of_ours_have_numbers() {
        for (name, number) in [
            ("0000000012.wal", Some(12)),
            ("0000000012.blk.corrupt", Some(12)),
            ("18446744073709551615.wal", None),
            ("8999999999.wal", Some(8_999_999_999)),
            ("9999999999.wal", None),
            ("12.wal", None),
            ("+000000012.wal", None),
            ("0000000012", None),
        ] {
            assert_eq!(number_in(name), number, "{name}");
        }
    }
}
