//! How far a stream has been read, and its encoding for the store.

use super::assemble::Line;
use super::quota::Used;

/// The last line of a stream that was handed on: when and what. Timestamps alone do not tell
/// lines apart, and their order means nothing once a clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Its timestamp, nanoseconds since the epoch.
    pub(crate) at_ns: i64,
    /// [`hash`] of its raw text.
    pub(crate) hash: u128,
}

impl Anchor {
    pub(crate) fn of(line: &Line) -> Self {
        Anchor::of_parts(line.at_ns, &line.text, line.length)
    }

    /// Of a line with that kept text, which was `length` bytes long.
    pub(crate) fn of_parts(at_ns: i64, text: &[u8], length: usize) -> Self {
        Anchor {
            at_ns,
            hash: hash(text, length),
        }
    }

    pub(crate) fn is(&self, line: &Line) -> bool {
        self.at_ns == line.at_ns && self.hash == hash(&line.text, line.length)
    }
}

/// What is stored beside the lines of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The stream's last line.
    pub(crate) anchor: Anchor,
    /// Counts the positions of a container: of its two streams, the larger is the newer.
    pub(crate) sequence: u64,
    /// When this was written, no line of either stream older than this was still to be handed
    /// on. Lets both streams be followed by one request though one may be silent for days.
    pub(crate) unread_from_ns: i64,
    /// The latest timestamp handed on, of either stream: later than the anchors only once a clock
    /// was set back, when the order of lines can no longer be told from their times.
    pub(crate) latest_ns: i64,
    /// What the container's quota has taken.
    pub(crate) used: Used,
}

const VERSION: u8 = 2;
const ENCODED_BYTES: usize = 1 + 8 + 16 + 8 + 8 + 8 + Used::ENCODED_BYTES;

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENCODED_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.anchor.at_ns.to_le_bytes());
        bytes.extend_from_slice(&self.anchor.hash.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.unread_from_ns.to_le_bytes());
        bytes.extend_from_slice(&self.latest_ns.to_le_bytes());
        self.used.encode(&mut bytes);
        bytes
    }

    /// `None` when another version wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (at_ns, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (unread_from_ns, rest) = rest.split_first_chunk()?;
        let (latest_ns, rest) = rest.split_first_chunk()?;
        let used = Used::decode(rest)?;
        Some(Position {
            anchor: Anchor {
                at_ns: i64::from_le_bytes(*at_ns),
                hash: u128::from_le_bytes(*hash),
            },
            sequence: u64::from_le_bytes(*sequence),
            unread_from_ns: i64::from_le_bytes(*unread_from_ns),
            latest_ns: i64::from_le_bytes(*latest_ns),
            used,
        })
    }
}

/// FNV-1a with 128 bits over the kept text and the length before it was cut. It is stored, so
/// it must never change; a hash of the standard library might.
fn hash(text: &[u8], length: usize) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let length = (length as u64).to_le_bytes();
    text.iter().chain(&length).fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ns: i64, text: &str) -> Line {
        Line {
            at_ns,
            text: text.into(),
            length: text.len(),
        }
    }

    #[test]
    fn positions_survive_their_encoding() {
        let position = Position {
            anchor: Anchor::of(&line(-7, "a")),
            sequence: u64::MAX,
            unread_from_ns: i64::MIN,
            latest_ns: i64::MAX,
            used: Used {
                day: -1,
                bytes: 2,
                beyond_lines: 3,
                dropped_lines: 4,
                dropped_bytes: 5,
            },
        };
        let bytes = position.encode();
        assert_eq!(bytes.len(), ENCODED_BYTES);
        assert_eq!(Position::decode(&bytes), Some(position));
    }

    #[test]
    fn foreign_bytes_are_no_position() {
        assert_eq!(Position::decode(b""), None);
        assert_eq!(Position::decode(&[VERSION; ENCODED_BYTES - 1]), None);
        assert_eq!(Position::decode(&[VERSION; ENCODED_BYTES + 1]), None);
        assert_eq!(Position::decode(&[VERSION + 1; ENCODED_BYTES]), None);
    }

    #[test]
    fn an_anchor_is_one_line_only() {
        let anchor = Anchor::of(&line(1, "a"));
        assert!(anchor.is(&line(1, "a")));
        assert!(!anchor.is(&line(2, "a")));
        assert!(!anchor.is(&line(1, "b")));
        let cut = Line {
            length: 2,
            ..line(1, "a")
        };
        assert!(!anchor.is(&cut));
    }

    /// The hash is on disk: it must stay what it is.
    #[test]
    fn the_hash_is_fnv_1a() {
        let anchor = Anchor::of(&line(0, ""));
        assert_eq!(anchor.hash, 0x9d30_c1f7_8465_995b_e47d_da5e_4e4e_77ed);
    }
}
