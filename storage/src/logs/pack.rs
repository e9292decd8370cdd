//! Files of days that are over, packed anew: larger frames, compressed harder, with filters of
//! their words. One file at a time, a step at each maintenance.
//!
//! What was made takes the place of its source by a rename, under the same name: whenever the
//! process ends, the one or the other is there, whole, and the left-over is a temporary file that
//! the next start removes. Who reads goes on with the file that was there.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use model::{Direction, Timestamp};
use zstd::bulk::Compressor;

use super::file::{self, FrameFile, FrameRef, HEADER_BYTES};
use super::frame::{FrameBuilder, Header};
use super::frame_read::{Scratch, Wanted};
use super::merge::Window;
use super::scan::Loaded;
use super::state::IndexedFile;
use super::{LogStore, WRITE_BYTES};
use crate::disk::{Disk, DiskFile};
use crate::error::WriteError;
use crate::telemetry::FileKind;

/// Text and metadata in a frame, about. Larger ones compress a little better, and a query holds one of each
/// stream.
const TEXT_BYTES: usize = 512 << 10;
/// Some tenth smaller than at the level of the day, for several times the work.
const ZSTD_LEVEL: i32 = 6;
/// Read in one step: some tenths of a second of work between two maintenances.
const STEP_BYTES: u64 = 8 << 20;
/// A day is over so long after its end: late lines come until then.
const GRACE_MS: i64 = 2 * 3600 * 1000;
const DAY_MS: i64 = 86_400_000;
/// Maintenances without a new attempt after one that failed: ten minutes.
const PAUSE: u32 = 60;
/// The topic in health.
const TOPIC: &str = "logs packing";

/// Everything of a frame, in the order of reception.
pub(super) const ALL: Wanted<'_> = Wanted {
    window: Window {
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        direction: Direction::Forward,
    },
    sieve: None,
    no_texts: false,
};

/// What is under way.
#[derive(Default)]
pub(super) struct Packer {
    job: Option<Job>,
    /// Maintenances to wait for.
    pause: u32,
    /// Files with damage: they stay as they are, so that nothing more is lost.
    damaged: HashSet<PathBuf>,
}

#[cfg(test)]
impl Packer {
    pub(super) fn set_job(&mut self, job: Job) {
        self.job = Some(job);
    }

    pub(super) fn pause_no_longer(&mut self) {
        self.pause = 0;
    }
}

/// One file on its way.
pub(super) struct Job {
    source: Arc<FrameFile>,
    /// Its frames stream by stream, each stream's in the order of reception.
    frames: Vec<FrameRef>,
    next: usize,
    builder: FrameBuilder,
    temporary: PathBuf,
    output: Arc<dyn DiskFile>,
    /// Written so far.
    written: u64,
    /// To be written next.
    unwritten: Vec<u8>,
    made: Vec<FrameRef>,
    last_seq: u64,
}

/// How a step ended.
enum Step {
    More,
    Done,
    /// The frame at this byte cannot be read.
    Damaged(u32),
}

impl Job {
    fn begin(
        disk: &dyn Disk,
        source: Arc<FrameFile>,
        mut frames: Vec<FrameRef>,
    ) -> io::Result<Job> {
        frames.sort_by(|a, b| a.labels.cmp(&b.labels).then(a.offset.cmp(&b.offset)));
        let temporary = source.path.with_extension("tmp");
        Ok(Job {
            output: disk.create(&temporary)?,
            temporary,
            source,
            frames,
            next: 0,
            builder: FrameBuilder::with_filter(),
            written: 0,
            unwritten: file::file_header(true).to_vec(),
            made: Vec::new(),
            last_seq: 0,
        })
    }

    fn step(&mut self, room: u64) -> io::Result<Step> {
        let mut scratch = Scratch::new()?;
        let mut zstd = Compressor::new(ZSTD_LEVEL)?;
        let mut read = 0;
        while read < room {
            let Some(frame) = self.frames.get(self.next).cloned() else {
                self.cut(&mut zstd)?;
                self.write()?;
                self.output.sync()?;
                return Ok(Step::Done);
            };
            read += u64::from(frame.bytes);
            let before = self.next.checked_sub(1).and_then(|i| self.frames.get(i));
            if before.is_some_and(|before| before.labels != frame.labels) {
                self.cut(&mut zstd)?;
            }
            self.next += 1;
            let Loaded::Lines(lines) = self.source.read(&frame, &ALL, &mut scratch)? else {
                return Ok(Step::Damaged(frame.offset));
            };
            for row in &lines.rows {
                let Some(metadata) = lines.metadata(row) else {
                    return Ok(Step::Damaged(frame.offset));
                };
                let text = lines.text(row);
                self.builder.push(row.seq, row.at_ns, metadata, text);
                if self.builder.weight() >= TEXT_BYTES {
                    self.cut_for(&frame, &mut zstd)?;
                }
            }
        }
        Ok(Step::More)
    }

    /// Makes a frame of what was collected from the frame before.
    fn cut(&mut self, zstd: &mut Compressor<'_>) -> io::Result<()> {
        let before = self.next.checked_sub(1).and_then(|i| self.frames.get(i));
        match before.cloned() {
            Some(frame) if !self.builder.is_empty() => self.cut_for(&frame, zstd),
            _ => Ok(()),
        }
    }

    fn cut_for(&mut self, of: &FrameRef, zstd: &mut Compressor<'_>) -> io::Result<()> {
        let begin = self.unwritten.len();
        let offset = u32::try_from(self.written + begin as u64).map_err(io::Error::other)?;
        self.builder.finish(&of.labels, zstd, &mut self.unwritten)?;
        let header = Header::decode(&self.unwritten[begin..]);
        let header = header.map_err(|_| io::Error::other("a frame cannot be read back"))?;
        self.last_seq = self.last_seq.max(header.last_seq);
        let frame = FrameRef::new(&header, of.labels.clone(), offset);
        self.made.push(frame);
        match self.unwritten.len() >= WRITE_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.output.write_at(&self.unwritten, self.written)?;
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

impl LogStore {
    /// Goes on with the file that is being packed, or begins with the oldest that can be.
    pub(super) fn pack(&self, now: Timestamp) {
        let mut packer = self.packer.lock().unwrap_or_else(PoisonError::into_inner);
        if packer.pause > 0 {
            packer.pause -= 1;
            return;
        }
        let begun = match packer.job.take() {
            Some(job) if self.has(&job.source) => Ok(Some(job)),
            Some(stale) => {
                self.abandon(&stale);
                return;
            }
            None => self.next_to_pack(now, &packer.damaged),
        };
        let stepped = begun.and_then(|job| {
            let Some(mut job) = job else {
                return Ok(None);
            };
            match job.step(STEP_BYTES) {
                Ok(Step::Done) => self.replace(job),
                Ok(Step::More) => Ok(Some(job)),
                Ok(Step::Damaged(at)) => {
                    let what = format_args!("frame at byte {at}");
                    self.watch.corrupt(FileKind::Frames, &job.source.path, what);
                    packer.damaged.insert(job.source.path.clone());
                    self.abandon(&job);
                    Ok(None)
                }
                Err(e) => {
                    self.abandon(&job);
                    Err(e)
                }
            }
        });
        match stepped {
            Ok(job) => {
                packer.job = job;
                self.watch.solved(TOPIC);
            }
            Err(e) => {
                packer.pause = PAUSE;
                let error = WriteError::from_io("pack files in", &self.dir, e);
                self.watch.write_failed(TOPIC, FileKind::Frames, &error);
            }
        }
    }

    fn has(&self, file: &Arc<FrameFile>) -> bool {
        let state = self.lock();
        state.files.iter().any(|f| Arc::ptr_eq(&f.file, file))
    }

    /// Nothing is appended to the file any more, and the write-ahead log has none of its lines: a
    /// replay looks for those in the frames as they were cut.
    pub(super) fn next_to_pack(
        &self,
        now: Timestamp,
        damaged: &HashSet<PathBuf>,
    ) -> io::Result<Option<Job>> {
        let today = now.millis().saturating_sub(GRACE_MS).div_euclid(DAY_MS);
        // Nobody is about to append to it.
        let _cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        let log_from = state.log_from();
        let newest_start = state.starts.back().map_or(0, |(_, first)| *first);
        let due = state.files.iter_mut().filter(|f| {
            let is_over = f.file.day < today && !f.file.is_packed && !f.frames.is_empty();
            is_over && !damaged.contains(&f.file.path)
        });
        let Some(f) = due.min_by(|a, b| a.file.path.cmp(&b.file.path)) else {
            return Ok(None);
        };
        if f.last_seq >= log_from {
            // A quiet server may write to one segment for days. It goes with its last line.
            if newest_start <= f.last_seq {
                state.wal.close_segment();
            }
            state.drop_covered().map_err(io::Error::other)?;
            return Ok(None);
        }
        f.is_closed = true;
        let (source, frames) = (Arc::clone(&f.file), f.frames.clone());
        drop(state);
        Job::begin(self.disk.as_ref(), source, frames).map(Some)
    }

    /// Puts what was made into the place of its source.
    fn replace(&self, job: Job) -> io::Result<Option<Job>> {
        let _cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has(&job.source) {
            self.abandon(&job);
            return Ok(None);
        }
        let path = &job.source.path;
        if let Err(e) = self.disk.rename(&job.temporary, path) {
            self.abandon(&job);
            return Err(e);
        }
        let made = IndexedFile {
            file: Arc::new(FrameFile {
                path: path.clone(),
                file: Arc::clone(&job.output),
                day: job.source.day,
                is_packed: true,
            }),
            bytes: job.written,
            frames: job.made,
            last_seq: job.last_seq,
            is_closed: true,
        };
        let mut state = self.lock();
        let source = state.files.iter_mut();
        let source = source
            .into_iter()
            .find(|f| Arc::ptr_eq(&f.file, &job.source));
        let mut before = 0;
        if let Some(f) = source {
            before = f.bytes;
            *f = made;
        }
        drop(state);
        tracing::info!(
            path = %path.display(),
            before,
            bytes = job.written.max(HEADER_BYTES),
            "packed a file of log lines"
        );
        // Until then a power cut may bring the source back, which is as good.
        let day_dir = path.parent().unwrap_or(&self.dir);
        self.disk.sync_dir(day_dir)?;
        Ok(None)
    }

    fn abandon(&self, job: &Job) {
        // It may not be there; left-overs are also removed at the next start.
        let _ = self.disk.remove(&job.temporary);
        let day_dir = job.temporary.parent().unwrap_or(&self.dir);
        if self.disk.list(day_dir).is_ok_and(|e| e.is_empty()) {
            let _ = self.disk.remove_dir(day_dir);
        }
    }
}
