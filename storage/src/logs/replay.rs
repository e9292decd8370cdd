//! Frame files and write-ahead log, read back at the start.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::Labels;

use super::file::{self, FrameFile, FrameRef};
use super::frame::Header;
use super::state::{IndexedFile, Stream};
use super::wal_record::{self, FORGET, LINES, POSITIONS};
use crate::bytes::Malformed;
use crate::disk::{Disk, number_in, quarantine};
use crate::health::Watch;
use crate::telemetry::FileKind;

/// Collects what frames cover and what the log adds.
#[derive(Default)]
pub(super) struct Replay {
    /// Per stream the first and last sequence number of its frames.
    pub(super) covered: HashMap<Labels, Vec<(u64, u64)>, RandomState>,
    pub(super) segment: u64,
    /// Of each segment the number that its first line has at least.
    pub(super) starts: VecDeque<(u64, u64)>,
    pub(super) numbers: HashMap<u32, Labels, RandomState>,
    pub(super) streams: HashMap<Labels, Stream, RandomState>,
    pub(super) positions: BTreeMap<String, Vec<u8>>,
    pub(super) next_seq: u64,
    pub(super) lines: u64,
}

impl Replay {
    pub(super) fn record(
        &mut self,
        segment: u64,
        record_type: u8,
        payload: &[u8],
    ) -> Result<i64, Malformed> {
        if segment != self.segment {
            self.segment = segment;
            self.numbers.clear();
        }
        match record_type {
            POSITIONS => {
                let (next_seq, positions) = wal_record::decode_positions(payload)?;
                self.next_seq = self.next_seq.max(next_seq);
                self.positions = positions;
                self.starts.push_back((segment, next_seq));
            }
            FORGET => {
                let source = std::str::from_utf8(payload).map_err(|_| Malformed)?;
                self.positions.remove(source);
            }
            LINES => self.lines(wal_record::decode_lines(payload)?)?,
            _ => return Err(Malformed),
        }
        Ok(self.next_seq as i64 - 1)
    }

    fn lines(&mut self, record: wal_record::Lines) -> Result<(), Malformed> {
        if let Some(labels) = record.definition {
            self.numbers.insert(record.stream, labels);
        }
        // Else its definition was in a damaged record. The position must not advance without
        // the lines: they will be read again.
        let labels = self.numbers.get(&record.stream).ok_or(Malformed)?;
        if let Some((source, position)) = record.position {
            self.positions.insert(source, position);
        }
        let covered = self.covered.get(labels).map_or(&[][..], Vec::as_slice);
        let mut seq = record.first_seq;
        for entry in record.entries {
            let is_covered = covered.iter().any(|(a, b)| (*a..=*b).contains(&seq));
            if !is_covered {
                let stream = self.streams.entry(labels.clone()).or_default();
                stream.push(seq, entry);
                self.lines += 1;
            }
            seq = seq.checked_add(1).ok_or(Malformed)?;
        }
        self.next_seq = self.next_seq.max(seq);
        Ok(())
    }
}

pub(super) fn open_files(
    disk: &dyn Disk,
    watch: &Watch,
    dir: &Path,
    verify_from: u64,
    replay: &mut Replay,
) -> io::Result<(Vec<IndexedFile>, u64)> {
    let mut files = Vec::new();
    let mut next_number = 1;
    let mut names: HashSet<Labels, RandomState> = HashSet::default();
    for entry in disk.list(dir)? {
        let Some(day) = file::day_from_name(&entry.name).filter(|_| entry.is_dir) else {
            continue;
        };
        let day_dir = dir.join(&entry.name);
        let entries = match disk.list(&day_dir) {
            Ok(entries) => entries,
            Err(e) => {
                watch.unreadable(FileKind::Frames, &day_dir, &e);
                continue;
            }
        };
        for entry in entries {
            let path = day_dir.join(&entry.name);
            let number = number_in(&entry.name);
            next_number = next_number.max(number.map_or(0, |n| n + 1));
            if number.is_some() && entry.name.ends_with(".tmp") {
                // A crash came before it took the place of the file of its number.
                let _ = disk.remove(&path);
                continue;
            }
            if !entry.name.ends_with(".frames") {
                continue;
            }
            let opened = disk.open(&path).and_then(|file| {
                let mut file = FrameFile {
                    path,
                    file,
                    day,
                    is_packed: false,
                };
                let holds = file.check_header()?;
                Ok((file, holds))
            });
            let (file, holds) = match opened {
                Ok(opened) => opened,
                Err(e) => {
                    watch.unreadable(FileKind::Frames, &day_dir.join(&entry.name), &e);
                    continue;
                }
            };
            if !holds && let Some(version) = file.other_version() {
                let what = "files of log lines";
                watch.other_format(what, version, &file.path);
                continue;
            }
            if !holds {
                watch.corrupt(FileKind::Frames, &file.path, "header");
                quarantine(disk, &file.path);
                continue;
            }
            let (mut frames, mut last_seq) = (Vec::new(), 0);
            let scanned = file.scan(watch, verify_from, &mut |header: &Header, offset| {
                if !names.contains(&header.labels) {
                    names.insert(header.labels.clone());
                }
                let labels = names.get(&header.labels).unwrap_or(&header.labels).clone();
                replay.next_seq = replay.next_seq.max(header.last_seq.saturating_add(1));
                if header.last_seq >= verify_from {
                    let covered = replay.covered.entry(labels.clone()).or_default();
                    covered.push((header.first_seq, header.last_seq));
                }
                last_seq = last_seq.max(header.last_seq);
                frames.push(FrameRef::new(header, labels, offset));
            });
            match scanned {
                Ok(bytes) => files.push(IndexedFile {
                    file: Arc::new(file),
                    bytes,
                    frames,
                    last_seq,
                    is_closed: false,
                }),
                Err(e) => watch.corrupt(FileKind::Frames, &file.path, e),
            }
        }
    }
    Ok((files, next_number))
}
