//! No text makes the parser or the executor hang or panic.

use std::sync::Arc;

use model::Timestamp;
use proptest::prelude::*;
use template::prometheus::{Environment, functions};
use template::{Limits, TemplateSet, Value};

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    "{{ end }}",
    "{{ else }}",
    "{{ if .a }}",
    "{{ range .l }}",
    "{{ with $x := .a }}",
    "{{ define \"d\" }}",
    "{{ template \"d\" . }}",
    "{{ block \"b\" . }}",
    "{{ break }}",
    "define",
    "template",
    "block",
    "range",
    "if",
    "end",
    "else",
    "with",
    "nil",
    "$x",
    "$",
    ":=",
    "=",
    "|",
    ".",
    ".a.b",
    ".l",
    "(",
    ")",
    ",",
    "\"s",
    "\"s\"",
    "`r`",
    "'c'",
    "'",
    "1",
    "1e9",
    "0x",
    "-",
    "printf",
    "index",
    "len",
    "query",
    "/*",
    "*/",
    " ",
    "\n",
    "é",
    "\u{0}",
    "true",
    "and",
    "or",
    "{{ . }}",
    "{{/* c */}}",
    "%v",
    "%*.9d",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn any_sequence_of_pieces_ends(picks in prop::collection::vec(0..PIECES.len(), 0..14)) {
        let text: String = picks.iter().map(|i| PIECES[*i]).collect();
        let mut set = TemplateSet::new();
        if set.add("t", &text).is_ok() {
            let f = functions(Environment {
                query: Arc::new(|_| Ok(Vec::new())),
                now: Timestamp::default(),
                external_url: String::new(),
            });
            let data = Value::map([
                ("a", Value::map([("b", Value::Int(1))])),
                ("l", Value::list([Value::from("x")])),
            ]);
            let _ = set.check(&f);
            let _ = set.execute("t", &data, &f, &Limits::default());
            let _ = set.execute_html("t", &data, &f, &Limits::default());
        }
    }
}
