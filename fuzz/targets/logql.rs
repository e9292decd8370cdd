//! Any text is refused at a place inside it, or parses; what parses prints as text that parses to
//! the same, and runs over any line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use query::logql::fuzzing::exercise;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // A query, and after a NUL the line it runs over.
    let (query, line) = text
        .split_once('\0')
        .unwrap_or((text.as_ref(), "{\"a\":\"b\"} c=5"));
    exercise(query, line);
});
