//! The write-ahead log, read back into the head.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::Labels;

use super::head::{Head, Outcome};
use super::wal_record;
use crate::bytes::Malformed;

/// Turns records into head samples.
#[derive(Default)]
pub(super) struct Replay {
    segment: u64,
    ids: HashMap<u32, Known, RandomState>,
    pub(super) samples: u64,
}

/// What a number of the log stands for.
enum Known {
    /// Not in the head (yet): its samples may all be in blocks.
    Defined(Labels),
    InHead(u32),
}

impl Replay {
    /// A flush is about to remove series from the head: their numbers will mean nothing.
    pub(super) fn let_go_of(&mut self, head: &Head) {
        for known in self.ids.values_mut() {
            if let Known::InHead(id) = known
                && let Some(series) = head.get(*id)
            {
                *known = Known::Defined(series.labels.clone());
            }
        }
    }

    pub(super) fn record(
        &mut self,
        head: &mut Head,
        segment: u64,
        record_type: u8,
        payload: &[u8],
    ) -> Result<i64, Malformed> {
        if record_type != wal_record::SAMPLES {
            return Err(Malformed);
        }
        if segment != self.segment {
            self.ids.clear();
            self.segment = segment;
        }
        let samples = wal_record::decode(payload, &mut |id, labels| {
            self.ids.insert(id, Known::Defined(labels));
        })?;
        let mut mark = i64::MIN;
        for s in samples {
            mark = mark.max(s.t);
            let Some(known) = self.ids.get_mut(&s.id) else {
                // Its definition was in a damaged record.
                continue;
            };
            let id = match known {
                Known::InHead(id) => *id,
                Known::Defined(labels) => match head.find(labels) {
                    Some(id) => id,
                    None if head.check(None, s.t) == Outcome::Appended => {
                        head.create(labels.clone())
                    }
                    None => continue,
                },
            };
            *known = Known::InHead(id);
            if head.push(id, s.t, s.v) == Outcome::Appended {
                self.samples += 1;
            }
        }
        Ok(mark)
    }
}
