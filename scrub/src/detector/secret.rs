//! Values of keys that are named like a secret, in whatever syntax the line has: `key=value`,
//! logfmt, query strings and forms, `key: value`, JSON at any depth of escaping, Python and
//! Ruby literals, SQL's `PASSWORD 'x'`, `--password x`, `<password>x</password>`.
//!
//! The key stays and so does the syntax around the value.

mod name;
mod value;

use std::ops::Range;

use crate::action::Marks;
use crate::json;
use crate::text::{backslashes_before, colour_at};
use crate::trigger::Trigger;
use crate::{Config, ConfigError};
use name::Name;

/// Parts of key names that make a secret, without regard to case.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "_pass",
    "-pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "authorization",
    "amz-signature",
    "sessid",
    "jsessionid",
    "otp",
    "cvv",
    "cvc",
    "jwt",
    // German, Dutch, French, Spanish, Italian.
    "passwort",
    "kennwort",
    "wachtwoord",
    "motdepasse",
    "mot_de_passe",
    "contrasena",
    "parola_chiave",
    // SQL's `CREATE USER x IDENTIFIED BY 'y'`.
    "identified by",
];
/// These before `key` do, too, with or without one of [`JOINTS`] between.
const KEYS: &[&str] = &[
    "api",
    "access",
    "private",
    "auth",
    "account",
    "encryption",
    "signing",
    "master",
    "service_role",
];
const JOINTS: &[&str] = &["", "_", ".", " ", "-"];

/// Blanks between key, separator and value.
const BLANKS_MAX: usize = 8;
/// How far the end of a JSON string is looked for. Of a longer one, a secret at its end may
/// take the rest of the line with it.
const STRING_BYTES_MAX: usize = 64 * 1024;
/// Configured keys. With very many, more of the text is looked at closely.
pub(crate) const KEYS_MAX: usize = 256;
/// Bounds of a configured key, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 3..=crate::trigger::TRIGGER_BYTES_MAX;

/// Whether a value says that there is none, or that it was taken away.
pub(super) use value::is_nothing;

/// Which keys hold secrets.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// Further names, lower case.
    secret: Vec<String>,
    /// Whole keys that are none, lower case.
    plain: Vec<String>,
}

/// Between key and value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    /// `=`, `=>`, `:=`.
    Equals,
    /// `:`.
    Colon,
    /// Blanks: `PASSWORD 'x'`, `--password x`.
    Blank,
    /// `,` between the arguments of a command: `["--password","x"]`.
    Comma,
}

impl Keys {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let checked = |keys: &[String]| -> Result<Vec<String>, ConfigError> {
            keys.iter()
                .map(|key| {
                    let named =
                        key.bytes().all(name::is_key_byte) && KEY_BYTES.contains(&key.len());
                    named
                        .then(|| key.to_ascii_lowercase())
                        .ok_or_else(|| ConfigError::BadKey { key: key.clone() })
                })
                .collect()
        };
        let count = config.secret_keys.len();
        if count > KEYS_MAX {
            return Err(ConfigError::TooManyKeys { count });
        }
        Ok(Keys {
            secret: checked(&config.secret_keys)?,
            plain: checked(&config.plain_keys)?,
        })
    }

    pub(super) fn triggers(&self) -> Vec<Trigger> {
        let words = WORDS.iter().copied();
        let own = self.secret.iter().map(String::as_str);
        let keys = KEYS.iter().flat_map(|first| {
            let joined = JOINTS.iter().map(move |joint| format!("{first}{joint}key"));
            joined.map(|key| Trigger::word(&key))
        });
        words.chain(own).map(Trigger::word).chain(keys).collect()
    }

    pub(super) fn locate(
        &self,
        text: &[u8],
        anchor: Range<usize>,
        marks: &Marks,
    ) -> Option<Range<usize>> {
        let found = self.value(text, anchor.clone(), marks)?;
        let name = Name::around(text, anchor);
        let value = &text[found.clone()];
        (!value.is_empty() && !value::is_harmless(value, text, &name, marks)).then_some(found)
    }

    /// The value of the key that holds the word at `anchor`, if it is named like a secret.
    pub(super) fn value(
        &self,
        text: &[u8],
        anchor: Range<usize>,
        marks: &Marks,
    ) -> Option<Range<usize>> {
        // A label of ours is no key: `<secret:…>`.
        if marks.around(text, anchor.start).is_some() {
            return None;
        }
        let name = Name::around(text, anchor);
        if self.is_plain(&name, text) || !name.is_secret(text) {
            return None;
        }
        let key = name.whole.clone();
        let text = within_string(text, key.end);
        let Found {
            separator,
            at,
            key_quoted,
        } = separator(text, &name)?;
        if separator == Separator::Equals && xml_like(text, &key) {
            return xml(text, &key);
        }
        if let Some(found) = value::in_escaped_quotes(text, at) {
            return Some(found);
        }
        value::find(text, at, separator, key_quoted, &name)
    }

    fn is_plain(&self, name: &Name, text: &[u8]) -> bool {
        let key = &text[name.whole.clone()];
        self.plain
            .iter()
            .any(|plain| plain.as_bytes().eq_ignore_ascii_case(key))
    }
}

/// The text up to where the JSON string ends that the key is a part of; all of it when the
/// key fills its string to the end, because then the value stands outside.
fn within_string(text: &[u8], key_end: usize) -> &[u8] {
    if !json::is_document(text) {
        return text;
    }
    let reach = &text[key_end..text.len().min(key_end + STRING_BYTES_MAX)];
    let end = memchr::memchr_iter(b'"', reach)
        .find(|at| backslashes_before(&reach[..*at]).is_multiple_of(2))
        .map(|length| key_end + length);
    match end {
        Some(end) if end != key_end + bracket(text, key_end) => &text[..end],
        _ => text,
    }
}

/// Length of what closes the key of `user[password]=x`, also percent-encoded.
fn bracket(text: &[u8], at: usize) -> usize {
    let close = [&b"]"[..], b"%5D"]
        .into_iter()
        .find(|close| text[at..].starts_with(close));
    close.map_or(0, <[u8]>::len)
}

/// A separator and where the value after it may begin.
struct Found {
    separator: Separator,
    at: usize,
    key_quoted: bool,
}

/// Skips what closes the key, the separator and the blanks around it.
fn separator(text: &[u8], name: &Name) -> Option<Found> {
    let flag = text[name.whole.clone()].starts_with(b"-");
    let mut at = name.whole.end + bracket(text, name.whole.end);
    let slashes = text[at..].iter().take_while(|byte| **byte == b'\\').count();
    let escaped = value::escaped_quote(&text[at..]);
    let quoted = escaped > 0 || matches!(text.get(at + slashes), Some(b'"' | b'\''));
    if quoted {
        at += if escaped > 0 { escaped } else { slashes + 1 };
    }
    let blanks = blanks(text, at);
    at += blanks;
    let (separator, length) = match &text[at..] {
        [b'=', b'>', ..] | [b':', b'=', ..] => (Separator::Equals, 2),
        [b'=', ..] => (Separator::Equals, 1),
        [b'%', b'3', b'D' | b'd', ..] => (Separator::Equals, 3),
        [b'%', b'3', b'A' | b'a', ..] if quoted => (Separator::Colon, 3),
        [b':', b':', ..] => return None,
        [b':', ..] => (Separator::Colon, 1),
        [b'>', ..] if xml_like(text, &name.whole) => {
            return Some(Found {
                separator: Separator::Equals,
                at,
                key_quoted: quoted,
            });
        }
        [b',', ..] if quoted && flag => (Separator::Comma, 1),
        [b'\'', ..] if !quoted && blanks > 0 => (Separator::Blank, 0),
        [_, ..] if !quoted && blanks > 0 && flag => (Separator::Blank, 0),
        _ => return None,
    };
    at += length;
    at += self::blanks(text, at);
    Some(Found {
        separator,
        at,
        key_quoted: quoted,
    })
}

/// Length of blanks and colours.
fn blanks(text: &[u8], at: usize) -> usize {
    let mut end = at;
    for _ in 0..BLANKS_MAX {
        end += match &text[end..] {
            [b' ' | b'\t', ..] => 1,
            rest => colour_at(rest),
        };
    }
    end - at
}

fn xml_like(text: &[u8], key: &Range<usize>) -> bool {
    key.start > 0 && text[key.start - 1] == b'<' && text.get(key.end) == Some(&b'>')
}

/// `<password>x</password>`; a value with quotes or backslashes is none, but the syntax of the
/// line around.
fn xml(text: &[u8], key: &Range<usize>) -> Option<Range<usize>> {
    let start = key.end + 1;
    let length = text[start..]
        .iter()
        .take(value::BYTES_MAX)
        .position(|byte| b"<\"'\\".contains(byte))?;
    let found = start..start + length;
    let close = text[found.end..].strip_prefix(b"</")?;
    (close.starts_with(&text[key.clone()]) && length > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn pairs() {
        check("password=hunter2", "password=<secret>");
        check(
            "user=bob password=hunter2 status=200",
            "user=bob password=<secret> status=200",
        );
        check("DB_PASSWORD=hunter2", "DB_PASSWORD=<secret>");
        check("/cb?access_token=abc&x=1", "/cb?access_token=<secret>&x=1");
        check(
            "a=1&client_secret=x%2Fy HTTP/1.1",
            "a=1&client_secret=<secret> HTTP/1.1",
        );
        check(
            "Server=db;Password=a,b;Timeout=3",
            "Server=db;Password=<secret>;Timeout=3",
        );
        check(
            "connect(password=abc, host=x)",
            "connect(password=<secret>, host=x)",
        );
        check("api_key = \"a b\" x", "api_key = \"<secret>\" x");
        check("apiKey='it''s'", "apiKey='<secret>'");
        check("password=bob@example.com", "password=<secret>");
        check("password=p@ss)word x", "password=<secret> x");
        check(
            "user%5Bpassword%5D=abc&z=1",
            "user%5Bpassword%5D=<secret>&z=1",
        );
        check("user[password]=abc", "user[password]=<secret>");
        check(
            "next=%2Fa%3Ftoken%3Dabc1234",
            "next=%2Fa%3Ftoken%3D<secret>",
        );
        check("MYSQL_PASS=abc", "MYSQL_PASS=<secret>");
        check("X-Amz-Signature=0af1&b", "X-Amz-Signature=<secret>&b");
    }

    #[test]
    fn colons() {
        check("password: hunter2", "password: <secret>");
        check("X-Api-Key: abc def", "X-Api-Key: <secret> def");
        check(
            "Authorization: Bearer abc.def x",
            "Authorization: <secret> x",
        );
        check("authorization: token abc", "authorization: <secret>");
        check(
            "-H 'Authorization: Basic YTpi' x",
            "-H 'Authorization: <secret>' x",
        );
        check("{Password:abc User:x}", "{Password:<secret> User:x}");
        check(
            "map[Authorization:[Bearer abc def]]",
            "map[Authorization:[<secret>]]",
        );
    }

    #[test]
    fn colours_stay() {
        check(
            "\x1b[1mpassword\x1b[0m=\x1b[32mhunter2\x1b[0m x",
            "\x1b[1mpassword\x1b[0m=\x1b[32m<secret>\x1b[0m x",
        );
        check(
            "{ password: \x1b[32m'a b'\x1b[39m }",
            "{ password: \x1b[32m'<secret>'\x1b[39m }",
        );
        check(
            r#"{"m":"token=\u001b[33mabc\u001b[0m"}"#,
            r#"{"m":"token=\u001b[33m<secret>\u001b[0m"}"#,
        );
    }

    #[test]
    fn a_percent_escape_ends_a_value_only_where_its_pair_is_escaped() {
        check("?password=a%26b&c=1", "?password=<secret>&c=1");
        check("?r=x%3Fpwd%3Dab%26c%3D1", "?r=x%3Fpwd%3D<secret>%26c%3D1");
    }

    #[test]
    fn json() {
        check(
            r#"{"password":"hunter2","a":1}"#,
            r#"{"password":"<secret>","a":1}"#,
        );
        check(r#"{"password" : "a\"b\\"}"#, r#"{"password" : "<secret>"}"#);
        check(
            r#"{"m":"{\"token\":\"a\\\"b\"}"}"#,
            r#"{"m":"{\"token\":\"<secret>\"}"}"#,
        );
        check(r#"{"otp":123456,"a":1}"#, r#"{"otp":"<secret>","a":1}"#);
        check(
            r#"{"tokens":["a=b","c=d"],"x":[1]}"#,
            r#"{"tokens":["<secret>"],"x":[1]}"#,
        );
        check(
            r#"{"m":"password=abc\" x"}"#,
            r#"{"m":"password=<secret>\" x"}"#,
        );
        check(
            r#"{"m":"password=abc\nx"}"#,
            r#"{"m":"password=<secret>\nx"}"#,
        );
        check(
            r#"{"m":"password=abc\\"}"#,
            r#"{"m":"password=<secret>\\"}"#,
        );
        check(r#"{"authToken":"abc"#, r#"{"authToken":"<secret>"#);
        check(
            "{'passwd': u'abc', 'x': 1}",
            "{'passwd': u'<secret>', 'x': 1}",
        );
        check(r#""password"=>"abc""#, r#""password"=>"<secret>""#);
        check(
            r#"Conf { password: Some("abc") }"#,
            r#"Conf { password: Some("<secret>") }"#,
        );
        check(
            r#"{"secret":{"token":"abc"}}"#,
            r#"{"secret":{"token":"<secret>"}}"#,
        );
    }

    #[test]
    fn quotes_that_are_escaped() {
        check(
            r"{\u0022password\u0022:\u0022a b\u0022,\u0022n\u0022:1}",
            r"{\u0022password\u0022:\u0022<secret>\u0022,\u0022n\u0022:1}",
        );
        check(
            r#"{"m":"{\u0022token\u0022: \u0022abc\u0022}"}"#,
            r#"{"m":"{\u0022token\u0022: \u0022<secret>\u0022}"}"#,
        );
        check(
            "?q=%7B%22password%22%3A%22a%20b%22%7D&x=1",
            "?q=%7B%22password%22%3A%22<secret>%22%7D&x=1",
        );
        check("password=%22abc%22&x=1", "password=%22<secret>%22&x=1");
        check(r"password=\u0027abc", r"password=\u0027<secret>");
        keeps(r"\u0022password\u0022 is missing");
    }

    #[test]
    fn commands_and_markup() {
        check(
            "CREATE USER x IDENTIFIED BY 'abc'",
            "CREATE USER x IDENTIFIED BY '<secret>'",
        );
        check(
            "ALTER USER x PASSWORD 'abc'",
            "ALTER USER x PASSWORD '<secret>'",
        );
        check("run --password abc --x", "run --password <secret> --x");
        check(
            r#"["--api-key","abc","x"]"#,
            r#"["--api-key","<secret>","x"]"#,
        );
        check("<password>abc</password>", "<password><secret></password>");
    }

    #[test]
    fn values_that_say_nothing() {
        keeps("secret=false token=null password=");
        keeps("password=*** pwd=xxxxx token=<secret>,x=1");
        keeps(r#"{"password":"","token":null,"secret":true,"cookie":[]}"#);
        keeps("password=[FILTERED] secret=[REDACTED] token=${TOKEN} pwd=$PWD");
        keeps("PWD=/app");
        keeps(r#"{"msg":"no password=","n":1}"#);
        keeps(r#"{"token=" : 12345}"#);
    }

    #[test]
    fn a_value_ends_with_the_string_around_it() {
        check(
            r#"{"api_key\"=":7,"user[pwd]":"abc"}"#,
            r#"{"api_key\"=":7,"user[pwd]":"<secret>"}"#,
        );
        check(
            r#"{"m":"secret='abc","n":"it's"}"#,
            r#"{"m":"secret='<secret>","n":"it's"}"#,
        );
        keeps("token: <secret>");
    }

    #[test]
    fn keys_that_are_no_secret() {
        keeps("max_tokens=4096 prompt_tokens: 12");
        keeps(r#"{"total_tokens":1234567}"#);
        keeps("token_type=bearer1 token_expires_in=3600 tokenizer=bpe");
        keeps("password_reset_required=yes1 tokenCount=12");
        keeps("the secret is out: abc");
        keeps("invalid token: unexpected end of input");
        keeps("secretary: Bob");
        keeps("hotpot=5 laptop=abc adopt=abc");
        keeps("std::token::abc");
        keeps("unexpected token '}' in JSON");
    }
}
