//! Any text is refused at a place inside it, or parses; and what parses prints, on one line and
//! on several, as text that parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // As the server reads a request that is not UTF-8.
    let text = String::from_utf8_lossy(data);
    let _ = query::parse_matchers(&text);
    let expr = match query::parse(&text) {
        Ok(expr) => expr,
        Err(error) => {
            let span = error.span;
            assert!(
                span.start <= span.end && span.end <= text.len(),
                "{span:?} of {text:?}"
            );
            assert!(error.line >= 1 && error.column >= 1);
            return;
        }
    };
    expr.walk(&mut |e| {
        assert!(e.span.start < e.span.end && e.span.end <= text.len());
    });
    let printed = expr.to_string();
    // Normalised text may be longer than what was written, and then too long to read.
    if printed.len() > query::promql::parser::TEXT_BYTES_MAX {
        return;
    }
    for shown in [printed.clone(), query::pretty(&expr)] {
        if shown.len() > query::promql::parser::TEXT_BYTES_MAX {
            continue;
        }
        match query::parse(&shown) {
            Ok(again) => assert_eq!(again.to_string(), printed, "{text:?} as {shown:?}"),
            Err(error) => panic!("{text:?} as {shown:?}: {error}"),
        }
    }
});
