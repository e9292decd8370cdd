//! What the write-ahead log of samples says: batches, deletions, what is in blocks.
//! Bytes: `docs/formats/wal.md`.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Histogram, Labels, MatchOp, Matcher, TimeRange, Timestamp};

use super::wal_histogram::{put_histogram, read_histogram};
use super::wal_value::{put_value, read_value};
use crate::bytes::{Malformed, Reader, put_bytes, put_signed, put_varint};

/// The types of records.
pub(crate) const BATCH: u8 = 5;
pub(crate) const FLOOR: u8 = 6;
pub(crate) const DELETION: u8 = 7;

/// A run ends once it is this long. Values are differences within a run, so this is what one
/// damaged record can cost at most; shorter runs repeat whole values more often.
const RUN_BYTES: usize = 2 << 20;
/// Layouts that writer and reader remember in a run, and series of all of them.
const LAYOUTS_MAX: usize = 256;
const LAYOUT_IDS_MAX: usize = 1 << 18;
/// Batches shorter than this do not become smaller.
const COMPRESS_MIN: usize = 128;
/// Largest batch after decompression that a reader believes.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// Series numbers are dense; larger ones cannot be.
pub(crate) const ID_MAX: u32 = 1 << 21;
const ZSTD_LEVEL: i32 = 1;

const COMPRESSED: u8 = 1;
const RUN_STARTS: u8 = 2;

const LAYOUT_INLINE: u8 = 0;
const LAYOUT_KNOWN: u8 = 1;
const LAYOUT_KEPT: u8 = 2;
const LAYOUT_FIRST: u8 = 3;

/// A float of a numbered series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberedFloat {
    pub(crate) id: u32,
    pub(crate) t: i64,
    pub(crate) v: f64,
    /// The value before it in this run, else 0.
    pub(crate) before: f64,
}

/// A histogram of a numbered series.
#[derive(Clone, Debug)]
pub(crate) struct NumberedHistogram {
    pub(crate) id: u32,
    pub(crate) t: i64,
    pub(crate) h: Arc<Histogram>,
    pub(crate) is_late: bool,
}

/// What of a batch is stored.
#[derive(Default)]
pub(crate) struct Planned {
    /// Each later than what its series has.
    pub(crate) floats: Vec<NumberedFloat>,
    /// Not so; `before` means nothing.
    pub(crate) late: Vec<NumberedFloat>,
    pub(crate) histograms: Vec<NumberedHistogram>,
}

impl Planned {
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.late.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty() || self.histograms.iter().any(|h| h.is_late)
    }

    pub(crate) fn clear(&mut self) {
        self.floats.clear();
        self.late.clear();
        self.histograms.clear();
    }
}

/// Labels and series that this segment does not have yet.
pub(crate) struct Definitions<'a> {
    /// Number, name, value.
    pub(crate) labels: Vec<(u32, &'a str, &'a str)>,
    /// Number, numbers of the labels.
    pub(crate) series: Vec<(u32, &'a [u32])>,
}

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
    tags: Vec<u8>,
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
        }
        self.run
    }

    /// The batch encoded last did not get into the log.
    pub(crate) fn take_back(&mut self) {
        self.segment = 0;
    }

    /// Encodes into `out`; `hint` lends each series' place for [`put_value`]. Gives the part
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
            put_varint(&mut raw, (*id).into());
            put_varint(&mut raw, labels.len() as u64);
            for label in *labels {
                put_varint(&mut raw, (*label).into());
            }
        }
        let definition_bytes = raw.len();
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
        match &packed {
            Some(packed) => {
                put_varint(out, raw.len() as u64);
                out.extend_from_slice(packed);
            }
            None => out.extend_from_slice(&raw),
        }
        let definition_part = definition_bytes * out.len() / raw.len().max(1);
        self.next += 1;
        self.run_starts = false;
        self.run_bytes += out.len() - definition_part;
        raw.shrink_to(1 << 20);
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
        self.tags.clear();
        self.values.clear();
        for s in floats {
            let (tags, values) = (&mut self.tags, &mut self.values);
            hint(s.id, &mut |hint| {
                put_value(tags, values, hint, s.before, s.v);
            });
        }
        raw.extend_from_slice(&self.tags);
        raw.extend_from_slice(&self.values);
        self.tags.shrink_to(1 << 18);
        self.values.shrink_to(1 << 20);
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

/// What a decoder finds.
pub(crate) trait Visit {
    /// `id` is this series from now on.
    fn define(&mut self, id: u32, labels: Labels);
    /// The value before the next one of `id`; 0 at first.
    fn before(&mut self, id: u32) -> f64;
    /// A float later than what its series has.
    fn float(&mut self, id: u32, t: i64, v: f64);
    /// A float that came late.
    fn late(&mut self, id: u32, t: i64, v: f64);
    /// A histogram.
    fn histogram(&mut self, id: u32, t: i64, h: Arc<Histogram>, is_late: bool);
    /// From now on the value before of every series is 0.
    fn run_starts(&mut self);
}

/// Decodes batches.
#[derive(Default)]
pub(crate) struct Decoder {
    segment: u64,
    /// Number of the next record within its run; `None` after a gap, up to the next run.
    next: Option<u64>,
    /// Whether the gap was reported.
    gap_told: bool,
    labels: HashMap<u32, (Arc<str>, Arc<str>), RandomState>,
    layouts: Vec<Vec<u32>>,
    times: Vec<i64>,
    raw: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

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
            self.next = None;
        }
        let mut r = Reader::new(payload);
        let flags = r.u8()?;
        let number = r.varint()?;
        if flags & RUN_STARTS != 0 {
            self.layouts.clear();
            self.next = Some(number);
            visit.run_starts();
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
        let mut raw = std::mem::take(&mut self.raw);
        let result = match flags & COMPRESSED != 0 {
            false => self.body(&mut r, visit),
            true => self.decompress(&mut r, &mut raw).and_then(|()| {
                let mut r = Reader::new(&raw);
                self.body(&mut r, visit)
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

    fn body(&mut self, r: &mut Reader<'_>, visit: &mut impl Visit) -> Result<(), Malformed> {
        for _ in 0..r.count(3)? {
            let number = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
            let pair = (Arc::from(r.text()?), Arc::from(r.text()?));
            self.labels.insert(number, pair);
        }
        let mut pairs = Vec::new();
        for _ in 0..r.count(2)? {
            let id = id_of(r.varint()? as i64)?;
            pairs.clear();
            for _ in 0..r.count(1)? {
                let number = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
                // A missing definition was in a damaged record: so is this series.
                let Some(pair) = self.labels.get(&number) else {
                    return Err(Malformed);
                };
                pairs.push(pair);
            }
            visit.define(
                id,
                Labels::from_sorted(pairs.iter().map(|(n, v)| (&**n, &**v))),
            );
        }
        self.floats(r, visit)?;
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

    fn floats(&mut self, r: &mut Reader<'_>, visit: &mut impl Visit) -> Result<(), Malformed> {
        let count = r.count(1)?;
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
        } else {
            ids.reserve_exact(count);
            let mut id = 0_i64;
            for _ in 0..count {
                id = id.wrapping_add(r.signed()?);
                ids.push(id_of(id)?);
            }
        }
        let result = match ids.len() == count {
            true => self.float_values(r, &ids, visit),
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
        let tags = r.take(ids.len())?;
        for (i, (id, tag)) in ids.iter().zip(tags).enumerate() {
            let t = self.times.get(i).copied().unwrap_or(t);
            let v = read_value(*tag, r, visit.before(*id))?;
            visit.float(*id, t, v);
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

/// Everything before the instant is in blocks.
pub(crate) fn encode_floor(floor_t: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_signed(&mut out, floor_t);
    out
}

pub(crate) fn decode_floor(payload: &[u8]) -> Result<i64, Malformed> {
    Reader::new(payload).signed()
}

/// The samples of matching series in a range are gone.
pub(crate) fn encode_deletion(sets: &[Vec<Matcher>], range: TimeRange) -> Vec<u8> {
    let mut out = Vec::new();
    put_signed(&mut out, range.start.millis());
    put_signed(&mut out, range.end.millis());
    put_varint(&mut out, sets.len() as u64);
    for matchers in sets {
        put_varint(&mut out, matchers.len() as u64);
        for m in matchers {
            out.push(match m.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            put_bytes(&mut out, m.name().as_bytes());
            put_bytes(&mut out, m.value().as_bytes());
        }
    }
    out
}

pub(crate) fn decode_deletion(payload: &[u8]) -> Result<(Vec<Vec<Matcher>>, TimeRange), Malformed> {
    let mut r = Reader::new(payload);
    let start = Timestamp::from_millis(r.signed()?);
    let end = Timestamp::from_millis(r.signed()?);
    let mut sets = Vec::new();
    for _ in 0..r.count(1)? {
        let mut matchers = Vec::new();
        for _ in 0..r.count(3)? {
            let op = match r.u8()? {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                _ => return Err(Malformed),
            };
            let (name, value) = (r.text()?, r.text()?);
            matchers.push(Matcher::new(name, op, value).map_err(|_| Malformed)?);
        }
        sets.push(matchers);
    }
    Ok((sets, TimeRange { start, end }))
}
