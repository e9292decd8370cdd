use super::*;
use crate::{Limits, TemplateSet};

fn units() -> Units {
    Units {
        bytes: |s| {
            s.strip_suffix("KB")
                .and_then(|n| n.parse().ok())
                .map(|n: f64| n * 1000.0)
                .ok_or_else(|| "no size".to_owned())
        },
        seconds: |s| {
            s.strip_suffix('s')
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| "no time".to_owned())
        },
    }
}

fn expand(template: &str) -> Result<String, String> {
    let line = CurrentLine::default();
    line.set("a line", 1_700_000_000_123_456_789);
    let now = Timestamp::from_millis(1_600_000_000_000);
    let functions = functions(&line, units(), now);
    let mut set = TemplateSet::new();
    set.add("line", template).map_err(|e| e.to_string())?;
    set.check(&functions).map_err(|e| e.to_string())?;
    let data = Value::string_map([("x", "Hello World"), ("n", "3.50"), ("e", "")]);
    set.execute("line", &data, &functions, &Limits::default())
        .map_err(|e| e.message)
}

#[track_caller]
fn check(template: &str, expect: &str) {
    assert_eq!(expand(template).as_deref(), Ok(expect), "{template}");
}

#[test]
fn texts() {
    check(
        r#"{{ ToLower .x }} {{ .x | ToUpper }} {{ Replace .x "o" "0" 1 }} {{ Replace .x "o" "0" -1 }}"#,
        "hello world HELLO WORLD Hell0 World Hell0 W0rld",
    );
    check(
        r#"{{ Trim "xxaxx" "x" }}{{ TrimLeft "xxa" "x" }}{{ TrimRight "axx" "x" }}{{ TrimPrefix "ab" "a" }}{{ TrimSuffix "ab" "b" }}{{ TrimSpace " a " }}"#,
        "aaabaa",
    );
    check(
        r#"{{ lower .x }} {{ upper .x }} {{ title "hello world" }} {{ trim "  a " }} {{ trimAll "$" "$5.00$" }}"#,
        "hello world HELLO WORLD Hello World a 5.00",
    );
    check(
        r#"{{ trimPrefix "-" "-a-" }} {{ trimSuffix "-" "-a-" }} {{ .x | replace "l" "L" }}"#,
        "a- -a HeLLo WorLd",
    );
    check(
        r#"{{ trunc 5 .x }} {{ trunc -5 .x }} {{ trunc 50 .x }} {{ substr 0 5 .x }} {{ substr -1 5 .x }} {{ substr 6 -1 .x }} {{ substr 6 99 .x }}"#,
        "Hello World Hello World Hello Hello World World",
    );
    check(
        r#"[{{ alignLeft 5 "hi" }}] [{{ alignLeft 5 .x }}] [{{ alignRight 5 "hi" }}] [{{ alignRight 5 .x }}]"#,
        "[hi   ] [Hello] [   hi] [World]",
    );
    check(
        r#"{{ indent 2 "a\nb" }}{{ nindent 2 "c" }} {{ repeat 3 "ab" }}"#,
        "  a\n  b\n  c ababab",
    );
    check(
        r#"{{ contains "World" .x }} {{ hasPrefix "He" .x }} {{ hasSuffix "He" .x }} {{ eq .x "Hello World" }}"#,
        "true true false true",
    );
    check(
        r#"{{ default "-" .e }} {{ .x | default "-" }} {{ .missing | default "none" }}"#,
        "- Hello World none",
    );
    check(
        r#"{{ urlencode "a b&c" }} {{ urldecode "a+b%26c" }} {{ b64enc .x }} {{ b64dec "SGVsbG8=" }}"#,
        "a+b%26c a b&c SGVsbG8gV29ybGQ= Hello",
    );
    check(
        r#"{{ regexReplaceAll "(l+)o" .x "<$1>" }} {{ regexReplaceAllLiteral "l+" .x "$1" }} {{ count "o|l" .x }}"#,
        "He<ll> World He$1o Wor$1d 5",
    );
    check(
        r#"{{ __line__ }}|{{ __timestamp__ | unixEpochNanos }}|{{ printf "%-3s|%5.1f" "a" 2.25 }}"#,
        "a line|1700000000123456789|a  |  2.2",
    );
    check(
        r#"{{ range $i, $q := fromJson "[{\"q\":1},{\"q\":\"b\"}]" }}{{ $i }}={{ $q.q }} {{ end }}"#,
        "0=1 1=b ",
    );
    check(
        r#"{{ if and (contains "He" .x) (not .e) }}yes{{ else }}no{{ end }} {{ with .e }}x{{ else }}y{{ end }}"#,
        "yes y",
    );
}

#[test]
fn numbers_of_any_type() {
    check(
        r#"{{ add 1 "2" 3.9 }} {{ sub 5 2 }} {{ mul 2 "3" }} {{ div 7 2 }} {{ mod 7 4 }} {{ max 1 5 3 }} {{ min 4 2 }}"#,
        "6 3 6 3 3 5 2",
    );
    check(
        r#"{{ addf 0.1 0.2 }} {{ subf 7.5 3 0.5 }} {{ mulf 1.5 3 2 }} {{ divf 9 2 3 }} {{ maxf 1 2.5 }} {{ minf 3 1.5 }}"#,
        "0.3 4 9 1.5 2.5 1.5",
    );
    check(
        r#"{{ ceil 7.01 }} {{ floor 7.99 }} {{ round 2.34567 3 }} {{ round 1.23421 3 .2 }}"#,
        "8 7 2.346 1.235",
    );
    check(
        r#"{{ int "3.0" }} {{ int "3.7" }} {{ int "010" }} {{ float64 .n }} {{ add .n 1 }}"#,
        "3 0 8 3.5 1",
    );
    check(
        r#"{{ bytes "5KB" }} {{ duration "2s" }} {{ duration_seconds "0.5s" }}"#,
        "5000 2 0.5",
    );
    assert!(expand(r#"{{ div 1 0 }}"#).is_err_and(|e| e.contains("divide by zero")));
    assert!(expand(r#"{{ bytes "x" }}"#).is_err_and(|e| e.contains("no size")));
}

#[test]
fn times() {
    check(
        r#"{{ now | date "2006-01-02T15:04:05Z07:00" }} {{ unixEpoch now }}"#,
        "2020-09-13T12:26:40Z 1600000000",
    );
    check(
        r#"{{ toDate "2006-01-02" "2021-11-02" | unixEpoch }} {{ "2021-11-02T01:02:03.5+02:00" | toDate "2006-01-02T15:04:05Z07:00" | unixEpochMillis }}"#,
        "1635811200 1635807723500",
    );
    check(
        r#"{{ toDateInZone "2006-01-02 03:04 PM" "Europe/Berlin" "2021-07-01 02:00 PM" | unixEpoch }}"#,
        "1625140800",
    );
    check(
        r#"{{ unixToTime "1700000000" | date "2006-01-02" }} {{ unixToTime "1700000000123" | unixEpochMillis }} {{ unixToTime "20000" | date "2006-01-02" }}"#,
        "2023-11-14 1700000000123 2024-10-04",
    );
    check(
        r#"{{ toDate "2006" "x" }}"#,
        "0001-01-01 00:00:00 +0000 UTC",
    );
    check(r#"{{ date "2006-01-02" 1700000000 }}"#, "2023-11-14");
}

#[test]
fn what_is_unknown_or_too_large_is_an_error() {
    assert!(expand("{{ nosuch }}").is_err_and(|e| e.contains("not defined")));
    assert!(expand(r#"{{ repeat 9999999 .x }}"#).is_err());
    assert!(expand(r#"{{ substr 3 1 .x }}"#).is_err_and(|e| e.contains("out of range")));
    assert!(expand(r#"{{ .x | lower "a" }}"#).is_err_and(|e| e.contains("wrong number of args")));
}

#[test]
fn fields_that_a_template_reads_are_known() {
    let mut set = TemplateSet::new();
    set.add("a", "{{ .x }} {{ if .y }}{{ $.z | lower }}{{ end }}")
        .unwrap();
    assert_eq!(
        set.fields("a"),
        Some(vec!["x".to_owned(), "y".to_owned(), "z".to_owned()])
    );
    set.add("b", "{{ range $k, $v := . }}{{ $k }}{{ end }}")
        .unwrap();
    assert_eq!(set.fields("b"), None);
}

#[test]
fn no_function_makes_more_than_a_megabyte() {
    let long = "{{ $x := repeat 2000 \"ab\" }}";
    for made in [
        r#"replace "" $x $x"#,
        r#"Replace $x "a" $x -1"#,
        r#"regexReplaceAll "a" $x (repeat 5000 "${0}b")"#,
        r#"regexReplaceAll "^.*$" $x (repeat 5000 "$0")"#,
        r#"regexReplaceAllLiteral "b" $x $x"#,
    ] {
        let error = expand(&format!("{long}{{{{ len ({made}) }}}}")).unwrap_err();
        assert!(error.contains("more than 1048576 bytes"), "{made}: {error}");
    }
    check(r#"{{ Replace "aaaa" "a" "bc" 2 }}"#, "bcbcaa");
    check(r#"{{ Replace "aaaa" "" "-" -1 }}"#, "-a-a-a-a-");
    check(r#"{{ replace "aa" "" "aaaaa" }}"#, "a");
}
