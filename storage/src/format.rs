//! Files of formats that this version does not read: a newer or an older one wrote them, and they
//! are as good as ever for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::DiskFile;

/// Magic and version, with which every file begins.
const BEGINNING_BYTES: usize = 6;

/// Why nothing of such a file is read.
pub(crate) const NOT_READ: &str = "is of a format that this version does not read";

/// Of a file that does not begin as it should: the version of its format, when that is another
/// than `ours`.
pub(crate) fn other_version(file: &dyn DiskFile, magic: [u8; 4], ours: u16) -> Option<u16> {
    let mut beginning = [0; BEGINNING_BYTES];
    file.read_at(&mut beginning, 0).ok()?;
    version_in(&beginning, magic, ours)
}

/// As [`other_version`], of the first bytes.
pub(crate) fn version_in(beginning: &[u8], magic: [u8; 4], ours: u16) -> Option<u16> {
    let rest = beginning.strip_prefix(&magic)?;
    let version = u16::from_le_bytes(*rest.first_chunk()?);
    // None has the number 0: what was never written is zeros.
    (version != ours && version != 0).then_some(version)
}

/// Those that were met. They stay where they are, and retention does not know them.
#[derive(Default)]
pub(crate) struct OtherFormats {
    /// By what they hold and their version: how many, and the first.
    files: BTreeMap<(&'static str, u16), (u64, PathBuf)>,
}

impl OtherFormats {
    /// `what` they hold, in the plural.
    pub(crate) fn add(&mut self, what: &'static str, version: u16, path: &Path) {
        let files = self.files.entry((what, version));
        files.or_insert_with(|| (0, path.to_owned())).0 += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.files.values().map(|(count, _)| count).sum()
    }

    /// For health and for who copies what there is; `None` when there are none.
    pub(crate) fn text(&self) -> Option<String> {
        let (_, first) = self.files.values().next()?;
        let kinds: Vec<String> = self
            .files
            .iter()
            .map(|((what, version), (count, _))| format!("{count} {what} of format {version}"))
            .collect();
        let (files, are) = match self.count() {
            1 => ("file", "is"),
            _ => ("files", "are"),
        };
        Some(format!(
            "{} {files} {are} of a format that this version does not read ({}, the first is {}): \
             nothing in there is answered, and it is left as it is; start the version that wrote \
             it, or import an export of it",
            self.count(),
            kinds.join(", "),
            first.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_version_behind_the_right_magic_is_another_format() {
        let magic = *b"ABCD";
        for (beginning, expect) in [
            (&b"ABCD\x03\x00"[..], Some(3)),
            (b"ABCD\x05\x01", Some(0x105)),
            (b"ABCD\x04\x00", None),
            (b"ABCD\x00\x00", None),
            (b"ABCE\x03\x00", None),
            (b"ABCD\x03", None),
            (b"", None),
        ] {
            assert_eq!(version_in(beginning, magic, 4), expect, "{beginning:?}");
        }
    }

    #[test]
    fn all_are_told_in_one_line() {
        let mut others = OtherFormats::default();
        assert_eq!(others.text(), None);
        others.add("blocks", 3, Path::new("/a"));
        others.add("log segments", 7, Path::new("/c"));
        others.add("blocks", 3, Path::new("/b"));
        let text = others.text().unwrap();
        let begins = "3 files are of a format that this version does not read (2 blocks of format \
                      3, 1 log segments of format 7, the first is /a): ";
        assert!(text.starts_with(begins), "{text}");
    }
}
