//! Why the store could not be opened or written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why [`crate::Storage::open`] gave up. Damaged files are no reason: they are set aside.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("data directory {} is in use by another stackwatch process", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is something else of that name.
    #[error("data directory {} is not a directory", dir.display())]
    NotADirectory {
        /// What was named.
        dir: PathBuf,
    },
    /// A restore into it was interrupted: what is there is not all of the backup.
    #[error(
        "a restore into {} was interrupted: run it again, or remove what it left there",
        dir.display()
    )]
    Restoring {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, read or written.
    #[error("data directory: cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, e.g. `create`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why something could not be stored. Nothing of the refused batch was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// No space is left on the device. Try again later: the store recovers by itself.
    #[error("disk full: cannot {operation} {}", path.display())]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The disk failed otherwise.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// One batch is larger than a record may be.
    #[error("batch of {bytes} bytes exceeds the limit of {bytes_max} bytes")]
    BatchTooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Streams with lines in memory are as many as there may be.
    #[error(
        "more than {streams_max} log streams at a time: new ones are refused until others are quiet for some minutes; labels that differ from line to line belong into the line or its structured metadata"
    )]
    TooManyStreams {
        /// The limit.
        streams_max: usize,
    },
    /// The labels of all streams that are stored take as much memory as they may.
    #[error(
        "the labels of all log streams stored take {bytes_max} bytes: new streams are refused until retention has removed old ones; labels that differ from line to line belong into the line or its structured metadata"
    )]
    TooManyLabels {
        /// The limit.
        bytes_max: usize,
    },
    /// Lines wait in memory because frames cannot be written; the source must wait too.
    #[error("log lines wait for the disk: {bytes} bytes in memory")]
    LogsWaiting {
        /// Bytes in memory.
        bytes: u64,
    },
}

impl WriteError {
    /// Whether a sender of lines has brought it about, by too many streams.
    #[must_use]
    pub fn is_of_sender(&self) -> bool {
        matches!(
            self,
            WriteError::TooManyStreams { .. } | WriteError::TooManyLabels { .. }
        )
    }

    /// A sync below `dir` failed earlier, and what it was about is not durable yet.
    pub(crate) fn sync_before(dir: &Path) -> Self {
        let e = io::Error::other("an earlier sync failed and its data wait in memory");
        WriteError::from_io("sync", dir, e)
    }

    /// From what the disk said about `operation` on `path`.
    pub(crate) fn from_io(operation: &'static str, path: impl Into<PathBuf>, e: io::Error) -> Self {
        let path = path.into();
        if e.kind() == io::ErrorKind::StorageFull || e.kind() == io::ErrorKind::QuotaExceeded {
            WriteError::DiskFull { operation, path }
        } else {
            WriteError::Io {
                operation,
                path,
                source: Arc::new(e),
            }
        }
    }
}
