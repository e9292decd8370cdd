//! A batch of samples as a record of the write-ahead log. Bytes: `docs/formats/wal.md`.

use model::Labels;

use crate::bytes::{Malformed, Reader, put_labels, put_signed, put_varint};

/// The record's type.
pub(crate) const SAMPLES: u8 = 1;

/// A sample whose series has a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NumberedSample {
    pub(crate) id: u32,
    pub(crate) t: i64,
    pub(crate) v: f64,
}

/// Encodes the definitions that this segment does not have yet, and the samples. Gives the
/// bytes of the definitions.
pub(crate) fn encode<'a>(
    definitions: impl ExactSizeIterator<Item = (u32, &'a Labels)>,
    samples: &[NumberedSample],
    out: &mut Vec<u8>,
) -> usize {
    put_varint(out, definitions.len() as u64);
    for (id, labels) in definitions {
        put_varint(out, id.into());
        put_labels(out, labels);
    }
    let definition_bytes = out.len();
    let mut before = samples.first().map_or(0, |s| s.t);
    put_signed(out, before);
    put_varint(out, samples.len() as u64);
    let mut id_before = 0_i64;
    for s in samples {
        put_signed(out, i64::from(s.id) - id_before);
        put_signed(out, s.t.wrapping_sub(before));
        out.extend_from_slice(&s.v.to_bits().to_le_bytes());
        id_before = i64::from(s.id);
        before = s.t;
    }
    definition_bytes
}

/// Hands definitions and then samples to the visitors.
pub(crate) fn decode(
    payload: &[u8],
    definition: &mut dyn FnMut(u32, Labels),
) -> Result<Vec<NumberedSample>, Malformed> {
    let mut r = Reader::new(payload);
    let id_of = |v: i64| u32::try_from(v).map_err(|_| Malformed);
    for _ in 0..r.count(2)? {
        let id = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
        definition(id, r.labels()?);
    }
    let mut t = r.signed()?;
    let count = r.count(10)?;
    let mut samples = Vec::with_capacity(count);
    let mut id = 0_i64;
    for _ in 0..count {
        id = id.wrapping_add(r.signed()?);
        t = t.wrapping_add(r.signed()?);
        let v = f64::from_bits(r.u64()?);
        samples.push(NumberedSample {
            id: id_of(id)?,
            t,
            v,
        });
    }
    Ok(samples)
}
