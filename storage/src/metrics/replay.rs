//! The write-ahead log, read back into the head.

use std::sync::Arc;

use model::{Histogram, Labels};

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
    /// Deletions read.
    deletions: usize,
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

    /// Series are about to go from the head: their numbers will mean nothing.
    fn let_go_of(&mut self, head: &Head) {
        for known in &mut self.known {
            if let Some(id) = known.id.take() {
                known.labels = head.get(id).map(|_| head.labels(id));
            }
        }
    }

    /// Forgets what deletions further on in the log are about, all of which are `deletions`:
    /// when they come it will be in a block.
    pub(super) fn delete_ahead(&mut self, head: &mut Head, deletions: &[Vec<u8>]) {
        self.let_go_of(head);
        for payload in deletions.iter().skip(self.deletions) {
            if let Ok((sets, range)) = wal_record::decode_deletion(payload) {
                head.delete(&sets, range);
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
                self.deletions += 1;
                let (sets, range) = wal_record::decode_deletion(payload)?;
                self.let_go_of(head);
                head.delete(&sets, range);
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

    /// Whether a sample that was in order is so here too. A flush during this replay may have
    /// passed it; and late samples that had been flushed may keep a series, with its newest
    /// instant, that a deletion had removed when the sample came.
    fn is_in_order(&self, id: u32, t: i64) -> bool {
        let series = self.head.get(id);
        series.is_some_and(|s| t > s.last_t) && self.head.floor_t().is_none_or(|f| t >= f)
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
        match self.is_in_order(id, t) {
            true => self.head.push(id, t, v, 0),
            false => self.head.push_late(id, t, v),
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
        match !is_late && self.is_in_order(id, t) {
            true => self.head.push_histogram(id, t, h),
            false => self.head.push_late_histogram(id, t, h),
        }
        *self.samples += 1;
    }

    fn run_starts(&mut self) {
        *self.run += 1;
    }
}
