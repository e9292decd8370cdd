//! The key of pseudonyms: made on first start, kept in the data directory, readable by its owner
//! only. It is no part of a backup, so that whoever finds one cannot test his guesses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use scrub::PseudonymKey;

/// The file in the data directory.
pub(crate) const FILE: &str = "scrub.key";
/// Its first line. The key follows twice, in hexadecimal digits, each in a line.
const HEAD: &str = "stackwatch scrub key 1";
/// Where the kernel's random numbers come from.
const RANDOM: &str = "/dev/urandom";
/// Longer files are not read.
const FILE_BYTES_MAX: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrubKeyError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged. With another key, every pseudonym would change without a word.
    #[error(
        "{} is damaged: put back a copy of it, or remove it, and new pseudonyms begin",
        .0.display()
    )]
    Damaged(PathBuf),
}

/// The key of this data directory, made if there is none.
///
/// # Errors
/// When the file cannot be read or written, or is damaged.
pub(crate) fn load_or_make(dir: &Path) -> Result<PseudonymKey, ScrubKeyError> {
    if let Some(key) = load(dir)? {
        return Ok(key);
    }
    let path = dir.join(FILE);
    let failed = |source| ScrubKeyError::Io {
        path: path.clone(),
        source,
    };
    let bytes = random().map_err(failed)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let temporary = dir.join(format!("{FILE}.new"));
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        writeln!(file, "{HEAD}\n{digits}\n{digits}")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed)?;
    Ok(PseudonymKey::new(bytes))
}

/// The key of this data directory, if it has one.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub(crate) fn load(dir: &Path) -> Result<Option<PseudonymKey>, ScrubKeyError> {
    let path = dir.join(FILE);
    let mut text = String::new();
    let read =
        File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(ScrubKeyError::Damaged(path));
        }
        Err(source) => return Err(ScrubKeyError::Io { path, source }),
        Ok(_) => {}
    }
    decode(&text).map(Some).ok_or(ScrubKeyError::Damaged(path))
}

/// A key for this process only.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn passing() -> io::Result<PseudonymKey> {
    random().map(PseudonymKey::new)
}

fn random() -> io::Result<[u8; PseudonymKey::BYTES]> {
    let mut bytes = [0; PseudonymKey::BYTES];
    File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn decode(text: &str) -> Option<PseudonymKey> {
    let mut lines = text.lines();
    let (head, digits, again) = (lines.next()?, lines.next()?, lines.next()?);
    let whole = head == HEAD && digits == again && lines.next().is_none();
    if !whole || digits.len() != 2 * PseudonymKey::BYTES || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; PseudonymKey::BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(PseudonymKey::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        let key = load_or_make(dir.path()).unwrap();
        assert!(load_or_make(dir.path()).unwrap() == key);
        assert!(load(dir.path()).unwrap() == Some(key));
        let mode = fs::metadata(dir.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_or_make(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            &text[..text.len() / 2],
            &text.replacen('a', "b", 1),
            "",
            "\u{0}",
        ] {
            if damaged == text {
                continue;
            }
            fs::write(&path, damaged).unwrap();
            let said = load_or_make(dir.path()).unwrap_err().to_string();
            assert!(said.contains("scrub.key is damaged"), "{said}");
        }
    }
}
