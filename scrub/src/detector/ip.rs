//! Network addresses. By default those of private networks stay, because they say which
//! container spoke, and public ones are truncated to their network, /24 and /48: the operator
//! still sees where requests come from, and no line names a household.
//!
//! `Chrome/131.0.0.0` and `version=1.2.3.4` have the form of an address; what stands before
//! tells them apart.

mod v4;
mod v6;

use std::ops::Range;

use crate::trigger::{ByteSet, Trigger};

/// So many of the triggers, the first ones, are of IPv4.
const V4_TRIGGERS: usize = 3;

/// Which addresses are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Also private ones.
    pub(crate) private: bool,
    /// Not those whose host part is zero, as truncation leaves them.
    pub(crate) truncated: bool,
}

impl Scope {
    pub(super) fn triggers(&self) -> Vec<Trigger> {
        const D: ByteSet = ByteSet::DIGIT;
        const H: ByteSet = ByteSet::HEX;
        const DOT: ByteSet = ByteSet::one(b'.');
        const COLON: ByteSet = ByteSet::one(b':');
        let v6 = |first| Trigger::shape(0, &[first, H, H, H, COLON, H.or(COLON)]);
        let mut triggers = vec![
            // A number of one to three digits between two others.
            Trigger::shape(4, &[D, DOT, D, DOT, D]),
            Trigger::shape(5, &[D, DOT, D, D, DOT, D]),
            Trigger::shape(6, &[D, DOT, D, D, D, DOT, D]),
            // 2000::/3.
            v6(ByteSet::of(b"23")),
        ];
        if self.private {
            triggers.push(v6(ByteSet::either_case(b'f')));
        }
        triggers
    }

    pub(super) fn locate(
        &self,
        text: &[u8],
        trigger: Range<usize>,
        number: usize,
    ) -> Option<Range<usize>> {
        match number {
            0..V4_TRIGGERS => v4::locate(text, trigger.start, self),
            _ => v6::locate(text, trigger.start, self),
        }
    }
}

/// The address with its host part zero: the last 8 bits of IPv4, the last 80 of IPv6.
pub(super) fn truncated(address: &str) -> Option<String> {
    if address.contains(':') {
        let (groups, _) = v6::parse(address.as_bytes())?;
        return Some(format!("{:x}:{:x}:{:x}::", groups[0], groups[1], groups[2]));
    }
    let (network, _) = address.rsplit_once('.')?;
    Some(format!("{network}.0"))
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};
    use crate::{Config, PseudonymKey, Scrubber};

    #[test]
    fn public_addresses_lose_their_host() {
        check(
            "client 203.0.113.7 connected",
            "client 203.0.113.0 connected",
        );
        check(
            "203.0.113.7:54321 -> 8.8.8.8:53",
            "203.0.113.0:54321 -> 8.8.8.0:53",
        );
        check("from=203.0.113.255,", "from=203.0.113.0,");
        check(r#"{"ip":"203.0.113.77"}"#, r#"{"ip":"203.0.113.0"}"#);
        check("http://203.0.113.7/x", "http://203.0.113.0/x");
        check(
            "/203.0.113.7:443 example.com/203.0.113.8",
            "/203.0.113.0:443 example.com/203.0.113.0",
        );
        check(
            "GET /geo/203.0.113.7 HTTP/1.1",
            "GET /geo/203.0.113.0 HTTP/1.1",
        );
        check("db/203.0.113.7:5432", "db/203.0.113.0:5432");
        check("::ffff:203.0.113.7", "::ffff:203.0.113.0");
        check("203.0.113.1-203.0.113.9", "203.0.113.0-203.0.113.0");
        check(r"a\n203.0.113.7", r"a\n203.0.113.0");
        check("x=%20203.0.113.7&", "x=%20203.0.113.0&");
        check("\x1b[32m203.0.113.7\x1b[0m", "\x1b[32m203.0.113.0\x1b[0m");
        check("203.0.113.7.", "203.0.113.0.");
        check("peer 2001:db8:1:2::3 gone", "peer 2001:db8:1:: gone");
        check("[2a00:1450:4001:81b::200e]:443", "[2a00:1450:4001::]:443");
        check("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "2001:db8:85a3::");
        check("2001:db8::1: refused", "2001:db8:0::: refused");
    }

    #[test]
    fn private_addresses_stay() {
        keeps("10.1.2.3 172.18.0.5:5432 192.168.1.1 127.0.0.1 169.254.169.254 100.64.0.9");
        keeps("0.0.0.0:80 255.255.255.255 224.0.0.251");
        keeps("::1 fe80::1%eth0 fd00:abcd::12 [::]:80 ff02::1");
        keeps("203.0.113.0/24 2001:db8:1::/48");
    }

    #[test]
    fn versions_and_other_dotted_numbers() {
        keeps("Chrome/131.0.6.5 Safari/537.36");
        keeps("(KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.1.99");
        keeps(r#""Google Chrome";v="131.0.6.5", "Chromium";v="131.0.6.5""#);
        keeps("version 15.4.1.2, version: 15.4.1.2 app_version=1.2.3.4 {\"version\":\"1.2.3.4\"}");
        keeps("v1.2.3.4 kong/3.4.3.11 build 1.2.3.4");
        keeps("1.3.6.1.4.1.311.21");
        keeps("libfoo-1.2.3.4.jar foo-1.2.3.4-5ubuntu1 1.2.3.4-rc1 1.2.3.4+dfsg 1.2.3.4~beta");
        keeps("999.1.1.1 1.256.1.1 01.02.03.04 1.2.3");
        keeps("Assembly, Version=4.6.1.2, Culture=neutral");
    }

    #[test]
    fn what_has_colons() {
        keeps("22/Nov/2026:22:17:37 +0000");
        keeps("2026:11:22 10:11:12");
        keeps("std::io::Error a::b dead::beef x::2026");
        keeps("aa:bb:cc:dd:ee:ff 20:26:aa:bb:cc:dd");
        keeps("12:30:45.123 2026-11-22T10:11:12");
    }

    #[test]
    fn private_addresses_and_other_actions_by_option() {
        let scrubber = |private_ips, action: &str| {
            let actions = [("ip".to_owned(), action.to_owned())].into();
            let config = Config {
                private_ips,
                actions,
                ..Config::default()
            };
            Scrubber::new(&config, &PseudonymKey::new([1; 32])).unwrap()
        };
        let check = |scrubber: &Scrubber, raw: &str, expect: &str| {
            assert_eq!(scrubber.line(raw.as_bytes()).as_str(), expect);
        };
        check(
            &scrubber(true, "truncate"),
            "10.1.2.3 fd00:1:2:3::4",
            "10.1.2.0 fd00:1:2::",
        );
        check(
            &scrubber(false, "mask"),
            "10.1.2.3 203.0.113.0",
            "10.1.2.3 <ip>",
        );
        check(
            &scrubber(true, "mask"),
            "10.1.2.3 fe80::1 127.0.0.1",
            "<ip> <ip> <ip>",
        );
    }
}
