//! The write-ahead log, read back into the head.

use std::sync::Arc;

use model::{Histogram, Labels, Matcher, TimeRange};

use super::head::Head;
use super::wal_record::{self, Decoder, Visit};
use crate::bytes::Malformed;
use crate::wal::Mark;

/// Turns records into head samples.
#[derive(Default)]
pub(super) struct Replay {
    /// Samples in order before this instant are in blocks.
    flushed_t: Option<i64>,
    segment: u64,
    decoder: Decoder,
    known: Vec<Known>,
    run: u32,
    pub(super) samples: u64,
    /// Deletions of the record read last.
    pub(super) deleted: Vec<(Vec<Matcher>, TimeRange)>,
}

/// What a number of the log stands for.
#[derive(Default)]
struct Known {
    /// Not in the head (yet): its samples may all be in blocks.
    labels: Option<Labels>,
    /// Its number in the head, when `labels` is `None`.
    id: Option<u32>,
    /// The value before the next one, in this run.
    before: f64,
    run: u32,
}

struct IntoHead<'a> {
    flushed_t: Option<i64>,
    head: &'a mut Head,
    known: &'a mut Vec<Known>,
    run: &'a mut u32,
    samples: &'a mut u64,
    mark: Mark,
}

impl Replay {
    /// Samples in order before `flushed_t` are in blocks.
    pub(super) fn new(flushed_t: Option<i64>) -> Replay {
        Replay {
            flushed_t,
            ..Replay::default()
        }
    }

    /// A flush is about to remove series from the head: their numbers will mean nothing.
    pub(super) fn let_go_of(&mut self, head: &Head) {
        for known in &mut self.known {
            if let Some(id) = known.id.take() {
                known.labels = head.get(id).map(|_| head.labels(id));
            }
        }
    }

    pub(super) fn record(
        &mut self,
        head: &mut Head,
        segment: u64,
        record_type: u8,
        payload: &[u8],
    ) -> Result<Mark, Malformed> {
        if segment != self.segment {
            self.known.clear();
            self.segment = segment;
        }
        match record_type {
            wal_record::BATCH => {
                let mut visit = IntoHead {
                    flushed_t: self.flushed_t,
                    head,
                    known: &mut self.known,
                    run: &mut self.run,
                    samples: &mut self.samples,
                    mark: Mark::NONE,
                };
                self.decoder.decode(segment, payload, &mut visit)?;
                Ok(visit.mark)
            }
            // The newest one was looked up before.
            wal_record::FLOOR => wal_record::decode_floor(payload).map(|_| Mark::NONE),
            wal_record::DELETION => {
                let (sets, range) = wal_record::decode_deletion(payload)?;
                self.let_go_of(head);
                head.delete(&sets, range);
                self.deleted.extend(sets.into_iter().map(|m| (m, range)));
                Ok(deletion_mark(head))
            }
            _ => Err(Malformed),
        }
    }
}

/// A deletion is needed as long as what it is about is in the log.
pub(super) fn deletion_mark(head: &Head) -> Mark {
    Mark {
        until: head.newest_t().unwrap_or(i64::MIN),
        is_held: true,
    }
}

impl IntoHead<'_> {
    /// The series `number` in the head, for a sample that belongs there.
    fn id_of(&mut self, number: u32) -> Option<u32> {
        let known = self.known.get_mut(number as usize)?;
        if known.id.is_none() {
            // Without labels its definition was in a damaged record.
            let labels = known.labels.take()?;
            let id = self.head.find(&labels);
            known.id = Some(id.unwrap_or_else(|| self.head.create(&labels)));
        }
        known.id
    }

    /// Whether a sample that was in order is in a block already; else it counts here.
    fn is_in_block(&mut self, t: i64) -> bool {
        self.mark.until = self.mark.until.max(t);
        self.flushed_t.is_some_and(|f| t < f)
    }
}

impl Visit for IntoHead<'_> {
    fn define(&mut self, id: u32, labels: Labels) {
        let at = id as usize;
        if self.known.len() <= at {
            self.known.resize_with(at + 1, Known::default);
        }
        self.known[at] = Known {
            labels: Some(labels),
            ..Known::default()
        };
    }

    fn before(&mut self, id: u32) -> f64 {
        let known = self.known.get(id as usize);
        known
            .filter(|k| k.run == *self.run)
            .map_or(0.0, |k| k.before)
    }

    fn float(&mut self, id: u32, t: i64, v: f64) {
        if let Some(known) = self.known.get_mut(id as usize) {
            known.before = v;
            known.run = *self.run;
        }
        if self.is_in_block(t) {
            return;
        }
        let Some(id) = self.id_of(id) else {
            return;
        };
        // A flush during this replay may have passed it.
        if self.head.floor_t().is_some_and(|f| t < f) {
            self.head.push_late(id, t, v);
        } else if self.head.get(id).is_some_and(|s| t > s.last_t) {
            self.head.push(id, t, v, 0);
        } else {
            return;
        }
        *self.samples += 1;
    }

    fn late(&mut self, id: u32, t: i64, v: f64) {
        self.mark.is_held = true;
        if let Some(id) = self.id_of(id) {
            self.head.push_late(id, t, v);
            *self.samples += 1;
        }
    }

    fn histogram(&mut self, id: u32, t: i64, h: Arc<Histogram>, is_late: bool) {
        self.mark.is_held |= is_late;
        if !is_late && self.is_in_block(t) {
            return;
        }
        let Some(id) = self.id_of(id) else {
            return;
        };
        if is_late || self.head.floor_t().is_some_and(|f| t < f) {
            self.head.push_late_histogram(id, t, h);
        } else if self.head.get(id).is_some_and(|s| t > s.last_t) {
            self.head.push_histogram(id, t, h);
        } else {
            return;
        }
        *self.samples += 1;
    }

    fn run_starts(&mut self) {
        *self.run += 1;
    }
}
