//! From a backup to a data directory.

use std::fs;
use std::io;
use std::path::Path;

use model::Timestamp;

use super::manifest::Manifest;
use super::{BackupError, copy_file, read_through, sync_dir, sync_tree};
use crate::lock;

/// Where the files are while not all of them are there.
const TEMPORARY: &str = "restore.tmp";

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// When the backup was made.
    pub taken: Timestamp,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Fills the empty or absent data directory `data_dir` from `backup`. Every file is checked
/// before anything is written, and again while it is copied; the backup stays as it is, and
/// nothing is linked to it. A restore that was interrupted is begun anew by the next.
///
/// # Errors
/// When the backup is incomplete or damaged, when the data directory is in use or holds
/// anything, and when the disk refuses.
pub fn restore(backup: &Path, data_dir: &Path) -> Result<RestoreReport, BackupError> {
    let manifest = Manifest::read(backup)?;
    let mut report = RestoreReport {
        taken: manifest.taken,
        files: 0,
        bytes: 0,
    };
    for file in &manifest.files {
        let path = backup.join(&file.name);
        let (_, crc) = read_through(&path, Some(file.bytes), &mut io::sink())?;
        if crc != file.crc {
            return Err(BackupError::damaged(&path, "wrong checksum"));
        }
        report.files += 1;
        report.bytes += file.bytes;
    }
    let is_new = !data_dir.exists();
    let lock = lock::acquire(data_dir)?;
    let done = fill(backup, data_dir, &manifest);
    if done.is_err() {
        let _ = fs::remove_dir_all(data_dir.join(TEMPORARY));
        if is_new {
            let _ = fs::remove_file(data_dir.join("LOCK"));
            let _ = fs::remove_dir(data_dir);
        }
    }
    drop(lock);
    done.map(|()| report)
}

fn fill(backup: &Path, data_dir: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    for entry in fs::read_dir(data_dir).map_err(BackupError::io("read", data_dir))? {
        let entry = entry.map_err(BackupError::io("read", data_dir))?;
        let name = entry.file_name();
        if name != "LOCK" && name != "lost+found" && name != TEMPORARY {
            return Err(BackupError::NotEmpty {
                dir: data_dir.to_owned(),
                hint: ": restore into an empty data directory",
            });
        }
    }
    let temporary = data_dir.join(TEMPORARY);
    match fs::remove_dir_all(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::io("remove", &temporary)(e));
        }
        _ => {}
    }
    fs::create_dir(&temporary).map_err(BackupError::io("create", &temporary))?;
    for file in &manifest.files {
        copy_file(backup, &temporary, file)?;
    }
    sync_tree(&temporary)?;
    // A few renames; metrics last, the largest part.
    for name in ["control.bak", "logs", "metrics"] {
        let from = temporary.join(name);
        if from.exists() {
            let moved = fs::rename(&from, data_dir.join(name));
            moved.map_err(BackupError::io("rename", &from))?;
        }
    }
    fs::remove_dir_all(&temporary).map_err(BackupError::io("remove", &temporary))?;
    sync_dir(data_dir)
}
