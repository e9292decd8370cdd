//! Syslog messages of any kind that is around. Whatever comes is a message; what cannot be told
//! apart is its text.
//!
//! Sources: RFC 5424, RFC 3164 (which describes what programs do rather than what they should), and
//! rsyslog's forward format, RFC 3164 with a timestamp of RFC 3339.

use crate::logs::level;

/// Longer names are cut; RFC 5424 allows 255 bytes at most.
const NAME_BYTES_MAX: usize = 255;
/// Parameters of structured data that are kept.
const PARAMETERS_MAX: usize = 16;
/// Longer values of these are cut.
const VALUE_BYTES_MAX: usize = 1024;
/// A longer word before a colon is no program.
const TAG_BYTES_MAX: usize = 64;
/// user.notice, for a message that does not say: RFC 3164, 4.3.3.
const PRIORITY_UNSAID: u8 = 13;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = [
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "informational",
    "debug",
];
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// A message. Names that it does not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    priority: u8,
    /// Nanoseconds since the epoch, where year and zone are known.
    pub(super) at_ns: Option<i64>,
    pub(super) hostname: String,
    pub(super) appname: String,
    pub(super) procid: String,
    pub(super) msgid: String,
    /// Names and values of structured data, as metadata: `sd_` id `_` name.
    pub(super) data: Vec<(String, String)>,
    /// What the message says.
    pub(super) text: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message without its frame.
    pub(super) fn parse(raw: &'a [u8]) -> Message<'a> {
        let end = raw
            .iter()
            .rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
        let raw = &raw[..end.map_or(0, |last| last + 1)];
        let Some((priority, rest)) = priority(raw) else {
            return Message {
                priority: PRIORITY_UNSAID,
                ..Message::plain(raw)
            };
        };
        let modern = rest.strip_prefix(b"1 ").and_then(Message::structured);
        let message = modern.unwrap_or_else(|| Message::plain(rest));
        Message {
            priority,
            ..message
        }
    }

    pub(super) fn facility(&self) -> &'static str {
        FACILITIES[usize::from(self.priority / 8) % FACILITIES.len()]
    }

    pub(super) fn severity(&self) -> &'static str {
        SEVERITIES[usize::from(self.priority % 8)]
    }

    /// The severity as containers' lines tell it.
    pub(super) fn level(&self) -> Option<&'static str> {
        level::of_severity(self.priority % 8)
    }

    /// What follows priority and version in RFC 5424; `None` when it does not keep to it.
    fn structured(rest: &'a [u8]) -> Option<Message<'a>> {
        let mut words = Words(rest);
        let at = words.next()?;
        let [hostname, appname, procid, msgid] =
            [words.next()?, words.next()?, words.next()?, words.next()?];
        let (data, rest) = structured_data(words.0)?;
        let text = match rest.strip_prefix(b" ") {
            Some(text) => text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text),
            None if rest.is_empty() => rest,
            None => return None,
        };
        let said = |word: &[u8]| {
            if word == b"-" {
                String::new()
            } else {
                name(word)
            }
        };
        Some(Message {
            priority: 0,
            at_ns: if at == b"-" { None } else { Some(rfc3339(at)?) },
            hostname: said(hostname),
            appname: said(appname),
            procid: said(procid),
            msgid: said(msgid),
            data,
            text,
        })
    }

    /// What follows the priority otherwise.
    fn plain(rest: &'a [u8]) -> Message<'a> {
        let mut message = Message::default();
        let mut rest = rest;
        if let Some(after) = rfc3164_time(rest) {
            rest = after;
        } else if let Some((word, after)) = word(rest)
            && let Some(at_ns) = rfc3339(word)
        {
            message.at_ns = Some(at_ns);
            rest = after;
        } else {
            // Without a time nothing says that there is a host.
            (message.appname, message.procid, message.text) = tag(rest);
            return message;
        }
        // A program that writes to the local socket leaves its host out.
        if let Some((hostname, after)) = word(rest)
            && tag(rest).0.is_empty()
        {
            message.hostname = name(hostname);
            rest = after;
        }
        (message.appname, message.procid, message.text) = tag(rest);
        message
    }
}

/// Words divided by single blanks.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = word(self.0)?;
        self.0 = rest;
        Some(word)
    }
}

/// The text before a blank, and that behind.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b' ')?;
    (end > 0).then(|| (&text[..end], &text[end + 1..]))
}

/// `<34>`, and what follows.
fn priority(raw: &[u8]) -> Option<(u8, &[u8])> {
    let rest = raw.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u8 = digits.parse().ok().filter(|n| plain && *n <= 191)?;
    Some((number, &rest[end + 1..]))
}

fn rfc3339(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// What follows `Nov 22 05:00:00 `, whose year and zone nobody knows.
fn rfc3164_time(text: &[u8]) -> Option<&[u8]> {
    let (stamp, rest) = text.split_at_checked(15)?;
    let month = MONTHS.contains(&&stamp[..3]);
    let form = b"Mmm 00 00:00:00";
    let fits = stamp
        .iter()
        .zip(form)
        .enumerate()
        .skip(3)
        .all(|(at, (byte, form))| match form {
            b'0' => byte.is_ascii_digit() || at == 4 && *byte == b' ',
            _ => byte == form,
        });
    if !month || !fits {
        return None;
    }
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// Program and process of `program[7]: text` and `program: text`, and the text; both empty where
/// there are none.
fn tag(text: &[u8]) -> (String, String, &[u8]) {
    let none = (String::new(), String::new(), text);
    let ends = |byte: &u8| matches!(byte, b':' | b'[' | b' ' | b'"' | b'{' | b'=');
    let Some(end) = text.iter().take(TAG_BYTES_MAX + 1).position(ends) else {
        return none;
    };
    let (program, mut rest) = text.split_at(end);
    let mut process: &[u8] = b"";
    if let Some(inside) = rest.strip_prefix(b"[") {
        let Some(end) = inside
            .iter()
            .take(TAG_BYTES_MAX)
            .position(|byte| *byte == b']')
        else {
            return none;
        };
        process = &inside[..end];
        rest = &inside[end + 1..];
    }
    let (true, Some(rest)) = (!program.is_empty(), rest.strip_prefix(b":")) else {
        return none;
    };
    // `10:15:00` and `http://` are no programs.
    if !(rest.is_empty() || rest.starts_with(b" ")) {
        return none;
    }
    (
        name(program),
        name(process),
        rest.strip_prefix(b" ").unwrap_or(rest),
    )
}

/// Structured data, and what follows; `None` when it is none.
fn structured_data(text: &[u8]) -> Option<(Vec<(String, String)>, &[u8])> {
    let mut data = Vec::new();
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some((data, rest));
    }
    let mut rest = text.strip_prefix(b"[")?;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b' ' | b']'))?;
        let id = label(&rest[..end]);
        rest = &rest[end..];
        while let Some(parameter) = rest.strip_prefix(b" ") {
            let end = parameter.iter().position(|byte| *byte == b'=')?;
            let key = label(&parameter[..end]);
            let (value, after) = quoted(parameter[end + 1..].strip_prefix(b"\"")?)?;
            rest = after;
            if data.len() < PARAMETERS_MAX {
                data.push((format!("sd_{id}_{key}"), value));
            }
        }
        rest = rest.strip_prefix(b"]")?;
        match rest.strip_prefix(b"[") {
            Some(next) => rest = next,
            None => return Some((data, rest)),
        }
    }
}

/// The text up to the quote, in which a backslash protects quotes, brackets and backslashes.
fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => break,
            b'\\' if matches!(text.get(at + 1), Some(b'"' | b'\\' | b']')) => at += 1,
            _ => {}
        }
        if value.len() < VALUE_BYTES_MAX {
            value.push(text[at]);
        }
        at += 1;
    }
    Some((
        String::from_utf8_lossy(&value).into_owned(),
        &text[at + 1..],
    ))
}

fn name(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(NAME_BYTES_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}

/// As a part of a label's name.
fn label(bytes: &[u8]) -> String {
    let plain = |byte: &u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(*byte)
        } else {
            '_'
        }
    };
    bytes.iter().take(NAME_BYTES_MAX / 4).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facility, severity, host, program, process, message id, text.
    fn check<'a>(raw: &'a str, expect: [&str; 7]) -> Message<'a> {
        let m = Message::parse(raw.as_bytes());
        let text = std::str::from_utf8(m.text).unwrap();
        let found = [
            m.facility(),
            m.severity(),
            &m.hostname,
            &m.appname,
            &m.procid,
            &m.msgid,
            text,
        ];
        assert_eq!(found, expect, "{raw}");
        m
    }

    #[test]
    fn messages_of_rfc_5424() {
        // The examples of the RFC, 6.5.
        let m = check(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
            [
                "auth",
                "critical",
                "mymachine.example.com",
                "su",
                "",
                "ID47",
                "'su root' failed for lonvick on /dev/pts/8",
            ],
        );
        assert_eq!(m.at_ns, Some(1_065_910_455_003_000_000));
        assert_eq!(m.level(), Some("critical"));
        let m = check(
            "<165>1 2003-10-11T22:14:15.003-07:00 host evntslog 7 ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"App\\\"lic\\]ation\"][examplePriority@32473 class=\"high\"] An application event",
            [
                "local4",
                "notice",
                "host",
                "evntslog",
                "7",
                "ID47",
                "An application event",
            ],
        );
        let data = [
            ("sd_exampleSDID_32473_iut", "3"),
            ("sd_exampleSDID_32473_eventSource", "App\"lic]ation"),
            ("sd_examplePriority_32473_class", "high"),
        ];
        assert_eq!(m.data, data.map(|(n, v)| (n.to_owned(), v.to_owned())));
        check(
            "<14>1 - - - - - -",
            ["user", "informational", "", "", "", "", ""],
        );
    }

    #[test]
    fn messages_of_rfc_3164() {
        check(
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            [
                "auth",
                "critical",
                "mymachine",
                "su",
                "",
                "",
                "'su root' failed for lonvick on /dev/pts/8",
            ],
        );
        check(
            "<86>Nov  2 05:00:00 web-1 sshd[4242]: Accepted publickey\n",
            [
                "authpriv",
                "informational",
                "web-1",
                "sshd",
                "4242",
                "",
                "Accepted publickey",
            ],
        );
        // Without a host, as the local socket has it.
        check(
            "<13>Nov 22 05:00:00 root: hello",
            ["user", "notice", "", "root", "", "", "hello"],
        );
        check(
            "<13>Nov 22 05:00:00 box last message repeated 3 times",
            [
                "user",
                "notice",
                "box",
                "",
                "",
                "",
                "last message repeated 3 times",
            ],
        );
    }

    #[test]
    fn what_programs_make_of_it() {
        // rsyslog's forward format.
        let m = check(
            "<30>2026-11-22T05:00:00.5+01:00 web-1 nginx: GET http://x/ 200",
            [
                "daemon",
                "informational",
                "web-1",
                "nginx",
                "",
                "",
                "GET http://x/ 200",
            ],
        );
        assert!(m.at_ns.is_some());
        check("<11>app[1]: x", ["user", "error", "", "app", "1", "", "x"]);
        check(
            "no priority",
            ["user", "notice", "", "", "", "", "no priority"],
        );
        check("<999>x y", ["user", "notice", "", "", "", "", "<999>x y"]);
        check(
            "<13>10:15:00 up",
            ["user", "notice", "", "", "", "", "10:15:00 up"],
        );
        // Of RFC 5424 only at the beginning.
        check("<13>1 x: y", ["user", "notice", "", "", "", "", "1 x: y"]);
        check("", ["user", "notice", "", "", "", "", ""]);
    }
}
