//! Where a mask needs quotes: a number in a JSON line is replaced by a string.

use std::ops::Range;

/// Whether `text` begins like a JSON object or array. Brackets around a word are more often
/// the time or level of a plain line.
pub(crate) fn is_document(text: &[u8]) -> bool {
    let mut solid = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    matches!(
        (solid.next(), solid.next()),
        (Some(b'{'), Some(b'"')) | (Some(b'['), Some(b'"' | b'{' | b'['))
    )
}

/// Tells whether ranges of a line, asked for in order, are bare values of a JSON document.
pub(crate) struct Json<'a> {
    /// `None` when the line is no JSON.
    text: Option<&'a [u8]>,
    /// Up to here the line was read.
    read: usize,
    /// Whether `read` is inside a string.
    in_string: bool,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        Json {
            text: is_document(text).then_some(text),
            read: 0,
            in_string: false,
        }
    }

    /// Whether `range` stands where a value may stand, outside of strings.
    pub(crate) fn is_bare_value(&mut self, range: &Range<usize>) -> bool {
        let Some(text) = self.text else {
            return false;
        };
        while self.read < range.start {
            match text[self.read] {
                b'"' => self.in_string = !self.in_string,
                b'\\' if self.in_string => self.read += 1,
                _ => {}
            }
            self.read += 1;
        }
        if self.in_string {
            return false;
        }
        let before = text[..range.start].trim_ascii_end().last();
        let after = text[range.end..].trim_ascii_start().first();
        matches!(before, Some(b':' | b',' | b'['))
            && matches!(after, None | Some(b',' | b'}' | b']'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_values() {
        let check = |text: &str, expect: bool| {
            let start = text.find('7').unwrap();
            assert_eq!(
                Json::new(text).is_bare_value(&(start..start + 1)),
                expect,
                "{text}"
            );
        };
        check(r#"{"a":7}"#, true);
        check(r#"{"a": 7 , "b":1}"#, true);
        check(r#"{"a":[7]}"#, true);
        check(r#"{"a":"7"}"#, false);
        check(r#"{"a":"\"",:7}"#, true);
        check(r#"{"a":"\":7}"}"#, false);
        check("[x] a:7", false);
        check("{a:7}", false);
    }
}
