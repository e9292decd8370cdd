//! Files that somebody else may have put where a file is expected.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a file for reading that must be a regular one, as all of procfs and sysfs are. A pipe would
/// be waited for until somebody writes to it, which may be never.
///
/// # Errors
/// When it cannot be opened, or is a folder, a pipe, a socket or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        )),
    }
}

#[cfg(test)]
pub(crate) fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        make_pipe(&pipe);
        for other in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            let error = open(other).unwrap_err().to_string();
            assert_eq!(error, "is not a regular file", "{}", other.display());
        }
        let mut text = String::new();
        open(Path::new("/proc/self/stat"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(!text.is_empty());
    }
}
