//! Sets of bytes, of which triggers are made.

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(crate) const EMPTY: ByteSet = ByteSet([0; 4]);
    pub(crate) const ALL: ByteSet = ByteSet([u64::MAX; 4]);
    pub(crate) const DIGIT: ByteSet = Self::EMPTY.and(b'0', b'9');
    pub(crate) const UPPER: ByteSet = Self::EMPTY.and(b'A', b'Z');
    pub(crate) const LOWER: ByteSet = Self::EMPTY.and(b'a', b'z');
    pub(crate) const HEX: ByteSet = Self::DIGIT.and(b'a', b'f').and(b'A', b'F');
    pub(crate) const ALNUM: ByteSet = Self::DIGIT.and(b'a', b'z').and(b'A', b'Z');

    /// One byte.
    pub(crate) const fn one(byte: u8) -> Self {
        Self::EMPTY.and(byte, byte)
    }

    /// These bytes.
    pub(crate) const fn of(bytes: &[u8]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < bytes.len() {
            set = set.and(bytes[at], bytes[at]);
            at += 1;
        }
        set
    }

    /// A letter in both cases; any other byte as it is.
    pub(crate) const fn either_case(byte: u8) -> Self {
        Self::of(&[byte.to_ascii_lowercase(), byte.to_ascii_uppercase()])
    }

    /// Also the bytes from `first` to `last`, both included.
    pub(crate) const fn and(self, first: u8, last: u8) -> Self {
        let mut set = self;
        let mut byte = first;
        while byte <= last {
            set.0[(byte / 64) as usize] |= 1 << (byte % 64);
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        set
    }

    /// The bytes of both.
    pub(crate) const fn or(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        ByteSet([a | e, b | f, c | g, d | h])
    }

    /// All other bytes.
    pub(crate) const fn not(self) -> Self {
        let [a, b, c, d] = self.0;
        ByteSet([!a, !b, !c, !d])
    }

    pub(crate) fn holds(self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    /// Its bytes in ascending order.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> {
        (0..4_u8).zip(self.0).flat_map(|(part, mut bits)| {
            std::iter::from_fn(move || {
                let byte = u8::try_from(bits.trailing_zeros())
                    .ok()
                    .filter(|_| bits != 0)?;
                bits &= bits - 1;
                Some(part * 64 + byte)
            })
        })
    }
}
