//! E-mail addresses, also percent-encoded. Non-ASCII letters of European scripts count as
//! letters, so that no half of a name stays.

use std::ops::Range;

use crate::text::{backslashes_before, letter_escape_before};

use crate::trigger::{ByteSet, Trigger};

pub(super) fn triggers() -> Vec<Trigger> {
    const LETTER: ByteSet = ByteSet::ALNUM.and(0x80, 0xff);
    ["@", "%40"]
        .map(|at| Trigger::literal(at).followed_by(LETTER, 1))
        .into()
}

/// RFC 5321 allows 64; a longer run goes as a whole.
const LOCAL_BYTES_MAX: usize = 256;
/// Of a local part in quotes: RFC 5321.
const QUOTED_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 253;

/// Last labels that are file suffixes or unit types, not top-level domains:
/// `icon@2x.png`, `getty@tty1.service`.
const FILE_SUFFIXES: &[&str] = &[
    "automount",
    "avif",
    "bak",
    "cjs",
    "conf",
    "cfg",
    "csv",
    "css",
    "device",
    "gif",
    "gz",
    "html",
    "ico",
    "img",
    "ini",
    "jar",
    "jpeg",
    "jpg",
    "js",
    "json",
    "jsx",
    "lock",
    "log",
    "map",
    "mjs",
    "mount",
    "path",
    "pdf",
    "pem",
    "php",
    "png",
    "scope",
    "scss",
    "sql",
    "service",
    "slice",
    "socket",
    "sock",
    "svg",
    "swap",
    "tar",
    "target",
    "tgz",
    "timer",
    "tmp",
    "toml",
    "ts",
    "tsx",
    "txt",
    "vue",
    "webp",
    "woff",
    "xml",
    "yaml",
    "yml",
];

pub(super) fn locate(text: &str, anchor: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let at_sign = anchor.start..anchor.start + if bytes[anchor.start] == b'@' { 1 } else { 3 };
    let end = at_sign.end + domain_length(&text[at_sign.end..])?;
    let start =
        quoted_start(bytes, at_sign.start).unwrap_or_else(|| local_start(text, at_sign.start));
    let local = &text[start..at_sign.start];
    // `git@host:path` is how every clone URL looks.
    if local.is_empty() || local.bytes().all(|byte| byte == b'.') || local == "git" {
        return None;
    }
    Some(start..end)
}

/// Where a local part in quotes begins (`"john doe"@example.com`), which may be escaped.
fn quoted_start(text: &[u8], end: usize) -> Option<usize> {
    let close = end.checked_sub(1).filter(|at| text[*at] == b'"')?;
    let slashes = backslashes_before(&text[..close]);
    let close = close - slashes;
    let from = close.saturating_sub(QUOTED_BYTES_MAX);
    let open = from + memchr::memrchr(b'"', &text[from..close])?;
    let is_same = backslashes_before(&text[..open]) == slashes;
    let inner = &text[open + 1..close];
    let says_something = inner.iter().any(u8::is_ascii_alphanumeric);
    (is_same && says_something && !inner.contains(&b'\\')).then_some(open - slashes)
}

fn local_start(text: &str, end: usize) -> usize {
    let mut start = end;
    for (at, c) in text[..end].char_indices().rev() {
        // Of the symbols RFC 5322 allows, only these occur outside of tests.
        if !is_letter(c) && !"._%+-".contains(c) {
            break;
        }
        if end - at > LOCAL_BYTES_MAX
            || letter_escape_before(&text.as_bytes()[..at + c.len_utf8()]) > 0
        {
            break;
        }
        start = at;
    }
    start
}

/// Length of the host name at the start of `text`, if its last label can be a top-level domain.
fn domain_length(text: &str) -> Option<usize> {
    let mut end = 0;
    let mut label_start = 0;
    let mut last: Option<&str> = None;
    // `swc@14.0.0-canary.rc` is a version.
    let mut numbers = 0;
    let mut labels = 0;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if at > DOMAIN_BYTES_MAX {
            break;
        }
        if is_letter(c) || c == '-' {
            continue;
        }
        let label = text[label_start..at].trim_end_matches('-');
        if label.is_empty() || label.starts_with('-') {
            break;
        }
        if labels == numbers && label.bytes().all(|byte| byte.is_ascii_digit()) {
            numbers += 1;
        }
        labels += 1;
        end = label_start + label.len();
        last = Some(label);
        if c != '.' || end != at {
            break;
        }
        label_start = at + 1;
    }
    let last = last?;
    let top = last.starts_with("xn--")
        || (last.len() >= 2
            && last.len() <= 24
            && !last
                .bytes()
                .any(|byte| byte.is_ascii_digit() || byte == b'-'));
    let file = FILE_SUFFIXES
        .iter()
        .any(|suffix| suffix.eq_ignore_ascii_case(last));
    (labels >= 2 && top && !file && numbers < 2).then_some(end)
}

/// ASCII letters and digits, and letters of Latin, Greek and Cyrillic. Not those of scripts
/// written without spaces, where the whole sentence would go.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || (matches!(c, '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{52f}') && c.is_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn local_parts_in_quotes() {
        check(r#"to "john doe"@example.com."#, "to <email>.");
        check(r#"{"m":"\"j d\"@b.org"}"#, r#"{"m":"<email>"}"#);
        keeps(r#"{"m":"j d\"@b.org"}"#);
        keeps(r#"a ""@b.org"#);
    }

    #[test]
    fn addresses_in_text() {
        check("mail to bob@example.com failed", "mail to <email> failed");
        check("<Bob.O+tag@mail.example.co.uk>,", "<<email>>,");
        check("bob@example.com.", "<email>.");
        check("user=bob%40example.com&x=1", "user=<email>&x=1");
        check("müller@bücher.de", "<email>");
        check("请联系bob@example.com谢谢", "请联系<email>谢谢");
        check(r#"{"m":"a\nbob@example.com"}"#, r#"{"m":"a\n<email>"}"#);
        check("\x1b[36mbob@example.com\x1b[0m", "\x1b[36m<email>\x1b[0m");
        check("a@b.io,c@d.io;e@f.io", "<email>,<email>;<email>");
        check("_bob_@example.com-", "<email>-");
        check("x@y.xn--p1ai", "<email>");
        check("git2@example.com", "<email>");
        check("@bob@mastodon.social", "@<email>");
    }

    #[test]
    fn what_has_an_at_sign_only() {
        keeps("git@github.com:org/repo");
        keeps("icon@2x.png");
        keeps("getty@tty1.service");
        keeps("npm i react@18.2.0 @types/node@20.1.0");
        keeps("user@host");
        keeps("@next/swc@14.0.0-canary.rc logo@2x.min.png app@1.css report@v2.pdf");
        keeps("root@10.0.0.1");
        keeps("@example.com");
        keeps("a@b.c");
        keeps("a@.com");
        keeps("a@-b.com");
        keeps("image@sha256:abc.def");
        keeps("<email>@example.com");
    }
}
