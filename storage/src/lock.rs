//! The lock that keeps a second process out of the data directory.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use crate::OpenError;

/// Holds the lock until dropped; the system releases it when the process dies.
pub(crate) struct DirLock {
    _file: File,
}

/// Makes `dir`, checks that it can be read and written, and locks it.
pub(crate) fn acquire(dir: &Path) -> Result<DirLock, OpenError> {
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io {
            operation,
            path,
            source,
        }
    };
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    fs::read_dir(dir).map_err(failed("read", dir))?;
    let path = dir.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("write", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
            });
        }
        Err(TryLockError::Error(e)) => return Err(failed("lock", &path)(e)),
    }
    // Says who, for a person who finds the file; nobody reads it. A full disk is no reason
    // not to start, so a failure is ignored.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(&file, "SWLK1 pid {}", std::process::id()));
    Ok(DirLock { _file: file })
}
