//! Standard base64 with padding: thirty lines spare this crate a dependency.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                let six = word >> (18 - 6 * i) & 0x3f;
                out.push(char::from(ALPHABET[six as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

pub(crate) fn decode(text: &str) -> Result<String, String> {
    let bad = || "illegal base64 data".to_owned();
    if !text.len().is_multiple_of(4) {
        return Err(bad());
    }
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 {
        return Err(bad());
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    let (mut word, mut bits) = (0_u32, 0);
    for b in body.bytes() {
        let six = ALPHABET.iter().position(|a| *a == b).ok_or_else(bad)?;
        word = word << 6 | six as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_round_trips_with_and_without_padding() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain);
        }
        assert!(decode("Zg=").is_err());
        assert!(decode("Z*==").is_err());
    }
}
