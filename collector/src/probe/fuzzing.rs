//! Answers of servers that are probed.

use tls::{Certificate, chain_expiry, earliest_expiry};

use super::dns::fuzzing::decode;

/// What a byte of a message may become as text: twelve bytes of a record point to a name of 255,
/// each written with four characters.
const DNS_TEXT_PER_BYTE_MAX: usize = 200;

/// A message of DNS. What is told of it stays in proportion to it, on one line for each record.
pub fn dns(input: &[u8]) {
    let Some(texts) = decode(input) else {
        return;
    };
    let bytes: usize = texts.iter().map(String::len).sum();
    assert!(bytes <= input.len() * DNS_TEXT_PER_BYTE_MAX, "{bytes}");
    assert!(texts.iter().all(|text| !text.contains(['\n', '\r', '\0'])));
}

/// Certificates, one after the other, each behind its length in two bytes.
pub fn certificate(mut input: &[u8]) {
    let mut chain = Vec::new();
    while let Some((length, rest)) = input.split_at_checked(2) {
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        let (der, rest) = rest.split_at(length.min(rest.len()));
        chain.extend(Certificate::parse(der));
        input = rest;
    }
    let (first, whole) = (earliest_expiry(&chain), chain_expiry(&chain));
    assert_eq!(first.is_some(), whole.is_some());
    assert!(whole >= first && whole.is_none_or(|at| at <= chain[0].not_after));
}
