//! Keys of well-known services, told by the prefix their issuers chose for this purpose.

mod forms;

use std::ops::Range;

use crate::text::{is_word, starts_token};
use crate::trigger::Trigger;
use forms::{FORMS, Form, Kind};

/// How far back the number of a bot or an id is followed.
const BEFORE_BYTES_MAX: usize = 32;
/// A key of fewer different symbols is an example: `ghp_xxxxxxxx`.
const DIFFERENT_MIN: usize = 3;

pub(super) fn triggers() -> Vec<Trigger> {
    FORMS.iter().flat_map(Form::triggers).collect()
}

/// `number`: which prefix of all forms triggered.
pub(super) fn locate(text: &[u8], trigger: Range<usize>, number: usize) -> Option<Range<usize>> {
    let form = form_of(number)?;
    let start = match form.kind {
        Kind::Plain | Kind::GitHub => trigger.start,
        Kind::After(class, lengths) => {
            let head = &text[..trigger.start];
            let length = head
                .iter()
                .rev()
                .take(BEFORE_BYTES_MAX)
                .take_while(|byte| class.holds(**byte))
                .count();
            let length = length.min(lengths.1);
            if length < lengths.0 {
                return None;
            }
            trigger.start - length
        }
    };
    let rest = &text[trigger.end..];
    // First what is cheap: a long line may be full of prefixes.
    let begins = starts_token(text, start) || is_bot(text, start, form);
    let checked = form.kind == Kind::GitHub && has_checksum(rest);
    if !(begins || checked) {
        return None;
    }
    let symbols = rest.iter().take_while(|byte| form.symbols.holds(**byte));
    let mut length = symbols.count();
    // A full stop that ends the sentence is no part.
    while length > 0 && rest[length - 1] == b'.' {
        length -= 1;
    }
    if length < form.min || different(&rest[..length]) < DIFFERENT_MIN {
        return None;
    }
    let more = rest[length..]
        .iter()
        .take_while(|byte| is_word(**byte) || **byte == b'-')
        .count();
    // A prefix that is short leaves the length to tell a key from a word.
    if form.exact && (length > form.min || more > 0) {
        return None;
    }
    Some(start..trigger.end + length + more)
}

/// The form whose prefix is the `number`th of all.
fn form_of(number: usize) -> Option<&'static Form> {
    let mut before = 0;
    FORMS.iter().find(|form| {
        before += form.prefixes().len();
        number < before
    })
}

/// `bot123456789:AA…`, as the addresses of Telegram's API have it.
fn is_bot(text: &[u8], start: usize, form: &Form) -> bool {
    matches!(form.kind, Kind::After(..)) && text[..start].ends_with(b"bot")
}

fn different(key: &[u8]) -> usize {
    let mut seen = [false; 256];
    key.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

/// Whether the last six symbols are the CRC-32 of those before in base 62, as GitHub publishes it:
/// then this is a key whatever stands around it.
fn has_checksum(key: &[u8]) -> bool {
    const SYMBOLS: usize = 36;
    const CHECK: usize = 6;
    let Some(key) = key.get(..SYMBOLS) else {
        return false;
    };
    if !key.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let (body, check) = key.split_at(SYMBOLS - CHECK);
    let value = check.iter().fold(0_u64, |value, symbol| {
        let digit = match symbol {
            b'0'..=b'9' => symbol - b'0',
            b'A'..=b'Z' => symbol - b'A' + 10,
            _ => symbol.saturating_sub(b'a') + 36,
        };
        value * 62 + u64::from(digit)
    });
    value == u64::from(crc32(body))
}

/// CRC-32 as in zlib (ISO 3309), bit by bit: it is wanted for a few bytes now and then.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let rest = bytes.iter().fold(u32::MAX, |rest, byte| {
        (0..8).fold(rest ^ u32::from(*byte), |rest, _| {
            let shifted = rest >> 1;
            if rest & 1 == 1 {
                shifted ^ POLYNOMIAL
            } else {
                shifted
            }
        })
    });
    !rest
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};
    use super::*;

    /// Built at run time, so that scanners of this repository stay quiet.
    fn key(prefix: &str, rest: &str, times: usize) -> String {
        format!("{prefix}{}", rest.repeat(times))
    }

    #[test]
    fn keys_of_each_service() {
        for key in [
            key("AKIA", "J7Q2", 4),
            key("ASIA", "J7Q2", 4),
            key("ghp_", "a1B2", 9),
            key("ghs_", "a1B2", 9),
            key("github_pat_", "11A_bc", 14),
            key("glpat-", "a1B2-", 4),
            key("npm_", "a1B2", 9),
            key("pypi-", "AgEIcHl-", 8),
            key("dckr_pat_", "a1B2_", 5),
            key("xoxb-", "123-aB", 5),
            key("xapp-", "1-A0", 8),
            key("123456789:AA", "Hd_", 11),
            key(&key("SG.", "a1B2", 5), ".a1B2c3D4e5F6g7H8", 1),
            key("sk_live_", "a1B2", 6),
            key("rk_test_", "a1B2", 6),
            key("whsec_", "a1B2", 8),
            key("AIza", "a1B2_", 7),
            key("sk-ant-", "api03-", 5),
            key("sk-proj-", "a1B2", 5),
            key("sk-", "a1B2", 12),
            key("hf_", "aB1", 12),
            key("dop_v1_", "0a1", 22),
            key("sbp_", "0a1c", 10),
            key("sb_secret_", "a1B2_", 5),
            key("bot123456789:AA", "Hd_", 11).split_off(3),
            key("hooks.slack.com/services/T", "0A/B0C", 6),
            key("discord.com/api/webhooks/123456789012345678/", "a1B_", 16),
            key("ya29.", "a1B_", 16),
            key("GOCSPX-", "a1B_", 7),
            key("shpat_", "0a1c", 8),
            key("hvs.", "a1B_", 8),
            key("dapi", "0a1c", 8),
            key("SK", "0a1c", 8),
            key("glsa_", "a1B2", 10),
            key("lin_api_", "a1B2", 10),
            key("xkeysib-", "0a1c", 20),
            key("tskey-auth-", "a1B2", 8),
            key("AGE-SECRET-KEY-1", "QPZRY9X8", 8),
        ] {
            check(&format!("using {key}."), "using <key>.");
            check(&format!(r#"{{"m":"x\n{key}"}}"#), r#"{"m":"x\n<key>"}"#);
        }
        let bot = key("/bot123456789:AA", "Hd_", 11);
        check(&format!("GET {bot}/getMe"), "GET /bot<key>/getMe");
    }

    #[test]
    fn a_checksum_makes_up_for_glue() {
        // 30 symbols and their CRC-32 in base 62.
        let body = key("", "aB3dE", 6);
        let mut crc = u64::from(crc32(body.as_bytes()));
        let mut check_symbols = Vec::new();
        for _ in 0..6 {
            check_symbols.insert(
                0,
                b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                    [(crc % 62) as usize],
            );
            crc /= 62;
        }
        let token = format!("ghp_{body}{}", String::from_utf8(check_symbols).unwrap());
        check(&format!("x{token}"), "x<key>");
        keeps(&format!("x{}", key("ghp_", "a1B2", 9)));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn words_that_begin_alike() {
        keeps("AKIA AKIAJ7Q2J7Q2J7Q2J7Q AKIAJ7Q2J7Q2J7Q2J7Q2J7Q2");
        keeps("XAKIAJ7Q2J7Q2J7Q2J7Q2");
        keeps("task-0123456789012345678901234567890123456789");
        keeps("npm_config_cache=/tmp");
        keeps("12:34:56.789 123456789:AAA");
        keeps(&key("ghp_", "x", 36));
    }
}
