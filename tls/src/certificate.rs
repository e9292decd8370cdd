//! What is read of a certificate: the few parts of X.509 (RFC 5280) that probes tell and that
//! [`crate::Verifier`] looks at.

use std::fmt::Write as _;

/// Nesting and counts inside a certificate that are followed; real ones have a handful.
const NAMES_MAX: usize = 1000;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Begin of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970, inclusive.
    pub not_after: i64,
    /// Whom it is about, written as Go writes names.
    pub subject: String,
    /// Who signed it, written likewise.
    pub issuer: String,
    /// DNS names it is good for.
    pub dns_names: Vec<String>,
}

impl Certificate {
    /// Reads a certificate in DER; `None` when it is none.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Certificate> {
        let mut certificate = Der(Der(der).take(SEQUENCE)?);
        let mut tbs = Der(certificate.take(SEQUENCE)?);
        if tbs.peek()? == 0xa0 {
            tbs.next()?;
        }
        // Serial number and signature algorithm.
        tbs.next()?;
        tbs.take(SEQUENCE)?;
        let issuer = name(tbs.take(SEQUENCE)?)?;
        let mut validity = Der(tbs.take(SEQUENCE)?);
        let not_before = time(validity.next()?)?;
        let not_after = time(validity.next()?)?;
        let subject = name(tbs.take(SEQUENCE)?)?;
        tbs.take(SEQUENCE)?;
        let mut dns_names = Vec::new();
        while let Some((tag, content)) = tbs.next() {
            if tag == EXTENSIONS {
                dns_names = alternative_names(content).unwrap_or_default();
            }
        }
        Some(Certificate {
            not_before,
            not_after,
            subject,
            issuer,
            dns_names,
        })
    }
}

/// The end of the validity of what was presented: that of its first certificate to expire.
#[must_use]
pub fn earliest_expiry(chain: &[Certificate]) -> Option<i64> {
    chain.iter().map(|c| c.not_after).min()
}

/// When the verified chain ends to be valid: the first expiry on the way from the leaf up, among
/// the certificates presented. (The root, which is ours, outlives them.)
#[must_use]
pub fn chain_expiry(chain: &[Certificate]) -> Option<i64> {
    let mut at = chain.first()?;
    let mut expiry = at.not_after;
    for _ in 1..chain.len() {
        if at.issuer == at.subject {
            break;
        }
        let Some(issuer) = chain.iter().find(|c| c.subject == at.issuer) else {
            break;
        };
        expiry = expiry.min(issuer.not_after);
        at = issuer;
    }
    Some(expiry)
}

/// The rest of a DER value's content.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Tag and content of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else {
            return None;
        };
        let (length, rest) = match *first {
            short if short < 0x80 => (usize::from(short), rest),
            long => {
                let bytes = usize::from(long & 0x7f);
                if bytes == 0 || bytes > 4 || bytes > rest.len() {
                    return None;
                }
                let (length, rest) = rest.split_at(bytes);
                let length = length.iter().fold(0, |n, b| n << 8 | usize::from(*b));
                (length, rest)
            }
        };
        if length > rest.len() {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some((*tag, content))
    }

    /// Content of the next value, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(t, _)| *t == tag).map(|(_, c)| c)
    }
}

/// `UTCTime` (years 1950 to 2049) or `GeneralizedTime`, both in UTC.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day, hour) = (part(0)?, part(2)?, part(4)?);
    let (minute, second) = (part(6)?, part(8).unwrap_or(0));
    let fine = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !fine || !(1..=12).contains(&month) {
        return None;
    }
    let next_month = days(year + month / 12, month % 12 + 1);
    let day = (day >= 1).then(|| days(year, month) + day - 1)?;
    (day < next_month).then_some(day * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970 to the first of a month, to the end of the year 9999 and beyond: RFC 5280 has a
/// certificate without end expire with it.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days(year: i64, month: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut list = Der(Der(extensions).take(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = list.next() {
        let mut extension = Der(extension);
        if extension.take(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // A flag may stand before the value.
        let value = loop {
            if let (OCTETS, value) = extension.next()? {
                break value;
            }
        };
        let mut names = Der(Der(value).take(SEQUENCE)?);
        let mut found = Vec::new();
        while let Some((tag, name)) = names.next() {
            if tag == DNS_NAME && found.len() < NAMES_MAX {
                found.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        return Some(found);
    }
    None
}

/// Attributes Go knows by name, in the order in which it writes them from the end.
const ATTRIBUTES: [(u8, &str); 9] = [
    (6, "C"),
    (10, "O"),
    (11, "OU"),
    (7, "L"),
    (8, "ST"),
    (9, "STREET"),
    (17, "POSTALCODE"),
    (3, "CN"),
    (5, "SERIALNUMBER"),
];

/// A distinguished name as Go's `pkix.Name` writes it (RFC 2253, in an order of its own): labels
/// with it are compared with those blackbox_exporter made.
fn name(content: &[u8]) -> Option<String> {
    let mut known: [Vec<String>; ATTRIBUTES.len()] = Default::default();
    let mut unknown = Vec::new();
    let mut sets = Der(content);
    while let Some((SET, set)) = sets.next() {
        let mut pairs = Der(set);
        while let Some((SEQUENCE, pair)) = pairs.next() {
            let mut pair = Der(pair);
            let oid = pair.take(OID)?;
            let (tag, value) = pair.next()?;
            match oid {
                [0x55, 0x04, id] if ATTRIBUTES.iter().any(|(a, _)| a == id) => {
                    let at = ATTRIBUTES.iter().position(|(a, _)| a == id)?;
                    known[at].push(escaped(&text(tag, value)));
                }
                _ => unknown.push(format!("{}=#{}", dotted(oid), encoded(tag, value))),
            }
        }
    }
    let mut parts = unknown;
    for ((_, attribute), mut values) in ATTRIBUTES.into_iter().zip(known) {
        // Of a common name and a serial number Go keeps the last.
        if matches!(attribute, "CN" | "SERIALNUMBER") {
            values = values.pop().into_iter().collect();
        }
        let together: Vec<String> = values.iter().map(|v| format!("{attribute}={v}")).collect();
        if !together.is_empty() {
            parts.push(together.join("+"));
        }
    }
    parts.reverse();
    Some(parts.join(","))
}

fn text(tag: u8, value: &[u8]) -> String {
    const BMP_STRING: u8 = 0x1e;
    if tag == BMP_STRING {
        let units: Vec<u16> = value
            .chunks_exact(2)
            .map(|p| u16::from_be_bytes([p[0], p[1]]))
            .collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value).into_owned()
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (i, c) in value.chars().enumerate() {
        let special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => i == 0 || i == last,
            '#' => i == 0,
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn dotted(oid: &[u8]) -> String {
    let mut out = String::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = match out.is_empty() {
            true => write!(
                out,
                "{}.{}",
                (number / 40).min(2),
                number - 40 * (number / 40).min(2)
            ),
            false => write!(out, ".{number}"),
        };
        number = 0;
    }
    out
}

/// The value as Go would encode its text again.
fn encoded(tag: u8, value: &[u8]) -> String {
    const UTF8_STRING: u8 = 0x0c;
    const PRINTABLE_STRING: u8 = 0x13;
    let value = text(tag, value);
    let printable = |b: u8| b.is_ascii_alphanumeric() || b"'()+,-./:=? ".contains(&b);
    let tag = match value.bytes().all(printable) {
        true => PRINTABLE_STRING,
        false => UTF8_STRING,
    };
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    crate::hex(&[&[tag, length], value.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    fn attribute(id: u8, tag: u8, text: &[u8]) -> Vec<u8> {
        let pair = [value(OID, &[0x55, 0x04, id]), value(tag, text)].concat();
        value(SET, &value(SEQUENCE, &pair))
    }

    #[test]
    fn names_are_written_as_go_writes_them() {
        let utf8 = 0x0c;
        let parts = [
            attribute(3, utf8, b"a, b"),
            attribute(6, utf8, b"DE"),
            attribute(10, utf8, b" Acme "),
            attribute(11, utf8, b"one"),
            attribute(11, utf8, b"two"),
            attribute(10, 0x1e, &[0, b'#', 0, b'1']),
        ]
        .concat();
        assert_eq!(
            name(&parts).unwrap(),
            "CN=a\\, b,OU=one+OU=two,O=\\ Acme\\ +O=\\#1,C=DE"
        );
        let mail = value(OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01]);
        let pair = value(SEQUENCE, &[mail, value(0x16, b"a@b")].concat());
        assert_eq!(
            name(&value(SET, &pair)).unwrap(),
            "1.2.840.113549.1.9.1=#0c03614062"
        );
    }

    #[test]
    fn both_spellings_of_time_are_read() {
        assert_eq!(time((0x17, b"260101000000Z")), Some(1_767_225_600));
        assert_eq!(time((0x17, b"500101000000Z")), Some(-631_152_000));
        assert_eq!(time((0x18, b"20500101000000Z")), Some(2_524_608_000));
        // What RFC 5280 writes for "never".
        assert_eq!(time((0x18, b"99991231235959Z")), Some(253_402_300_799));
        assert_eq!(time((0x18, b"20240229120000Z")), Some(1_709_208_000));
        assert_eq!(time((0x18, b"20000229000000Z")), Some(951_782_400));
        for bad in [
            "20230229000000Z",
            "21000229000000Z",
            "20240100000000Z",
            "20241232000000Z",
            "20240101240000Z",
            "20240101006000Z",
            "20240101-10000Z",
        ] {
            assert_eq!(time((0x18, bad.as_bytes())), None, "{bad}");
        }
        assert_eq!(time((0x17, b"261301000000Z")), None);
        assert_eq!(time((0x17, b"2601")), None);
    }

    #[test]
    fn a_chain_expires_with_its_first_certificate_on_the_way_up() {
        let one = |subject: &str, issuer: &str, not_after| Certificate {
            not_before: 0,
            not_after,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            dns_names: Vec::new(),
        };
        let chain = [
            one("leaf", "mid", 30),
            one("other", "x", 5),
            one("mid", "root", 20),
        ];
        assert_eq!(chain_expiry(&chain), Some(20));
        assert_eq!(earliest_expiry(&chain), Some(5));
        assert_eq!(chain_expiry(&[one("a", "b", 1), one("b", "a", 2)]), Some(1));
        assert_eq!(chain_expiry(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes: Vec<u8>) {
            let _ = Certificate::parse(&bytes);
            let _ = Certificate::parse(&value(SEQUENCE, &bytes[..bytes.len().min(100)]));
        }
    }
}
