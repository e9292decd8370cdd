//! Batches as records of the write-ahead log. Bytes: `docs/formats/wal.md`.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::range_coder::RangeEncoder;
use super::wal_histogram::put_histogram;
use super::wal_record::{
    COMPRESSED, Definitions, LAYOUT_FIRST, LAYOUT_INLINE, LAYOUT_KEPT, LAYOUT_KNOWN, LAYOUTS_MAX,
    NumberedFloat, Planned, RUN_STARTS,
};
use super::wal_value::{Model, Series};
use crate::bytes::{put_bytes, put_signed, put_varint};

/// A run ends once it is this long. Values are differences within a run, so this is what one
/// damaged record can cost at most; shorter runs repeat whole values more often.
const RUN_BYTES: usize = 16 << 20;
/// Series of all layouts that are remembered.
const LAYOUT_IDS_MAX: usize = 1 << 18;
/// Batches shorter than this do not become smaller.
const COMPRESS_MIN: usize = 128;
const ZSTD_LEVEL: i32 = 1;

/// Encodes batches.
#[derive(Default)]
pub(crate) struct Encoder {
    segment: u64,
    /// Counts the runs of this process; differs from 0 in a run.
    run: u32,
    run_starts: bool,
    run_bytes: usize,
    /// Number of the next record within its run.
    next: u64,
    /// First series → number and series of a layout.
    layouts: HashMap<u32, (u32, Vec<u32>), RandomState>,
    layout_ids: usize,
    /// What was learnt of values in this run, and of each series by number, with the run.
    model: Box<Model>,
    series: Vec<(u32, Series)>,
    values: Vec<u8>,
    raw: Vec<u8>,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    /// The run that the next batch belongs to when it goes to `segment`.
    pub(crate) fn run(&mut self, segment: u64) -> u32 {
        if self.segment != segment || self.run_bytes >= RUN_BYTES {
            self.segment = segment;
            self.run = self.run.wrapping_add(1).max(1);
            self.run_starts = true;
            self.run_bytes = 0;
            self.next = 0;
            self.layouts.clear();
            self.layout_ids = 0;
            *self.model = Model::default();
        }
        self.run
    }

    /// The batch encoded last did not get into the log.
    pub(crate) fn take_back(&mut self) {
        self.segment = 0;
    }

    /// Encodes into `out`; `hint` lends each series' place for [`Model::put`]. Gives the part
    /// of `out` that are definitions, roughly.
    pub(crate) fn encode(
        &mut self,
        definitions: &Definitions<'_>,
        planned: &Planned,
        mut hint: impl FnMut(u32, &mut dyn FnMut(&mut u8)),
        out: &mut Vec<u8>,
    ) -> usize {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        put_varint(&mut raw, definitions.labels.len() as u64);
        for (number, name, value) in &definitions.labels {
            put_varint(&mut raw, (*number).into());
            put_bytes(&mut raw, name.as_bytes());
            put_bytes(&mut raw, value.as_bytes());
        }
        put_varint(&mut raw, definitions.series.len() as u64);
        for (id, labels) in &definitions.series {
            if let Some(series) = self.series.get_mut(*id as usize) {
                series.0 = 0;
            }
            put_varint(&mut raw, (*id).into());
            put_varint(&mut raw, labels.len() as u64);
            for label in *labels {
                put_varint(&mut raw, (*label).into());
            }
        }
        let definition_bytes = raw.len();
        self.values.clear();
        self.put_floats(&planned.floats, &mut hint, &mut raw);
        put_varint(&mut raw, planned.late.len() as u64);
        let (mut id, mut t) = (0, 0);
        for s in &planned.late {
            put_place(&mut raw, &mut id, &mut t, s.id, s.t);
            raw.extend_from_slice(&s.v.to_bits().to_le_bytes());
        }
        put_varint(&mut raw, planned.histograms.len() as u64);
        let (mut id, mut t) = (0, 0);
        for s in &planned.histograms {
            put_place(&mut raw, &mut id, &mut t, s.id, s.t);
            raw.push(s.is_late.into());
            put_histogram(&mut raw, &s.h);
        }
        let packed = self.compress(&raw);
        let flags =
            u8::from(packed.is_some()) * COMPRESSED + u8::from(self.run_starts) * RUN_STARTS;
        out.clear();
        out.push(flags);
        put_varint(out, self.next);
        put_bytes(out, &self.values);
        let values_end = out.len();
        match &packed {
            Some(packed) => {
                put_varint(out, raw.len() as u64);
                out.extend_from_slice(packed);
            }
            None => out.extend_from_slice(&raw),
        }
        let definition_part = definition_bytes * (out.len() - values_end) / raw.len().max(1);
        self.next += 1;
        self.run_starts = false;
        self.run_bytes += out.len() - definition_part;
        raw.shrink_to(1 << 20);
        self.values.shrink_to(1 << 20);
        self.raw = raw;
        definition_part
    }

    fn put_floats(
        &mut self,
        floats: &[NumberedFloat],
        hint: &mut impl FnMut(u32, &mut dyn FnMut(&mut u8)),
        raw: &mut Vec<u8>,
    ) {
        put_varint(raw, floats.len() as u64);
        let Some(first) = floats.first() else {
            return;
        };
        self.put_layout(floats, raw);
        let same = floats.iter().all(|s| s.t == first.t);
        put_signed(raw, first.t);
        raw.push(u8::from(!same));
        if !same {
            let mut before = first.t;
            for s in &floats[1..] {
                put_signed(raw, s.t.wrapping_sub(before));
                before = s.t;
            }
        }
        let mut coder = RangeEncoder::new(&mut self.values);
        for s in floats {
            let at = s.id as usize;
            if self.series.len() <= at {
                self.series.resize(at + 1, (0, Series::NEW));
            }
            let (run, series) = &mut self.series[at];
            if *run != self.run {
                (*run, *series) = (self.run, Series::NEW);
            }
            let model = &mut self.model;
            hint(s.id, &mut |hint| {
                model.put(&mut coder, series, hint, s.before, s.v);
            });
        }
        coder.finish();
    }

    /// Which series, in which order: most batches are those of the scrape before.
    fn put_layout(&mut self, floats: &[NumberedFloat], raw: &mut Vec<u8>) {
        let Some(first) = floats.first() else {
            return;
        };
        if let Some((number, ids)) = self.layouts.get(&first.id)
            && ids.len() == floats.len()
            && ids.iter().zip(floats).all(|(id, s)| *id == s.id)
        {
            raw.push(LAYOUT_KNOWN);
            put_varint(raw, (*number).into());
            return;
        }
        if floats.len() < 2 || floats.len() > LAYOUT_IDS_MAX {
            raw.push(LAYOUT_INLINE);
        } else {
            let known = self.layouts.remove(&first.id);
            self.layout_ids -= known.as_ref().map_or(0, |(_, ids)| ids.len());
            let full = self.layout_ids + floats.len() > LAYOUT_IDS_MAX
                || (known.is_none() && self.layouts.len() == LAYOUTS_MAX);
            if full {
                self.layouts.clear();
                self.layout_ids = 0;
            }
            let number = match known {
                Some((number, _)) if !full => number,
                _ => self.layouts.len() as u32,
            };
            raw.push(if full { LAYOUT_FIRST } else { LAYOUT_KEPT });
            put_varint(raw, number.into());
            self.layout_ids += floats.len();
            let ids = floats.iter().map(|s| s.id).collect();
            self.layouts.insert(first.id, (number, ids));
        }
        let mut before = 0;
        for s in floats {
            put_signed(raw, i64::from(s.id) - before);
            before = s.id.into();
        }
    }

    fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if raw.len() < COMPRESS_MIN {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        let packed = self.compressor.as_mut()?.compress(raw).ok()?;
        (packed.len() + 4 < raw.len()).then_some(packed)
    }
}

fn put_place(out: &mut Vec<u8>, id: &mut i64, t: &mut i64, new_id: u32, new_t: i64) {
    put_signed(out, i64::from(new_id) - *id);
    put_signed(out, new_t.wrapping_sub(*t));
    *id = new_id.into();
    *t = new_t;
}
