//! No file makes the reader hang or panic, and every refusal says why.

use proptest::prelude::*;

const FILE: &str = r#"# a comment
groups:
  - name: "g é"
    interval: 30s
    labels: { a: &x 'it''s', b: *x }
    rules:
      - alert: A
        expr: |
          sum by (job) (rate(up{a=~"b.*"}[5m]))
            > 0.5
        for: 5m
        labels:
          severity: "{{ $labels.job | printf \"%s\" }}"
        annotations:
          summary: >-
            one {{ $value | humanize }}
            two
      - record: a:b
        expr: 'vector(1)'
"#;

/// Fragments put in the place of others.
const NOISE: &[&str] = &[
    "", "\"", "'", "|", ">", "\t", "\n", "{{", "}}", "{", "[", ":", "- ", "&x", "*x", "é", "\u{0}",
    "---\n", "#", "!!", "\\", "%", "((((", "${", "0", "~",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn any_damaged_file_is_read_or_refused(
        edits in prop::collection::vec((0..FILE.len(), 0..12_usize, 0..NOISE.len()), 1..4),
    ) {
        let mut text = FILE.to_owned();
        for (at, len, noise) in edits {
            let mut start = at.min(text.len());
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + len).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, NOISE[noise]);
        }
        if let Err(found) = rules::file::parse("f.yml", &text) {
            prop_assert!(!found.is_empty());
            for d in found {
                prop_assert!(!d.message.is_empty(), "{text}");
                prop_assert!(d.line <= text.lines().count() + 1, "{d}\n{text}");
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = rules::file::parse("f.yml", &text);
    }
}
