//! The password of a URL: `scheme://user:password@host`. The rest of the URL stays, because
//! which host and user failed is what one reads the line for.

use std::ops::Range;

use crate::action::Marks;
use crate::trigger::Trigger;

/// The slashes may be escaped, as some JSON encoders do.
pub(super) fn triggers() -> Vec<Trigger> {
    vec![Trigger::literal("://"), Trigger::literal(":\\/\\/")]
}

const USER_BYTES_MAX: usize = 256;
const PASSWORD_BYTES_MAX: usize = 1024;

pub(super) fn locate(text: &[u8], anchor: Range<usize>, marks: &Marks) -> Option<Range<usize>> {
    let rest = &text[anchor.end..];
    let user = rest
        .iter()
        .take(USER_BYTES_MAX)
        .position(|byte| ends_authority(*byte) || matches!(byte, b':' | b'@' | b'?' | b'#'))?;
    if rest[user] != b':' {
        return None;
    }
    let start = anchor.end + user + 1;
    let rest = &text[start..];
    let authority = rest
        .iter()
        .take(PASSWORD_BYTES_MAX)
        .position(|byte| ends_authority(*byte))
        .unwrap_or(rest.len().min(PASSWORD_BYTES_MAX));
    // A raw `@` may be a part of the password; the last one ends it.
    let length = memchr::memrchr(b'@', &rest[..authority])?;
    let password = &rest[..length];
    let hidden = password.iter().all(|byte| *byte == b'*') || marks.is_mark(password);
    (!hidden).then_some(start..start + length)
}

/// Where user, password and host cannot go on.
fn ends_authority(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'/' | b'"' | b'\'' | b'`' | b'\\' | 0x7f)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn only_the_password_goes() {
        check(
            "postgres://app:hunter2@db:5432/app",
            "postgres://app:<secret>@db:5432/app",
        );
        check("redis://:hunter2@cache", "redis://:<secret>@cache");
        check("amqp://u:p@ss@mq/x", "amqp://u:<secret>@mq/x");
        check("a=\"http://u:p#1?2@h/\"", "a=\"http://u:<secret>@h/\"");
        check(
            r#"{"u":"http:\/\/u:pw@h\/x"}"#,
            r#"{"u":"http:\/\/u:<secret>@h\/x"}"#,
        );
        check("a://u:é@h b://u:2@h", "a://u:<secret>@h b://u:<secret>@h");
    }

    #[test]
    fn urls_without_a_password() {
        keeps("http://host:8080/path");
        keeps("http://host:80/a@b");
        keeps("http://user@host:80/");
        keeps("http://u:***@h/");
        keeps("http://u:@h/");
        keeps("tcp://10.0.0.1:2375 refused by x@y");
        keeps("http://[::1]:8080/");
    }
}
