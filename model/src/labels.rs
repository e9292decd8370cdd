//! A label set: sorted, duplicate-free, in one shared allocation.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A label set, sorted by name in byte order, without duplicates and without empty values.
///
/// One reference-counted string holds everything, each name and value preceded by its length
/// in base 64 (so that the whole stays valid UTF-8). Cloning is one atomic increment and
/// equality one comparison of bytes, which is what a head with 100,000 series needs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    packed: Arc<str>,
}

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Labels {
            packed: Arc::from(""),
        }
    }

    /// From pairs in any order. The last of two equal names wins; an empty value means absent.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = pairs.into_iter().map(|(n, v)| (n.into(), v.into()));
        let mut pairs: Vec<(String, String)> = pairs.collect();
        // Stable: of equal names the last stays last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let is_last = |i: usize, name: &str| pairs.get(i + 1).is_none_or(|(n, _)| n != name);
        let kept = pairs.iter().enumerate();
        let kept = kept.filter(|(i, (n, v))| !v.is_empty() && is_last(*i, n));
        Labels::pack(kept.map(|(_, (n, v))| (n.as_str(), v.as_str())))
    }

    /// From pairs that are already sorted by name, distinct and without empty values; others
    /// make a set that compares wrongly. Costs one allocation of the final size.
    #[must_use]
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
        Labels::pack(pairs)
    }

    /// As [`Labels::from_sorted`], from bytes that were sent. `scratch` is overwritten, and kept by
    /// the caller for the next set.
    ///
    /// # Errors
    /// When a name or value is not UTF-8.
    pub fn from_sorted_utf8<'a>(
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        scratch: &mut Vec<u8>,
    ) -> Result<Labels, std::str::Utf8Error> {
        scratch.clear();
        for (name, value) in pairs {
            for text in [name, value] {
                push_length(text.len(), |byte| scratch.push(byte));
                scratch.extend_from_slice(text);
            }
        }
        // A length is ASCII and ends whatever was before it: when the whole is valid, so is each
        // text, and one long check takes less than many short ones.
        let packed = std::str::from_utf8(scratch)?;
        Ok(Labels {
            packed: Arc::from(packed),
        })
    }

    /// Whether both are clones of one set; others may be equal all the same.
    #[must_use]
    pub fn is_same(&self, other: &Labels) -> bool {
        Arc::ptr_eq(&self.packed, &other.packed)
    }

    /// The value of `name`, or `None` when absent. (PromQL reads absent as empty.)
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// The metric name, empty when there is none.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Name and value of each label, in name order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed }
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Bytes this set occupies on the heap, shared among its clones.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.packed.len() + 2 * size_of::<usize>()
    }

    /// A builder that starts from this set.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }

    /// This set without `name`.
    #[must_use]
    pub fn without(&self, name: &str) -> Labels {
        if self.get(name).is_none() {
            return self.clone();
        }
        Labels::pack(self.iter().filter(|(n, _)| *n != name))
    }

    /// Alertmanager's fingerprint: FNV-1a, 64 bits, over each name, 0xff, value, 0xff.
    /// Printed as 16 hex digits. Source: prometheus/common `model.LabelsToSignature`.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for b in bytes {
                hash = (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for (name, value) in self {
            eat(name.as_bytes());
            eat(&[0xff]);
            eat(value.as_bytes());
            eat(&[0xff]);
        }
        hash
    }

    /// All of it as one text, see [`push_text`].
    pub(crate) fn packed(&self) -> &str {
        &self.packed
    }

    /// From what [`Labels::packed`] gave.
    pub(crate) fn from_packed(packed: &str) -> Labels {
        Labels {
            packed: Arc::from(packed),
        }
    }

    /// From pairs that are already sorted, distinct and non-empty.
    fn pack<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
        // Most sets fit, so that the text does not move as it grows; the copy below is exact.
        let mut packed = String::with_capacity(256);
        for (name, value) in pairs {
            push_text(&mut packed, name);
            push_text(&mut packed, value);
        }
        Labels {
            packed: Arc::from(packed),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By name, then value, label by label; a prefix sorts first, as in Prometheus.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Prints as Prometheus does: `name{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        f.write_str(name)?;
        let mut rest = self.iter().filter(|(n, _)| *n != METRIC_NAME).peekable();
        if rest.peek().is_none() && !name.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, (n, v)) in rest.enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{n}={}", Quoted(v))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Displays a string between double quotes with `\\`, `\"` and `\n` escaped.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut plain = 0;
        for (i, b) in self.0.bytes().enumerate() {
            let escaped = match b {
                b'\\' => "\\\\",
                b'"' => "\\\"",
                b'\n' => "\\n",
                _ => continue,
            };
            f.write_str(&self.0[plain..i])?;
            f.write_str(escaped)?;
            plain = i + 1;
        }
        f.write_str(&self.0[plain..])?;
        f.write_str("\"")
    }
}

/// Labels of a set in name order.
#[derive(Clone)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iter<'a> {
    /// Of a set as [`Labels::packed`] gives it.
    pub(crate) fn of(packed: &'a str) -> Iter<'a> {
        Iter { rest: packed }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_text(&mut self.rest);
        let value = take_text(&mut self.rest);
        Some((name, value))
    }
}

/// Collects labels, later values overwriting earlier ones, and packs them.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.iter_mut().find(|(n, _)| *n == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name, value)),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// Keeps the labels for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, v)| keep(n, v));
        self
    }

    /// The value set so far.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find_map(|(n, v)| (n == name && !v.is_empty()).then_some(v.as_str()))
    }

    /// The sorted set.
    #[must_use]
    pub fn build(mut self) -> Labels {
        self.pairs.sort_unstable();
        Labels::pack(
            self.pairs
                .iter()
                .filter(|(_, v)| !v.is_empty())
                .map(|(n, v)| (n.as_str(), v.as_str())),
        )
    }
}

/// Low six bits of each length byte are payload, 0x40 says that another follows:
/// every byte stays below 0x80, so the packed string is valid UTF-8 by construction.
fn push_length(mut len: usize, mut push: impl FnMut(u8)) {
    while len >= 0x40 {
        push(0x40 | (len & 0x3f) as u8);
        len >>= 6;
    }
    push(len as u8);
}

/// Appends a name or value, its length before it.
pub(crate) fn push_text(packed: &mut String, text: &str) {
    push_length(text.len(), |byte| packed.push(char::from(byte)));
    packed.push_str(text);
}

fn take_text<'a>(rest: &mut &'a str) -> &'a str {
    let bytes = rest.as_bytes();
    let (mut len, mut shift, mut at) = (0_usize, 0, 0);
    loop {
        let b = bytes[at];
        at += 1;
        len |= usize::from(b & 0x3f) << shift;
        shift += 6;
        if b & 0x40 == 0 {
            break;
        }
    }
    let text = &rest[at..at + len];
    *rest = &rest[at + len..];
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_sorted_and_an_empty_value_means_absent() {
        let l = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("a", "3")]);
        assert_eq!(l.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!(l.get("c"), None);
    }

    #[test]
    fn labels_of_bytes_are_those_of_text_unless_a_text_is_cut_in_the_middle() {
        let long = "é".repeat(100);
        let texts = [("__name__", "up"), ("a", long.as_str()), ("b", "")];
        let bytes = texts.map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let mut scratch = vec![1];
        let made = Labels::from_sorted_utf8(bytes.into_iter(), &mut scratch);
        assert_eq!(made.as_ref(), Ok(&Labels::from_sorted(texts.into_iter())));
        // Two halves of a letter in neighbouring texts make none.
        let (front, back) = (&b"a\xc3"[..], &b"\xa9b"[..]);
        assert!(Labels::from_sorted_utf8([(front, back)].into_iter(), &mut scratch).is_err());
    }

    #[test]
    fn labels_print_as_prometheus_prints_them() {
        let l = Labels::from_pairs([("__name__", "up"), ("job", "a\"b\\c\nd"), ("instance", "x")]);
        assert_eq!(l.to_string(), r#"up{instance="x", job="a\"b\\c\nd"}"#);
        assert_eq!(Labels::from_pairs([("__name__", "up")]).to_string(), "up");
        assert_eq!(Labels::empty().to_string(), "{}");
    }

    #[test]
    fn the_fingerprint_is_the_one_alertmanager_prints() {
        // Go: model.LabelSet{"alertname":"X"}.Fingerprint() over "alertname" ff "X" ff.
        let by_hand = b"alertname\xffX\xff"
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        assert_eq!(
            Labels::from_pairs([("alertname", "X")]).fingerprint(),
            by_hand
        );
    }

    proptest! {
        #[test]
        fn packing_round_trips(map in prop::collection::btree_map(".{1,80}", ".{1,5000}", 0..6)) {
            let l = Labels::from_pairs(map.clone());
            let back: std::collections::BTreeMap<String, String> =
                l.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, map);
            prop_assert_eq!(l.to_builder().build(), l);
        }
    }
}
