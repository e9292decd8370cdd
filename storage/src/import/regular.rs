//! Files that a person names, opened only when they are files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a regular file to read.
///
/// # Errors
/// When it cannot be opened, and at once when it is something else: opening a pipe would wait for
/// somebody who writes to it.
pub fn open_regular(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::prometheus::PrometheusBlock;

    fn pipe(path: &Path) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["file", "link", "fifo", "socket"];
        let [file, link, fifo, socket] = names.map(|name| dir.path().join(name));
        fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        pipe(&fifo);
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(open_regular(&file).is_ok() && open_regular(&link).is_ok());
        for path in [&*fifo, &*socket, dir.path(), Path::new("/dev/null")] {
            let error = open_regular(path).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{}", path.display());
        }
        assert!(open_regular(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_pipe_among_the_files_of_a_block_of_prometheus_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        pipe(&dir.path().join("index"));
        let error = PrometheusBlock::open(dir.path()).err().unwrap().to_string();
        assert!(error.ends_with("it is not a regular file"), "{error}");
    }
}
