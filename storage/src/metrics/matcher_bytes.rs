//! Matchers as bytes, in the log's deletions and the blocks' tombstones.
//! Bytes: `docs/formats/wal.md`, `docs/formats/block.md`.

use model::{MatchOp, Matcher};

use crate::bytes::{Malformed, Reader, put_bytes, put_varint};

/// Their number, then operator, name and value of each.
pub(super) fn put_matchers(out: &mut Vec<u8>, matchers: &[Matcher]) {
    put_varint(out, matchers.len() as u64);
    for m in matchers {
        out.push(match m.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        });
        put_bytes(out, m.name().as_bytes());
        put_bytes(out, m.value().as_bytes());
    }
}

/// Reads what [`put_matchers`] wrote.
pub(super) fn read_matchers(r: &mut Reader<'_>) -> Result<Vec<Matcher>, Malformed> {
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
    Ok(matchers)
}
