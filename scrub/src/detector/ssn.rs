//! Social security numbers of the United States, `ddd-dd-dddd`: off by default, because outside
//! of the United States the form is that of order numbers.

use std::ops::Range;

use crate::text::{ends_token, starts_token};
use crate::trigger::{ByteSet, Trigger};

/// Bytes of a number with its separators.
const LENGTH: usize = 11;

pub(super) fn triggers() -> Vec<Trigger> {
    const D: ByteSet = ByteSet::DIGIT;
    [b'-', b' ']
        .map(ByteSet::one)
        .map(|gap| Trigger::shape(0, &[D, D, D, gap, D, D, gap, D]))
        .into()
}

pub(super) fn locate(text: &[u8], trigger: Range<usize>) -> Option<Range<usize>> {
    let found = trigger.start..trigger.start + LENGTH;
    let serial = text.get(trigger.end - 1..found.end)?;
    if !serial.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let glued = |byte: Option<&u8>| matches!(byte, Some(b'-' | b'.' | b'+'));
    let before = found.start.checked_sub(1).and_then(|at| text.get(at));
    let next_digit = text.get(found.end + 1).is_some_and(u8::is_ascii_digit);
    if !starts_token(text, found.start)
        || !ends_token(text, found.end)
        || glued(before)
        || (glued(text.get(found.end)) && next_digit)
    {
        return None;
    }
    let number = &text[found.clone()];
    let (area, group, serial) = (&number[..3], &number[4..6], &number[7..]);
    // Never issued (Social Security Administration).
    let never =
        area == b"000" || area == b"666" || area[0] == b'9' || group == b"00" || serial == b"0000";
    (!never).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn numbers_as_written() {
        check("ssn: 460-89-9847.", "ssn: <ssn>.");
        check("460 89 9847", "<ssn>");
    }

    #[test]
    fn other_numbers() {
        keeps("000-12-3456 666-12-3456 900-12-3456 460-00-9847 460-89-0000");
        keeps("1460-89-9847 460-89-98471 460-89-9847-1 1.460-89-9847 2026-11-22");
    }
}
