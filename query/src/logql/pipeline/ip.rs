//! `ip("10.0.0.0/8")`: an address, a range or a prefix, looked for in a text.
//! Source of the rules: loki pkg/logql/log/ip.go.

use core::net::IpAddr;

/// Addresses to look for.
#[derive(Clone, Debug)]
pub(crate) enum Addresses {
    One(IpAddr),
    Range(IpAddr, IpAddr),
    Prefix(IpAddr, u32),
}

impl Addresses {
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        Self::read(pattern).ok_or_else(|| {
            let quoted = crate::promql::quote::go_quote(pattern);
            format!("ip: invalid pattern: {quoted}")
        })
    }

    fn read(pattern: &str) -> Option<Self> {
        if let Ok(one) = pattern.parse() {
            return Some(Addresses::One(one));
        }
        if let Some((address, bits)) = pattern.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let digits = bits.bytes().all(|b| b.is_ascii_digit());
            let leading_zero = bits.len() > 1 && bits.starts_with('0');
            let bits: u32 = bits.parse().ok().filter(|_| digits && !leading_zero)?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= longest).then_some(Addresses::Prefix(address, bits));
        }
        let (first, last) = pattern.split_once('-')?;
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        (first.is_ipv4() == last.is_ipv4() && first <= last)
            .then_some(Addresses::Range(first, last))
    }

    fn contains(&self, address: IpAddr) -> bool {
        match *self {
            Addresses::One(one) => one == address,
            Addresses::Range(first, last) => {
                first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address)
            }
            Addresses::Prefix(prefix, bits) => match (prefix, address) {
                (IpAddr::V4(p), IpAddr::V4(a)) => {
                    let differs = u32::from(p) ^ u32::from(a);
                    differs.checked_shr(32 - bits).unwrap_or(0) == 0
                }
                (IpAddr::V6(p), IpAddr::V6(a)) => {
                    let differs = u128::from(p) ^ u128::from(a);
                    differs.checked_shr(128 - bits).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }

    /// Whether one of the addresses is in `text`.
    pub(super) fn found_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let in_set: fn(&u8) -> bool = if looks_like_v4(rest) {
                |b| b.is_ascii_digit() || *b == b'.'
            } else if looks_like_v6(rest) {
                |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')
            } else {
                at += 1;
                continue;
            };
            let len = rest.iter().take_while(|b| in_set(b)).count();
            // All of them are ASCII, so both ends are boundaries of characters.
            if text[at..at + len]
                .parse()
                .is_ok_and(|address| self.contains(address))
            {
                return true;
            }
            at += len + 1;
        }
        false
    }
}

fn looks_like_v4(bytes: &[u8]) -> bool {
    matches!(bytes, [a, b, c, d, ..] if a.is_ascii_digit() && [b, c, d].contains(&&b'.'))
}

fn looks_like_v6(bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(..5) else {
        return false;
    };
    if head.starts_with(b"::") {
        return head[2].is_ascii_hexdigit();
    }
    let digits = head.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    (1..=4).contains(&digits) && head[digits] == b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_anywhere_in_a_text() {
        for (pattern, text, expect) in [
            ("192.168.0.1", "from 192.168.0.1 to x", true),
            ("192.168.0.1", "from 192.168.0.12 to x", false),
            ("192.168.0.0/16", "a=192.168.4.5,", true),
            ("192.168.0.1-192.168.0.9", "192.168.0.9", true),
            ("192.168.0.1-192.168.0.9", "192.168.0.10", false),
            ("2001:db8::/32", "peer [2001:db8::1]:80", true),
            ("::1", "on ::1 x", true),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("10.0.0.0/8", "version 1.2.3 of", false),
            ("10.0.0.1", "", false),
        ] {
            let addresses = Addresses::new(pattern).unwrap();
            assert_eq!(addresses.found_in(text), expect, "{pattern} in {text}");
        }
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in [
            "",
            "x",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.9-1.2.3.4",
            "1.2.3.4-::1",
        ] {
            assert!(Addresses::new(pattern).is_err(), "{pattern}");
        }
    }
}
