//! How far a file has been read, and by what the file is known again.

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How much of a file's beginning tells it from others.
pub(super) const HEAD_BYTES: u64 = 1024;
/// How much before the position tells that the file is still what it was.
pub(super) const TAIL_BYTES: u64 = 256;

const VERSION: u8 = 1;
/// Flag: the position is within a line whose beginning was handed on.
const INSIDE: u8 = 1;

/// What is stored beside the lines of a file. The kernel gives the number of a file that was removed
/// to the next one, and a file may be emptied and written again: so what was read counts as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) inode: u64,
    /// Bytes handed on.
    pub(super) offset: u64,
    /// Whether the rest of the line there is left out.
    pub(super) inside: bool,
    /// When, nanoseconds since the epoch.
    pub(super) at_ns: i64,
    pub(super) prints: Prints,
    /// Its name when it was first seen.
    pub(super) path: PathBuf,
}

/// Hashes of the first [`HEAD_BYTES`] before the position and the last [`TAIL_BYTES`], of fewer bytes
/// when there are no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prints {
    head: u128,
    tail: u128,
}

impl Prints {
    /// Of what a file holds before `offset`; `None` when it is shorter.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(file: &File, offset: u64) -> io::Result<Option<Prints>> {
        let hash = |from: u64, to: u64| -> io::Result<u128> {
            let mut bytes = vec![0; (to - from) as usize];
            file.read_exact_at(&mut bytes, from)?;
            Ok(fnv(&bytes))
        };
        let read = || {
            Ok(Prints {
                head: hash(0, offset.min(HEAD_BYTES))?,
                tail: hash(offset.saturating_sub(TAIL_BYTES), offset)?,
            })
        };
        match read() {
            Ok(prints) => Ok(Some(prints)),
            Err(e) if io::Error::kind(&e) == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl Position {
    /// Whether this is how far a file was read that holds now what `file` holds.
    pub(super) fn is_of(&self, file: &File) -> bool {
        matches!(Prints::of(file, self.offset), Ok(Some(prints)) if prints == self.prints)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, if self.inside { INSIDE } else { 0 }];
        bytes.extend_from_slice(&self.inode.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.at_ns.to_le_bytes());
        bytes.extend_from_slice(&self.prints.head.to_le_bytes());
        bytes.extend_from_slice(&self.prints.tail.to_le_bytes());
        bytes.extend_from_slice(self.path.as_os_str().as_bytes());
        bytes
    }

    /// `None` when another version wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (flags, rest) = rest.split_first()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (at_ns, rest) = rest.split_first_chunk()?;
        let (head, rest) = rest.split_first_chunk()?;
        let (tail, path) = rest.split_first_chunk()?;
        Some(Position {
            inode: u64::from_le_bytes(*inode),
            offset: u64::from_le_bytes(*offset),
            inside: flags & INSIDE != 0,
            at_ns: i64::from_le_bytes(*at_ns),
            prints: Prints {
                head: u128::from_le_bytes(*head),
                tail: u128::from_le_bytes(*tail),
            },
            path: std::ffi::OsString::from_vec(path.to_vec()).into(),
        })
    }
}

/// FNV-1a with 128 bits. It is stored, so it must never change.
fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_encoding() {
        let position = Position {
            inode: 7,
            offset: u64::MAX,
            inside: true,
            at_ns: -1,
            prints: Prints { head: 1, tail: 2 },
            path: "/var/log/a.log".into(),
        };
        let bytes = position.encode();
        assert_eq!(Position::decode(&bytes), Some(position));
        assert_eq!(Position::decode(&bytes[..50]), None);
        assert_eq!(Position::decode(b"\x02"), None);
    }

    #[test]
    fn a_file_is_known_by_what_was_read_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            File::open(&path).unwrap()
        };
        let long = "line\n".repeat(1000);
        let before = Prints::of(&open(&long), 4000).unwrap();
        assert_eq!(
            Prints::of(&open(&(long.clone() + "more")), 4000).unwrap(),
            before
        );
        let other_head = format!("LINE\n{}", &long[5..]);
        assert_ne!(Prints::of(&open(&other_head), 4000).unwrap(), before);
        let other_tail = format!("{}LINE\n{}", &long[..3990], &long[3995..]);
        assert_ne!(Prints::of(&open(&other_tail), 4000).unwrap(), before);
        assert_eq!(Prints::of(&open("short"), 4000).unwrap(), None);
    }
}
