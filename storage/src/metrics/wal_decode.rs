//! Records of the write-ahead log as batches. Bytes: `docs/formats/wal.md`.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::Histogram;

use super::range_coder::RangeDecoder;
use super::wal_histogram::read_histogram;
use super::wal_record::{
    COMPRESSED, ID_MAX, LAYOUT_FIRST, LAYOUT_INLINE, LAYOUT_KEPT, LAYOUT_KNOWN, LAYOUTS_MAX,
    RUN_STARTS,
};
use super::wal_value::{Model, Series};
use crate::bytes::{Malformed, Reader};

/// Largest batch after decompression that a reader believes.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// What a decoder finds.
pub(crate) trait Visit {
    /// `number` is this label from now on.
    fn label(&mut self, number: u32, name: &str, value: &str);
    /// `id` is the series with these labels from now on, which are in the order of their names.
    fn define(&mut self, id: u32, labels: &[u32]);
    /// So many floats follow.
    fn floats(&mut self, count: usize);
    /// A float later than what its series has.
    fn float(&mut self, id: u32, t: i64, v: f64);
    /// A float that came late.
    fn late(&mut self, id: u32, t: i64, v: f64);
    /// A histogram.
    fn histogram(&mut self, id: u32, t: i64, h: Arc<Histogram>, is_late: bool);
}

/// Decodes batches.
#[derive(Default)]
pub(crate) struct Decoder {
    segment: u64,
    /// Number of the next record within its run; `None` after a gap, up to the next run.
    next: Option<u64>,
    /// Whether the gap was reported.
    gap_told: bool,
    /// Numbers of the labels that this segment defined.
    labels: HashSet<u32, RandomState>,
    layouts: Vec<Vec<u32>>,
    /// Counts the runs read.
    run: u32,
    /// What was learnt of values in this run, and by number of the series.
    model: Box<Model>,
    series: Vec<Learnt>,
    times: Vec<i64>,
    raw: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

/// What was learnt of a series in a run, and the value before the next one.
#[derive(Clone, Copy)]
struct Learnt {
    run: u32,
    series: Series,
    before: f64,
}

const NOTHING: Learnt = Learnt {
    run: 0,
    series: Series::NEW,
    before: 0.0,
};

impl Decoder {
    /// Decodes one batch of `segment`.
    pub(crate) fn decode(
        &mut self,
        segment: u64,
        payload: &[u8],
        visit: &mut impl Visit,
    ) -> Result<(), Malformed> {
        if segment != self.segment {
            self.segment = segment;
            self.labels.clear();
            self.series.clear();
            self.next = None;
        }
        let mut r = Reader::new(payload);
        let flags = r.u8()?;
        let number = r.varint()?;
        if flags & RUN_STARTS != 0 {
            self.layouts.clear();
            self.next = Some(number);
            self.run += 1;
            *self.model = Model::default();
        }
        if self.next != Some(number) {
            // A record before it is damaged, and this one says differences to it.
            self.next = None;
            return match std::mem::replace(&mut self.gap_told, true) {
                true => Ok(()),
                false => Err(Malformed),
            };
        }
        self.gap_told = false;
        self.next = None;
        let values = r.bytes()?;
        let mut raw = std::mem::take(&mut self.raw);
        let result = match flags & COMPRESSED != 0 {
            false => self.body(&mut r, values, visit),
            true => self.decompress(&mut r, &mut raw).and_then(|()| {
                let mut r = Reader::new(&raw);
                self.body(&mut r, values, visit)
            }),
        };
        raw.shrink_to(1 << 20);
        self.raw = raw;
        result?;
        self.next = Some(number + 1);
        Ok(())
    }

    fn decompress(&mut self, r: &mut Reader<'_>, raw: &mut Vec<u8>) -> Result<(), Malformed> {
        let bytes = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
        let packed = r.take(r.remaining())?;
        // Zstandard makes at most about 2^15 of one byte; a wrong length reserves no more.
        if bytes > BATCH_BYTES_MAX || bytes / 40_000 > packed.len() {
            return Err(Malformed);
        }
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        let decompressor = self.decompressor.as_mut().ok_or(Malformed)?;
        raw.clear();
        raw.reserve_exact(bytes);
        let got = decompressor.decompress_to_buffer(packed, raw);
        match got {
            Ok(n) if n == bytes => Ok(()),
            _ => Err(Malformed),
        }
    }

    fn body(
        &mut self,
        r: &mut Reader<'_>,
        values: &[u8],
        visit: &mut impl Visit,
    ) -> Result<(), Malformed> {
        for _ in 0..r.count(3)? {
            let number = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
            visit.label(number, r.text()?, r.text()?);
            self.labels.insert(number);
        }
        let mut numbers = Vec::new();
        for _ in 0..r.count(2)? {
            let id = id_of(r.varint()? as i64)?;
            numbers.clear();
            for _ in 0..r.count(1)? {
                let number = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
                // A missing definition was in a damaged record: so is this series.
                if !self.labels.contains(&number) {
                    return Err(Malformed);
                }
                numbers.push(number);
            }
            if let Some(learnt) = self.series.get_mut(id as usize) {
                *learnt = NOTHING;
            }
            visit.define(id, &numbers);
        }
        self.floats(r, values, visit)?;
        let (mut id, mut t) = (0_i64, 0_i64);
        for _ in 0..r.count(10)? {
            read_place(r, &mut id, &mut t)?;
            visit.late(id_of(id)?, t, f64::from_bits(r.u64()?));
        }
        let (mut id, mut t) = (0_i64, 0_i64);
        for _ in 0..r.count(40)? {
            read_place(r, &mut id, &mut t)?;
            let is_late = r.u8()? != 0;
            let h = Arc::new(read_histogram(r)?);
            visit.histogram(id_of(id)?, t, h, is_late);
        }
        Ok(())
    }

    fn floats(
        &mut self,
        r: &mut Reader<'_>,
        values: &[u8],
        visit: &mut impl Visit,
    ) -> Result<(), Malformed> {
        let count = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
        if count == 0 {
            return Ok(());
        }
        let kind = r.u8()?;
        let number = match kind {
            LAYOUT_INLINE => 0,
            LAYOUT_KNOWN | LAYOUT_KEPT | LAYOUT_FIRST => {
                usize::try_from(r.varint()?).map_err(|_| Malformed)?
            }
            _ => return Err(Malformed),
        };
        let mut ids = Vec::new();
        if kind == LAYOUT_KNOWN {
            ids = std::mem::take(self.layouts.get_mut(number).ok_or(Malformed)?);
        } else if count > r.remaining() {
            return Err(Malformed);
        } else {
            ids.reserve_exact(count);
            let mut id = 0_i64;
            for _ in 0..count {
                id = id.wrapping_add(r.signed()?);
                ids.push(id_of(id)?);
            }
        }
        let result = match ids.len() == count {
            true => self.float_values(r, values, &ids, visit),
            false => Err(Malformed),
        };
        if kind == LAYOUT_FIRST {
            self.layouts.clear();
        }
        if kind != LAYOUT_INLINE {
            if number >= LAYOUTS_MAX {
                return Err(Malformed);
            }
            if self.layouts.len() <= number {
                self.layouts.resize_with(number + 1, Vec::new);
            }
            self.layouts[number] = ids;
        }
        result
    }

    fn float_values(
        &mut self,
        r: &mut Reader<'_>,
        values: &[u8],
        ids: &[u32],
        visit: &mut impl Visit,
    ) -> Result<(), Malformed> {
        let mut t = r.signed()?;
        self.times.clear();
        if r.u8()? != 0 {
            self.times.push(t);
            for _ in 1..ids.len() {
                t = t.wrapping_add(r.signed()?);
                self.times.push(t);
            }
        }
        visit.floats(ids.len());
        let mut coder = RangeDecoder::new(values);
        for (i, id) in ids.iter().enumerate() {
            let at = *id as usize;
            if self.series.len() <= at {
                self.series.resize(at + 1, NOTHING);
            }
            let learnt = &mut self.series[at];
            if learnt.run != self.run {
                *learnt = Learnt {
                    run: self.run,
                    ..NOTHING
                };
            }
            let v = self
                .model
                .read(&mut coder, &mut learnt.series, learnt.before);
            learnt.before = v;
            visit.float(*id, self.times.get(i).copied().unwrap_or(t), v);
        }
        Ok(())
    }
}

fn read_place(r: &mut Reader<'_>, id: &mut i64, t: &mut i64) -> Result<(), Malformed> {
    *id = id.wrapping_add(r.signed()?);
    *t = t.wrapping_add(r.signed()?);
    Ok(())
}

fn id_of(v: i64) -> Result<u32, Malformed> {
    match u32::try_from(v) {
        Ok(id) if id < ID_MAX => Ok(id),
        _ => Err(Malformed),
    }
}
