//! The lines in a data directory's files, read beside whoever has it open: nothing is locked,
//! written, cut or set aside.

use std::io;
use std::path::Path;

use model::{Labels, LogEntry};

use super::file::{self, FrameFile, FrameRef, HEADER_BYTES};
use super::frame_read::Scratch;
use super::pack::ALL;
use super::scan::Loaded;
use crate::disk::{Disk, RealDisk};

/// What reading the files of lines came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Files that were read.
    pub files: u64,
    /// Places in them that are damaged.
    pub damaged: u64,
    /// Files that could not be read.
    pub unreadable: u64,
}

/// Hands every line that is in a file of `dir` to `visit`, day by day, file by file and, within one,
/// in the order in which frames were written; one frame is in memory at a time. Lines that a
/// running stackwatch still has in memory are not in files: those of an hour at most. Files of
/// other formats are none of ours ([`crate::LeftOut`] names them).
///
/// # Errors
/// When `dir` has no log files because it cannot be read.
pub fn read_log_files(
    dir: &Path,
    visit: &mut dyn FnMut(&Labels, &LogEntry),
) -> io::Result<LogFiles> {
    read_files(&RealDisk, &dir.join("logs"), visit)
}

fn read_files(
    disk: &dyn Disk,
    dir: &Path,
    visit: &mut dyn FnMut(&Labels, &LogEntry),
) -> io::Result<LogFiles> {
    let mut done = LogFiles::default();
    for entry in disk.list(dir)? {
        let Some(day) = file::day_from_name(&entry.name).filter(|_| entry.is_dir) else {
            continue;
        };
        let day_dir = dir.join(&entry.name);
        // Retention may have removed it meanwhile.
        for entry in disk.list(&day_dir).unwrap_or_default() {
            if !entry.name.ends_with(".frames") {
                continue;
            }
            let path = day_dir.join(&entry.name);
            let read = disk.open(&path).and_then(|file| {
                let mut file = FrameFile {
                    path,
                    file,
                    day,
                    is_packed: false,
                };
                match file.check_header()? {
                    true => read_file(&file, visit).map(Some),
                    false => Ok(None),
                }
            });
            match read {
                Ok(Some(damaged)) => {
                    done.files += 1;
                    done.damaged += damaged;
                }
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => done.unreadable += 1,
            }
        }
    }
    Ok(done)
}

/// Gives the number of damaged places. What is not whole at the end is being written.
fn read_file(file: &FrameFile, visit: &mut dyn FnMut(&Labels, &LogEntry)) -> io::Result<u64> {
    let len = file.file.len()?.min(u64::from(u32::MAX));
    let mut scratch = Scratch::new()?;
    let mut damaged = 0;
    let mut at = HEADER_BYTES;
    let mut entry = LogEntry {
        at_ns: 0,
        line: String::new(),
        metadata: Labels::default(),
    };
    while at < len {
        // Its payload is checked when it is read.
        let Some((header, _)) = file.frame_at(at, len, u64::MAX)? else {
            let Some(next) = file.next_magic(at + 1, len)? else {
                break;
            };
            damaged += 1;
            at = next;
            continue;
        };
        let frame = FrameRef::new(&header, header.labels.clone(), at as u32);
        match file.read(&frame, &ALL, &mut scratch)? {
            Loaded::Lines(lines) => {
                for row in &lines.rows {
                    lines.fill(row, &mut entry);
                    visit(&frame.labels, &entry);
                }
            }
            _ => damaged += 1,
        }
        at += u64::from(frame.bytes);
    }
    Ok(damaged)
}
