//! The parts of a native histogram as bytes, in the log and in blocks.
//! Bytes: `docs/formats/wal.md`, `docs/formats/block.md`.

use model::histogram::{CounterResetHint, Span};

use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Hint and schema.
pub(super) fn put_kind(out: &mut Vec<u8>, hint: CounterResetHint, schema: i32) {
    out.push(match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_signed(out, schema.into());
}

/// Reads what [`put_kind`] wrote.
pub(super) fn read_kind(r: &mut Reader<'_>) -> Result<(CounterResetHint, i32), Malformed> {
    let hint = match r.u8()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return Err(Malformed),
    };
    let schema = i32::try_from(r.signed()?).map_err(|_| Malformed)?;
    Ok((hint, schema))
}

/// Eight bytes: the bits.
pub(super) fn put_float(out: &mut Vec<u8>, v: f64) {
    out.extend_from_slice(&v.to_bits().to_le_bytes());
}

/// Reads what [`put_float`] wrote.
pub(super) fn read_float(r: &mut Reader<'_>) -> Result<f64, Malformed> {
    Ok(f64::from_bits(r.u64()?))
}

/// Their number, then the floats.
pub(super) fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_varint(out, values.len() as u64);
    for v in values {
        put_float(out, *v);
    }
}

/// Reads what [`put_floats`] wrote.
pub(super) fn read_floats(r: &mut Reader<'_>) -> Result<Vec<f64>, Malformed> {
    let count = r.count(8)?;
    (0..count).map(|_| read_float(r)).collect()
}

/// Their number, then offset and length of each.
pub(super) fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_varint(out, spans.len() as u64);
    for span in spans {
        put_signed(out, span.offset.into());
        put_varint(out, span.length.into());
    }
}

/// Reads what [`put_spans`] wrote.
pub(super) fn read_spans(r: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = r.count(2)?;
    let span = |r: &mut Reader<'_>| {
        Ok(Span {
            offset: i32::try_from(r.signed()?).map_err(|_| Malformed)?,
            length: u32::try_from(r.varint()?).map_err(|_| Malformed)?,
        })
    };
    (0..count).map(|_| span(r)).collect()
}
