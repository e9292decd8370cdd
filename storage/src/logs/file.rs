//! A file of frames, appended to during its day and packed anew after it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Labels;

use super::frame::{self, Header, Lengths, PREFIX_BYTES};
use super::frame_read::{Frame, Scratch, Wanted};
use super::scan::Loaded;
use crate::disk::DiskFile;
use crate::format::other_version;
use crate::health::Watch;
use crate::telemetry::FileKind;

/// A file is not appended to beyond this; retention removes whole files.
pub(crate) const FILE_BYTES: u64 = 64 << 20;

const MAGIC: [u8; 4] = *b"SWLF";
const VERSION: u16 = 2;
/// What bytes 6 and 7 say of a file that was packed anew.
const PACKED: u16 = 1;
/// Magic and version.
pub(crate) const FORMAT: ([u8; 4], u16) = (MAGIC, VERSION);
pub(crate) const HEADER_BYTES: u64 = 8;
const NS_PER_DAY: i64 = 86_400_000_000_000;
/// Read at once when looking for the next good frame behind a damaged one.
const SEARCH_BYTES: usize = 64 << 10;

/// An open file.
pub(crate) struct FrameFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Days since the epoch.
    pub(crate) day: i64,
    /// It was packed anew: nothing is appended to it.
    pub(crate) is_packed: bool,
}

/// A frame's entry in the index in memory.
#[derive(Clone, Debug)]
pub(crate) struct FrameRef {
    pub(crate) labels: Labels,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) offset: u32,
    /// All of it.
    pub(crate) bytes: u32,
    /// Texts after decompression.
    pub(crate) raw_bytes: u32,
    pub(crate) lines: u32,
    /// Header and filter, when it has a filter; else 0.
    pub(crate) lead_bytes: u32,
    /// The texts, which are its end.
    pub(crate) texts_bytes: u32,
}

impl FrameRef {
    /// Whether some of its lines may have such an instant.
    pub(super) fn is_within(&self, start_ns: i64, end_ns: i64) -> bool {
        self.min_ns < end_ns && self.max_ns >= start_ns
    }

    /// `labels` may be shared with other frames'.
    pub(crate) fn new(header: &Header, labels: Labels, offset: u32) -> FrameRef {
        let lengths = &header.lengths;
        let lead_bytes = match lengths.filter {
            0 => 0,
            filter => lengths.header + filter,
        };
        FrameRef {
            labels,
            min_ns: header.min_ns,
            max_ns: header.max_ns,
            offset,
            bytes: lengths.total() as u32,
            lead_bytes,
            texts_bytes: lengths.texts,
            raw_bytes: header.raw_texts_bytes,
            lines: header.lines,
        }
    }
}

/// What the beginning of every file says.
pub(crate) fn file_header(is_packed: bool) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[6..].copy_from_slice(&(u16::from(is_packed) * PACKED).to_le_bytes());
    header
}

/// The UTC day of an instant, as days since the epoch.
pub(crate) fn day_of(at_ns: i64) -> i64 {
    at_ns.div_euclid(NS_PER_DAY)
}

/// The name of a day's directory, `2026-11-21`.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub(crate) fn day_name(day: i64) -> String {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}")
}

/// The inverse of [`day_name`].
pub(crate) fn day_from_name(name: &str) -> Option<i64> {
    let mut parts = name.splitn(3, '-').map(str::parse::<i64>);
    let (y, m, d) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let day = era * 146_097 + doe - 719_468;
    (day_name(day) == name).then_some(day)
}

impl FrameFile {
    /// Whether the file starts as it should; it is then known whether it was packed anew.
    pub(crate) fn check_header(&mut self) -> io::Result<bool> {
        let mut header = [0; HEADER_BYTES as usize];
        if self.file.len()? < HEADER_BYTES {
            return Ok(false);
        }
        self.file.read_at(&mut header, 0)?;
        self.is_packed = header == file_header(true);
        Ok(self.is_packed || header == file_header(false))
    }

    /// The version of its format, when that is another one.
    pub(crate) fn other_version(&self) -> Option<u16> {
        other_version(self.file.as_ref(), MAGIC, VERSION)
    }

    /// Hands every good frame to `found` and gives the length of the file up to the last one.
    /// Payloads are checked from sequence number `verify_from` on: older ones were synced
    /// long ago and are checked when read.
    pub(crate) fn scan(
        &self,
        watch: &Watch,
        verify_from: u64,
        found: &mut dyn FnMut(&Header, u32),
    ) -> io::Result<u64> {
        let len = self.file.len()?.min(u64::from(u32::MAX));
        let mut at = HEADER_BYTES;
        let mut good_end = HEADER_BYTES;
        let mut damaged_from = None;
        while at < len {
            match self.frame_at(at, len, verify_from)? {
                Some((header, whole)) => {
                    if let Some(from) = damaged_from.take() {
                        let what = format_args!("{} bytes from byte {from} on", at - from);
                        watch.corrupt(FileKind::Frames, &self.path, what);
                    }
                    if whole {
                        found(&header, at as u32);
                    } else {
                        let what = format_args!("frame at byte {at}");
                        watch.corrupt(FileKind::Frames, &self.path, what);
                    }
                    at += header.lengths.total();
                    good_end = at;
                }
                None => {
                    damaged_from.get_or_insert(at);
                    match self.next_magic(at + 1, len)? {
                        Some(next) => at = next,
                        None => break,
                    }
                }
            }
        }
        if good_end < len {
            watch.torn(FileKind::Frames, &self.path, len - good_end);
            // When this fails, the next frame overwrites it or it is found again.
            let _ = self.file.set_len(good_end);
        }
        Ok(good_end)
    }

    /// The header at `at` if it is good and its frame ends within the file, and whether all of the
    /// frame is good (taken for granted below `verify_from`).
    pub(super) fn frame_at(
        &self,
        at: u64,
        len: u64,
        verify_from: u64,
    ) -> io::Result<Option<(Header, bool)>> {
        if at + PREFIX_BYTES as u64 > len {
            return Ok(None);
        }
        let mut bytes = vec![0; PREFIX_BYTES];
        self.file.read_at(&mut bytes, at)?;
        let Some(lengths) = Lengths::read(&bytes) else {
            return Ok(None);
        };
        if at + lengths.total() > len {
            return Ok(None);
        }
        bytes.resize(lengths.header as usize, 0);
        self.file.read_at(&mut bytes, at)?;
        let Ok(header) = Header::decode(&bytes) else {
            return Ok(None);
        };
        if header.last_seq < verify_from {
            return Ok(Some((header, true)));
        }
        bytes.resize(lengths.total() as usize, 0);
        self.file.read_at(&mut bytes, at)?;
        let whole = header.holds_for(&bytes);
        Ok(Some((header, whole)))
    }

    pub(super) fn next_magic(&self, from: u64, len: u64) -> io::Result<Option<u64>> {
        let finder = memchr::memmem::Finder::new(&frame::MAGIC);
        let mut at = from;
        let mut buffer = Vec::new();
        while at + frame::MAGIC.len() as u64 <= len {
            let want = (len - at).min(SEARCH_BYTES as u64) as usize;
            buffer.resize(want, 0);
            self.file.read_at(&mut buffer, at)?;
            if let Some(found) = finder.find(&buffer) {
                return Ok(Some(at + found as u64));
            }
            // The magic may lie across the border.
            at += (want - (frame::MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }

    /// Reads and checks what is wanted of a frame.
    pub(super) fn read(
        &self,
        frame: &FrameRef,
        wanted: &Wanted<'_>,
        scratch: &mut Scratch,
    ) -> io::Result<Loaded> {
        let mut has_bad_filter = false;
        if frame.lead_bytes > 0
            && let Some(sieve) = wanted.sieve
        {
            let Some(header) = self.fetch(frame, frame.lead_bytes, scratch)? else {
                return Ok(Loaded::Damaged);
            };
            match Frame::may_have(&header, &scratch.bytes, sieve) {
                Ok(true) => {}
                Ok(false) => return Ok(Loaded::Unwanted),
                Err(_) => has_bad_filter = true,
            }
        }
        let texts_bytes = match wanted.no_texts && wanted.sieve.is_none() {
            true => frame.texts_bytes,
            false => 0,
        };
        for bytes in [frame.bytes - texts_bytes, frame.bytes] {
            let Some(header) = self.fetch(frame, bytes, scratch)? else {
                return Ok(Loaded::Damaged);
            };
            match Frame::decode(&header, scratch, wanted) {
                Ok(Some(mut lines)) => {
                    lines.has_bad_filter = has_bad_filter;
                    return Ok(Loaded::Lines(lines));
                }
                Ok(None) => {}
                Err(_) => return Ok(Loaded::Damaged),
            }
        }
        Ok(Loaded::Damaged)
    }

    /// Puts the first bytes of a frame into `scratch`; gives its header, unless that is damaged.
    fn fetch(
        &self,
        frame: &FrameRef,
        bytes: u32,
        scratch: &mut Scratch,
    ) -> io::Result<Option<Header>> {
        scratch.bytes.resize(bytes as usize, 0);
        match self.file.read_at(&mut scratch.bytes, frame.offset.into()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        Ok(Header::decode(&scratch.bytes).ok())
    }
}

/// Where a file of a day goes.
pub(crate) fn file_path(dir: &Path, day: i64, number: u64) -> PathBuf {
    dir.join(day_name(day)).join(format!("{number:010}.frames"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_calendar_names() {
        for (day, name) in [
            (0, "1970-01-01"),
            (19_782, "2024-02-29"),
            (20_778, "2026-11-21"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(day_name(day), name);
            assert_eq!(day_from_name(name), Some(day));
        }
        for bad in ["wal", "2024-13-01", "2023-02-29", "2024-1-1", ""] {
            assert_eq!(day_from_name(bad), None, "{bad}");
        }
        let (first, last) = (day_of(i64::MIN), day_of(i64::MAX));
        assert_eq!(day_from_name(&day_name(first)), Some(first));
        assert_eq!(day_from_name(&day_name(last)), Some(last));
    }
}
