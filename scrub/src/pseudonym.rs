//! Pseudonyms: the same value always becomes the same name, which nobody without the key can
//! turn back. Without a key, every card, phone or social security number could be tried.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the code that are kept. Eight make two different values of ten million share a
/// pseudonym once in 400,000 installations.
const CODE_BYTES: usize = 8;

/// What SHA-256 reads at a time.
const BLOCK_BYTES: usize = 64;

/// What pseudonyms are made with: 32 random bytes, made once per installation and kept secret.
/// Whoever holds it can test whether a pseudonym stands for a value he guesses.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey([u8; PseudonymKey::BYTES]);

impl PseudonymKey {
    /// Length of a key.
    pub const BYTES: usize = 32;

    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        PseudonymKey(bytes)
    }

    /// 16 hexadecimal digits: the first bytes of HMAC-SHA256 (RFC 2104) over the kind of value,
    /// a zero byte and the value, so that values of different kinds never share a pseudonym.
    pub(crate) fn pseudonym(&self, kind: &str, value: &[u8]) -> String {
        // A key shorter than the hash function's block is filled up with zeros.
        let mut block = [0; BLOCK_BYTES];
        block[..Self::BYTES].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        let code = mac.finalize().into_bytes();
        let mut text = String::with_capacity(2 * CODE_BYTES);
        for byte in code.iter().take(CODE_BYTES) {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        text
    }
}

/// Never shows the key.
impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_depend_on_key_kind_and_value() {
        let key = PseudonymKey::new([7; 32]);
        let name = key.pseudonym("email", b"a@b.org");
        assert_eq!(name.len(), 16);
        assert_eq!(name, key.pseudonym("email", b"a@b.org"));
        assert_ne!(name, key.pseudonym("email", b"c@b.org"));
        assert_ne!(name, key.pseudonym("card", b"a@b.org"));
        assert_ne!(
            name,
            PseudonymKey::new([8; 32]).pseudonym("email", b"a@b.org")
        );
        assert_eq!(format!("{key:?}"), "PseudonymKey");
    }

    #[test]
    fn it_is_hmac_sha256() {
        // `printf 'kind\0value' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b…0b`
        let key = PseudonymKey::new([0x0b; 32]);
        assert_eq!(key.pseudonym("kind", b"value"), "95d45bdbabd19f7d");
    }
}
