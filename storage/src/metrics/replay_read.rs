//! The first half of a replay: the log's records become batches for the head. It runs in a
//! thread of its own, beside the one that fills the head.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use model::{Histogram, Matcher, TimeRange};

use super::wal_decode::{Decoder, Visit};
use super::wal_record::{self, Floor, NumberedHistogram};
use crate::bytes::Malformed;
use crate::wal::Mark;

/// Records are handed over once they have so many samples, 24 bytes each. Fewer would wake the
/// other thread more often than it is worth.
const PIECE_SAMPLES: usize = 1 << 12;
/// Pieces that may wait for the head.
pub(super) const PIECES_AHEAD: usize = 2;

/// What the head has to hear of one record.
pub(super) enum Record {
    Batch(Batch),
    Deletion(Vec<Vec<Matcher>>, TimeRange),
}

/// Samples of one batch that are not in blocks, by the numbers that their series have in this
/// segment of the log.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) segment: u64,
    /// Numbers that stand for these names and values from now on.
    pub(super) labels: Vec<(u32, Arc<str>, Arc<str>)>,
    /// Numbers that stand for series from now on, and how many of `series_labels` each has.
    pub(super) series: Vec<(u32, usize)>,
    pub(super) series_labels: Vec<u32>,
    /// Each later than what its series had.
    pub(super) floats: Vec<LoggedFloat>,
    pub(super) late: Vec<LoggedFloat>,
    pub(super) histograms: Vec<NumberedHistogram>,
}

/// A float of a series.
#[derive(Clone, Copy)]
pub(super) struct LoggedFloat {
    pub(super) id: u32,
    pub(super) t: i64,
    pub(super) v: f64,
}

/// Decodes records and hands them over.
pub(super) struct Reading {
    /// Which samples in order are in blocks.
    floor: Option<Floor>,
    /// The newest instant read.
    newest_t: i64,
    decoder: Decoder,
    piece: Vec<Record>,
    piece_samples: usize,
    pieces: SyncSender<Vec<Record>>,
}

/// A batch being decoded.
struct Decoding {
    /// Samples in order before this instant are in blocks.
    flushed_t: Option<i64>,
    batch: Batch,
    mark: Mark,
}

impl Reading {
    /// Samples in order before `floor` are in blocks.
    pub(super) fn new(floor: Option<Floor>, pieces: SyncSender<Vec<Record>>) -> Reading {
        Reading {
            newest_t: floor.as_ref().map_or(i64::MIN, |f| f.t),
            floor,
            decoder: Decoder::default(),
            piece: Vec::new(),
            piece_samples: 0,
            pieces,
        }
    }

    /// Decodes a record. Of a malformed one nothing is handed over.
    pub(super) fn record(
        &mut self,
        segment: u64,
        record_type: u8,
        payload: &[u8],
    ) -> Result<Mark, Malformed> {
        match record_type {
            wal_record::BATCH => {
                let flushed_t = self.floor.as_ref().map(|floor| {
                    let unread = floor.unread.iter().find(|u| u.segment == segment);
                    unread.map_or(floor.t, |u| u.floor_t)
                });
                let mut decoding = Decoding {
                    flushed_t,
                    batch: Batch {
                        segment,
                        ..Batch::default()
                    },
                    mark: Mark::NONE,
                };
                self.decoder.decode(segment, payload, &mut decoding)?;
                let (batch, mark) = (decoding.batch, decoding.mark);
                self.newest_t = self.newest_t.max(mark.until);
                self.piece_samples += batch.weight();
                if !batch.is_empty() {
                    self.piece.push(Record::Batch(batch));
                }
                if self.piece_samples >= PIECE_SAMPLES {
                    self.hand_over();
                }
                Ok(mark)
            }
            // The newest one was looked up before.
            wal_record::FLOOR => wal_record::decode_floor(payload, segment).map(|_| Mark::NONE),
            wal_record::DELETION => {
                let (sets, range) = wal_record::decode_deletion(payload)?;
                self.piece.push(Record::Deletion(sets, range));
                Ok(deletion_mark(Some(self.newest_t)))
            }
            _ => Err(Malformed),
        }
    }

    /// Hands over what has not been.
    pub(super) fn hand_over(&mut self) {
        self.piece_samples = 0;
        // Nobody takes it when the other thread panicked, which ends this one too.
        let _ = self.pieces.send(std::mem::take(&mut self.piece));
    }
}

/// A deletion is needed as long as what it is about is in the log.
pub(super) fn deletion_mark(newest_t: Option<i64>) -> Mark {
    Mark {
        until: newest_t.unwrap_or(i64::MIN),
        is_held: true,
        undoes: true,
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.weight() == 0
    }

    fn weight(&self) -> usize {
        let definitions = self.labels.len() + self.series.len() + self.series_labels.len();
        definitions + self.floats.len() + self.late.len() + self.histograms.len()
    }
}

impl Decoding {
    /// Whether a sample that was in order is in a block already.
    fn is_in_block(&mut self, t: i64) -> bool {
        self.mark.until = self.mark.until.max(t);
        self.flushed_t.is_some_and(|f| t < f)
    }
}

impl Visit for Decoding {
    fn label(&mut self, number: u32, name: &str, value: &str) {
        let label = (number, Arc::from(name), Arc::from(value));
        self.batch.labels.push(label);
    }

    fn define(&mut self, id: u32, labels: &[u32]) {
        self.batch.series.push((id, labels.len()));
        self.batch.series_labels.extend_from_slice(labels);
    }

    fn floats(&mut self, count: usize) {
        self.batch.floats.reserve_exact(count);
    }

    fn float(&mut self, id: u32, t: i64, v: f64) {
        if !self.is_in_block(t) {
            self.batch.floats.push(LoggedFloat { id, t, v });
        }
    }

    fn late(&mut self, id: u32, t: i64, v: f64) {
        self.mark.is_held = true;
        self.batch.late.push(LoggedFloat { id, t, v });
    }

    fn histogram(&mut self, id: u32, t: i64, h: Arc<Histogram>, is_late: bool) {
        self.mark.is_held |= is_late;
        if is_late || !self.is_in_block(t) {
            let h = NumberedHistogram { id, t, h, is_late };
            self.batch.histograms.push(h);
        }
    }
}
