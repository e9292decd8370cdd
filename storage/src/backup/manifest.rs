//! The list of a backup's files with their lengths and checksums: what makes it a backup.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use model::Timestamp;

use super::{BackupError, sync_dir, write_durably};

/// The manifest's name.
pub(super) const NAME: &str = "BACKUP";
/// While it is written.
pub(super) const TEMPORARY: &str = "BACKUP.tmp";
const FIRST_LINE: &str = "stackwatch backup 1";
/// A longer one is not believed.
const BYTES_MAX: u64 = 256 << 20;

/// What is in a backup.
pub(super) struct Manifest {
    /// When it was begun.
    pub(super) taken: Timestamp,
    pub(super) files: Vec<Listed>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Relative to the backup.
    pub(super) name: PathBuf,
    /// How many of its bytes belong to the backup: a file that is linked may have grown since.
    pub(super) bytes: u64,
    /// CRC-32 of these.
    pub(super) crc: u32,
}

impl Manifest {
    pub(super) fn new(taken: Timestamp) -> Manifest {
        Manifest {
            taken,
            files: Vec::new(),
        }
    }

    /// Writes it into `dir`; the backup is complete once this returns.
    pub(super) fn write(&self, dir: &Path) -> Result<(), BackupError> {
        let temporary = dir.join(TEMPORARY);
        write_durably(&temporary, self.encode().as_bytes())?;
        let path = dir.join(NAME);
        fs::rename(&temporary, &path).map_err(BackupError::io("rename", &temporary))?;
        sync_dir(dir)
    }

    /// Reads that of `dir`.
    pub(super) fn read(dir: &Path) -> Result<Manifest, BackupError> {
        let path = dir.join(NAME);
        let len = match fs::metadata(&path) {
            Ok(about) => about.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound && dir.is_dir() => {
                return Err(BackupError::damaged(
                    dir,
                    format!("not a complete backup: it has no file {NAME}, which is written last"),
                ));
            }
            Err(e) => return Err(BackupError::io("read the backup", dir)(e)),
        };
        if len > BYTES_MAX {
            return Err(BackupError::damaged(&path, "too large"));
        }
        let text = fs::read(&path).map_err(BackupError::io("read", &path))?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(Manifest::decode)
            .ok_or_else(|| BackupError::damaged(&path, "wrong checksum or unknown version"))
    }

    fn encode(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("{FIRST_LINE}\ntaken {}\n", self.taken.millis());
        for file in &self.files {
            let name = file.name.display();
            // Writing to a string does not fail.
            let _ = writeln!(text, "file {:08x} {} {name}", file.crc, file.bytes);
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "end {crc:08x}");
        text
    }

    fn decode(text: &str) -> Option<Manifest> {
        let (body, end) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = &text[..=body.len()];
        let crc = u32::from_str_radix(end.strip_prefix("end ")?, 16).ok()?;
        if crc != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let taken = lines.next()?.strip_prefix("taken ")?.parse().ok()?;
        let mut manifest = Manifest::new(Timestamp::from_millis(taken));
        for line in lines {
            let mut words = line.strip_prefix("file ")?.splitn(3, ' ');
            let crc = u32::from_str_radix(words.next()?, 16).ok()?;
            let bytes = words.next()?.parse().ok()?;
            let name = PathBuf::from(words.next()?);
            let stays_inside = name.components().all(|c| matches!(c, Component::Normal(_)));
            if !stays_inside {
                return None;
            }
            manifest.files.push(Listed { name, bytes, crc });
        }
        Some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> Manifest {
        Manifest {
            taken: Timestamp::from_millis(1_700_000_000_000),
            files: vec![Listed {
                name: PathBuf::from(name),
                bytes: 12,
                crc: 0xdead_beef,
            }],
        }
    }

    #[test]
    fn a_manifest_reads_back() {
        let text = manifest("metrics/blocks/a file").encode();
        let read = Manifest::decode(&text).unwrap();
        assert_eq!(read.files, manifest("metrics/blocks/a file").files);
        assert_eq!(read.taken.millis(), 1_700_000_000_000);
    }

    #[test]
    fn a_changed_or_cut_manifest_is_none() {
        let text = manifest("metrics/a").encode();
        for cut in 0..text.len() {
            assert!(Manifest::decode(&text[..cut]).is_none(), "{cut}");
        }
        assert!(Manifest::decode(&text.replace("12 ", "13 ")).is_none());
    }

    #[test]
    fn names_cannot_lead_out_of_the_backup() {
        for name in ["../x", "/etc/passwd", "metrics/../../x", "."] {
            assert!(
                Manifest::decode(&manifest(name).encode()).is_none(),
                "{name}"
            );
        }
    }
}
