//! What becomes of a find, and the marks that stand in its place.
//!
//! A mark is `<label>`, `<label:0123456789abcdef>` (a pseudonym) or `<label:*1234>` (the last
//! four). Nothing is ever found inside a mark, so what was scrubbed stays as it is.

use std::ops::Range;

/// What is done with what a detector finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Replaced by its label: `<card>`.
    Mask,
    /// The last four letters or digits stay: `<card:*1111>`. Of fewer than nine, none.
    Partial,
    /// A keyed code in its place, the same for the same value: `<email:9f3a5c0e12d47b86>`.
    Pseudonym,
    /// Of an address, the network stays: 24 bits of IPv4, 48 of IPv6. For `ip` only.
    Truncate,
    /// The whole line is not stored; of labels, the value is masked.
    Drop,
    /// Nothing but counting.
    Count,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 6] = [
        Action::Mask,
        Action::Partial,
        Action::Pseudonym,
        Action::Truncate,
        Action::Drop,
        Action::Count,
    ];

    /// Its name in the configuration and in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Mask => "mask",
            Action::Partial => "partial",
            Action::Pseudonym => "pseudonym",
            Action::Truncate => "truncate",
            Action::Drop => "drop",
            Action::Count => "count",
        }
    }

    /// The action of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Longest label, in bytes.
pub(crate) const LABEL_BYTES_MAX: usize = 32;
/// Longest mark: the brackets, a colon and a pseudonym.
const MARK_BYTES_MAX: usize = LABEL_BYTES_MAX + 3 + PSEUDONYM_BYTES;
const PSEUDONYM_BYTES: usize = 16;
/// What stays of a partly shown value.
const SHOWN: usize = 4;
/// Of fewer letters and digits than this, nothing is shown.
const SHOWN_OF_MIN: usize = 9;

/// The mark for a partly shown value.
pub(crate) fn partial(label: &str, value: &str) -> String {
    let mut symbols: Vec<char> = value.chars().filter(char::is_ascii_alphanumeric).collect();
    if symbols.len() < SHOWN_OF_MIN {
        return format!("<{label}>");
    }
    let shown: String = symbols.drain(symbols.len() - SHOWN..).collect();
    format!("<{label}:*{shown}>")
}

/// The labels in use: which words in angle brackets are marks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    labels: Vec<String>,
}

impl Marks {
    pub(crate) fn new(labels: Vec<String>) -> Self {
        Marks { labels }
    }

    /// Whether `text` is a mark and nothing else.
    pub(crate) fn is_mark(&self, text: &[u8]) -> bool {
        let [b'<', inner @ .., b'>'] = text else {
            return false;
        };
        let colon = memchr::memchr(b':', inner);
        let label = &inner[..colon.unwrap_or(inner.len())];
        let rest = colon.map(|at| &inner[at + 1..]);
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let known = match rest {
            None => true,
            Some([b'*', shown @ ..]) => {
                shown.len() == SHOWN && shown.iter().all(u8::is_ascii_alphanumeric)
            }
            Some(code) => code.len() == PSEUDONYM_BYTES && code.iter().all(hex),
        };
        known && self.labels.iter().any(|known| known.as_bytes() == label)
    }

    /// The mark that holds byte `at`, if one does.
    pub(crate) fn around(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        let from = at.saturating_sub(MARK_BYTES_MAX);
        let to = text.len().min(at + MARK_BYTES_MAX);
        let open = from + memchr::memrchr(b'<', text.get(from..=at)?)?;
        let close = open + memchr::memchr(b'>', &text[open..to])?;
        (close >= at && self.is_mark(&text[open..=close])).then_some(open..close + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_of_at_least_nine_are_shown() {
        assert_eq!(partial("card", "4111 1111 1111 1234"), "<card:*1234>");
        assert_eq!(partial("secret", "hunter22"), "<secret>");
        assert_eq!(partial("ssn", "460-89-9847"), "<ssn:*9847>");
    }

    #[test]
    fn marks_are_told_from_other_words() {
        let marks = Marks::new(vec!["card".to_owned(), "email".to_owned()]);
        let check =
            |text: &str, expect| assert_eq!(marks.is_mark(text.as_bytes()), expect, "{text}");
        check("<card>", true);
        check("<card:*1234>", true);
        check("<email:0123456789abcdef>", true);
        check("<emails>", false);
        check("<card:1234>", false);
        check("<email:0123456789ABCDEF>", false);
        check("card", false);
        assert_eq!(marks.around(b"a <card:*1234> b", 8), Some(2..14));
        assert_eq!(marks.around(b"a <card:*1234> b", 15), None);
        assert_eq!(marks.around(b"<a <card> b>", 10), None);
    }
}
