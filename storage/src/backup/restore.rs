//! From a backup to a data directory.

use std::fs;
use std::io;
use std::path::Path;

use model::Timestamp;

use super::manifest::Manifest;
use super::{BackupError, CONTROL, copy_file, read_through, sync_dir, sync_tree};
use crate::lock;

/// Where the files are while not all of them are there, and the mark of that.
const TEMPORARY: &str = "restore.tmp";
/// What a backup has at its top besides the manifest.
const PARTS: [&str; 3] = [CONTROL, "logs", "metrics"];

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
/// nothing is linked to it. A restore that was interrupted is begun anew by the next, and the
/// store does not open what it left ([`is_unfinished`]).
///
/// # Errors
/// When the backup is incomplete or damaged, when the data directory is in use or holds
/// anything, and when the disk refuses.
pub fn restore(backup: &Path, data_dir: &Path) -> Result<RestoreReport, BackupError> {
    let manifest = Manifest::read(backup)?;
    // Before much is read, and before a lock file comes among somebody's files.
    check_empty(data_dir)?;
    let mut report = RestoreReport {
        taken: manifest.taken,
        files: 0,
        bytes: 0,
    };
    for file in &manifest.files {
        let path = backup.join(&file.name);
        let (_, crc) = read_through(&path, Some(file.bytes), &mut io::sink())?;
        if crc != file.crc {
            return Err(BackupError::damaged(
                &path,
                "wrong checksum: it changed after the backup was made; nothing was restored",
            ));
        }
        report.files += 1;
        report.bytes += file.bytes;
    }
    let is_new = !data_dir.exists();
    let lock = lock::acquire(data_dir)?;
    // Somebody may have used it meanwhile.
    check_empty(data_dir)?;
    let done = fill(backup, data_dir, &manifest);
    if done.is_err() {
        // The mark goes last: while it is there, all the rest is ours.
        if clear(data_dir).is_ok() {
            let _ = fs::remove_dir_all(data_dir.join(TEMPORARY));
        }
        if is_new {
            let _ = fs::remove_file(data_dir.join("LOCK"));
            let _ = fs::remove_dir(data_dir);
        }
    }
    drop(lock);
    done.map(|()| report)
}

/// Whether a restore into this directory began and did not end. What is there is not all.
pub(crate) fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(TEMPORARY).exists()
}

/// Makes sure that nobody's data are there; those of a restore that did not end are nobody's.
fn check_empty(data_dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(data_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(BackupError::io("read", data_dir))?,
    };
    for entry in entries {
        let name = entry
            .map_err(BackupError::io("read", data_dir))?
            .file_name();
        let is_left_over = is_unfinished(data_dir) && PARTS.iter().any(|part| name == *part);
        if name != "LOCK" && name != "lost+found" && name != TEMPORARY && !is_left_over {
            return Err(BackupError::NotEmpty {
                dir: data_dir.to_owned(),
                hint: ": restore into an empty data directory",
            });
        }
    }
    Ok(())
}

/// Removes what has been moved to its place; only while the mark is there.
fn clear(data_dir: &Path) -> Result<(), BackupError> {
    for part in PARTS {
        let path = data_dir.join(part);
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io("remove", &path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn fill(backup: &Path, data_dir: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let temporary = data_dir.join(TEMPORARY);
    if is_unfinished(data_dir) {
        clear(data_dir)?;
        fs::remove_dir_all(&temporary).map_err(BackupError::io("remove", &temporary))?;
    }
    fs::create_dir(&temporary).map_err(BackupError::io("create", &temporary))?;
    sync_dir(data_dir)?;
    for file in &manifest.files {
        copy_file(backup, &temporary, file)?;
    }
    sync_tree(&temporary)?;
    for part in PARTS {
        let from = temporary.join(part);
        if from.exists() {
            let moved = fs::rename(&from, data_dir.join(part));
            moved.map_err(BackupError::io("rename", &from))?;
        }
    }
    sync_dir(data_dir)?;
    // Now it is a data directory.
    fs::remove_dir_all(&temporary).map_err(BackupError::io("remove", &temporary))?;
    sync_dir(data_dir)
}
