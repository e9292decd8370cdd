//! Messages of DNS (RFC 1035): a question written, an answer read within its bounds.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Question;

/// Pointers followed in one name: legal names have fewer, loops have more.
const POINTERS_MAX: usize = 20;
/// Longest name, bytes (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Longest label, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// The type of a zone's first record.
pub(super) const SOA: u16 = 6;
const IN: u16 = 1;

const KINDS: [(u16, &str); 21] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (SOA, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
    (257, "CAA"),
];

const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    /// Answer, authority, additional.
    pub(super) sections: [Vec<Record>; 3],
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Name, TTL, class, type and data with tabs between.
    pub(super) text: String,
    /// Of a SOA record.
    pub(super) serial: Option<u32>,
}

/// The number of a record type, by name.
pub(super) fn kind(name: &str) -> Option<u16> {
    let found = KINDS.iter().find(|(_, n)| n.eq_ignore_ascii_case(name));
    found.map(|(k, _)| *k).or_else(|| {
        let number = name.get(..4).filter(|p| p.eq_ignore_ascii_case("TYPE"));
        number.and_then(|_| name[4..].parse().ok())
    })
}

/// The number of an answer code, by name.
pub(super) fn code(name: &str) -> Option<u8> {
    let found = CODES.iter().position(|c| c.eq_ignore_ascii_case(name));
    found.map(|c| c as u8)
}

/// The name of an answer code.
pub(super) fn code_name(code: u8) -> String {
    CODES
        .get(usize::from(code))
        .map_or_else(|| format!("RCODE{code}"), |c| (*c).to_owned())
}

/// A name as it travels; `None` when it is none.
pub(super) fn encode_name(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut out = Vec::new();
    for label in name.split('.').filter(|_| !name.is_empty()) {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || !label.is_ascii() {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    (out.len() <= NAME_BYTES_MAX).then_some(out)
}

/// A message with one question, and its number.
pub(super) fn encode(question: &Question) -> (u16, Vec<u8>) {
    use std::hash::{BuildHasher, RandomState};
    // Whoever cannot guess the number cannot answer in the server's place.
    let id = RandomState::new().hash_one(0) as u16;
    let flags: u16 = if question.recursion { 0x0100 } else { 0 };
    let mut out = Vec::new();
    for number in [id, flags, 1, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&question.name);
    for number in [question.kind, IN] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    (id, out)
}

/// Reads an answer; `None` when it is malformed.
pub(super) fn decode(bytes: &[u8]) -> Option<Answer> {
    let mut reader = Reader { bytes, at: 2 };
    let flags = reader.u16()?;
    const RESPONSE: u16 = 0x8000;
    if flags & RESPONSE == 0 {
        return None;
    }
    let questions = reader.u16()?;
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..questions {
        reader.name()?;
        reader.take(4)?;
    }
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (section, count) in sections.iter_mut().zip(counts) {
        for _ in 0..count {
            // A truncated message ends before its counts do.
            const TRUNCATED: u16 = 0x0200;
            match reader.record() {
                Some(record) => section.push(record),
                None if flags & TRUNCATED != 0 => break,
                None => return None,
            }
        }
    }
    Some(Answer {
        code: (flags & 0x000f) as u8,
        sections,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A name, its pointers followed, with a dot at its end.
    fn name(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut length = 0;
        let (mut at, mut after) = (self.at, None);
        let mut pointers = 0;
        loop {
            let first = usize::from(*self.bytes.get(at)?);
            match first {
                0 => break,
                pointer if pointer & 0xc0 == 0xc0 => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    after.get_or_insert(at + 2);
                    at = (pointer & 0x3f) << 8 | low;
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                }
                label if label <= LABEL_BYTES_MAX => {
                    length += label + 1;
                    if length > NAME_BYTES_MAX {
                        return None;
                    }
                    escape(self.bytes.get(at + 1..at + 1 + label)?, b".", &mut out);
                    out.push('.');
                    at += label + 1;
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(at + 1);
        if out.is_empty() {
            out.push('.');
        }
        Some(out)
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let start = self.at;
        let data = self.take(length)?;
        let end = self.at;
        let mut inside = Reader {
            bytes: &self.bytes[..end],
            at: start,
        };
        let mut serial = None;
        let text = inside.data(kind, &mut serial).filter(|_| inside.at == end);
        let text = text.unwrap_or_else(|| {
            serial = None;
            format!("\\# {length} {}", tls::hex(data))
        });
        let kind = KINDS
            .iter()
            .find(|(k, _)| *k == kind)
            .map_or_else(|| format!("TYPE{kind}"), |(_, n)| (*n).to_owned());
        let class = match class {
            IN => "IN".to_owned(),
            other => format!("CLASS{other}"),
        };
        Some(Record {
            text: format!("{name}\t{ttl}\t{class}\t{kind}\t{text}"),
            serial,
        })
    }

    /// The data of the common types as zone files write them; others are left to the caller.
    fn data(&mut self, kind: u16, serial: &mut Option<u32>) -> Option<String> {
        Some(match kind {
            1 => {
                let b = self.take(4)?;
                Ipv4Addr::new(b[0], b[1], b[2], b[3]).to_string()
            }
            28 => {
                let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
                Ipv6Addr::from(octets).to_string()
            }
            2 | 5 | 12 | 39 => self.name()?,
            15 => format!("{} {}", self.u16()?, self.name()?),
            33 => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            16 => {
                let mut out = String::new();
                while self.at < self.bytes.len() {
                    let length = usize::from(self.u8()?);
                    if !out.is_empty() {
                        out.push(' ');
                    }
                    quote(self.take(length)?, &mut out);
                }
                out
            }
            SOA => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let number = self.u32()?;
                *serial = Some(number);
                let mut out = format!("{server} {mailbox} {number}");
                for _ in 0..4 {
                    let _ = write!(out, " {}", self.u32()?);
                }
                out
            }
            257 => {
                let (flags, length) = (self.u8()?, usize::from(self.u8()?));
                let mut out = format!("{flags} ");
                escape(self.take(length)?, b"", &mut out);
                out.push(' ');
                let rest = self.take(self.bytes.len() - self.at)?;
                quote(rest, &mut out);
                out
            }
            _ => return None,
        })
    }
}

fn quote(bytes: &[u8], out: &mut String) {
    out.push('"');
    escape(bytes, b"\"\\", out);
    out.push('"');
}

fn escape(bytes: &[u8], special: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b if special.contains(b) => {
                out.push('\\');
                out.push(*b as char);
            }
            b' '..=b'~' => out.push(*byte as char),
            other => {
                let _ = write!(out, "\\{other:03}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `example.org` with these sections of (type, data).
    fn answer(flags: u16, counts: [u16; 3], records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = vec![0, 7];
        for number in [flags, 1, counts[0], counts[1], counts[2]] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&encode_name("example.org").unwrap());
        out.extend_from_slice(&[0, 1, 0, 1]);
        for (kind, data) in records {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn records_are_written_as_zone_files_have_them() {
        let soa = b"\x02ns\xc0\x0c\x02me\xc0\x0c\0\0\0\x2a\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04";
        let records: [(u16, &[u8]); 7] = [
            (1, &[10, 0, 0, 1]),
            (15, b"\0\x0a\x04mail\xc0\x0c"),
            (16, b"\x03a\"b\x01c"),
            (SOA, soa),
            (257, b"\0\x05issueca.org"),
            (99, b"\x01\x02"),
            (1, b"\x01"),
        ];
        let decoded = decode(&answer(0x8180, [3, 2, 2], &records)).unwrap();
        assert_eq!(decoded.code, 0);
        let texts: Vec<&str> = decoded
            .sections
            .iter()
            .flatten()
            .map(|r| r.text.as_str())
            .collect();
        assert_eq!(
            texts,
            [
                "example.org.\t60\tIN\tA\t10.0.0.1",
                "example.org.\t60\tIN\tMX\t10 mail.example.org.",
                "example.org.\t60\tIN\tTXT\t\"a\\\"b\" \"c\"",
                "example.org.\t60\tIN\tSOA\tns.example.org. me.example.org. 42 1 2 3 4",
                "example.org.\t60\tIN\tCAA\t0 issue \"ca.org\"",
                "example.org.\t60\tIN\tTYPE99\t\\# 2 0102",
                "example.org.\t60\tIN\tA\t\\# 1 01",
            ]
        );
        assert_eq!(decoded.sections[1][0].serial, Some(42));
        assert_eq!(decoded.sections.map(|s| s.len()), [3, 2, 2]);
    }

    #[test]
    fn what_is_cut_or_loops_is_refused_unless_it_says_so() {
        let whole = answer(0x8180, [2, 0, 0], &[(1, &[10, 0, 0, 1])]);
        assert_eq!(decode(&whole), None);
        let truncated = answer(0x8380, [2, 0, 0], &[(1, &[10, 0, 0, 1])]);
        assert_eq!(decode(&truncated).unwrap().sections[0].len(), 1);
        let looping = answer(0x8180, [1, 0, 0], &[(2, &[0xc0, 41])]);
        assert!(
            decode(&looping).unwrap().sections[0][0]
                .text
                .ends_with("\\# 2 c029")
        );
        assert_eq!(
            decode(&answer(0x0100, [0; 3], &[])),
            None,
            "a question is no answer"
        );
        assert_eq!(decode(&answer(0x8183, [0; 3], &[])).unwrap().code, 3);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes: Vec<u8>) {
            let _ = decode(&[&[0, 7, 0x81, 0x80][..], &bytes].concat());
        }
    }
}
