//! Expansions as Go prints them.

use std::sync::Arc;

use model::{Labels, Timestamp};
use template::prometheus::{Environment, QuerySample, functions};
use template::{Functions, Kv, Limits, Span, TemplateSet, Time, Value};

fn prometheus<'a>() -> Functions<'a> {
    functions(Environment {
        query: Arc::new(|text| match text {
            "fail" => Err("query failed".to_owned()),
            "none" => Ok(Vec::new()),
            _ => Ok(["b", "a"]
                .iter()
                .zip([2.0, 1.0])
                .map(|(instance, value)| QuerySample {
                    labels: Labels::from_pairs([("__name__", "metric"), ("instance", instance)]),
                    value,
                })
                .collect()),
        }),
        now: Timestamp::from_millis(1_700_000_000_500),
        external_url: "https://sw.example.org/path".to_owned(),
    })
}

fn data() -> Value {
    Value::map([
        (
            "Labels",
            Value::string_map([("instance", "web-1.example.org:9100"), ("job", "node")]),
        ),
        ("ExternalLabels", Value::string_map([("site", "fra")])),
        ("ExternalURL", Value::from("https://sw.example.org/path")),
        ("Value", Value::Float(5_368_709_120.0)),
        ("Any", Value::map([("n", Value::Int(3))])),
        ("List", Value::list([Value::from("x"), Value::from("y")])),
        (
            "Floats",
            Value::list([Value::Float(1.0), Value::Float(0.5)]),
        ),
        ("Nothing", Value::Nil),
        (
            "Kv",
            Value::object(Kv(Labels::from_pairs([
                ("zone", "z"),
                ("alertname", "Down"),
                ("env", "prod"),
            ]))),
        ),
        (
            "At",
            Value::Time(Time::utc(Timestamp::from_millis(1_767_366_245_500))),
        ),
        ("Zero", Value::Time(Time::zero())),
        ("Took", Value::Duration(Span::from_nanos(3_723_500_000_000))),
    ])
}

fn expand(text: &str) -> Result<String, String> {
    let mut set = TemplateSet::with_variables(&[("$labels", "Labels"), ("$value", "Value")]);
    set.add("t", text).map_err(|e| e.to_string())?;
    set.execute("t", &data(), &prometheus(), &Limits::default())
        .map_err(|e| e.to_string())
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(expand(text).as_deref(), Ok(expect), "{text}");
}

#[track_caller]
fn check_error(text: &str, expect: &str) {
    let error = expand(text).err().unwrap_or_default();
    assert!(
        error.contains(expect),
        "{text}\n  got: {error}\n want: {expect}"
    );
}

#[test]
fn values_print_as_go_prints_them() {
    for (text, expect) in [
        ("{{ $value }}", "5.36870912e+09"),
        ("{{ .Value | printf \"%.2f\" }}", "5368709120.00"),
        (
            "{{ .Labels }}",
            "map[instance:web-1.example.org:9100 job:node]",
        ),
        ("{{ .List }} {{ .Floats }}", "[x y] [1 0.5]"),
        ("{{ .Nothing }}", "<no value>"),
        ("{{ .Any.missing }}", "<no value>"),
        ("[{{ $labels.missing }}]", "[]"),
        (
            "{{ true }} {{ 1 }} {{ 1.5 }} {{ 'a' }} {{ 1e6 }} {{ 0x10 }}",
            "true 1 1.5 97 1e+06 16",
        ),
        ("{{ .At }}", "2026-01-02 15:04:05.5 +0000 UTC"),
        ("{{ .Took }}", "1h2m3.5s"),
        ("{{ .Zero }}", "0001-01-01 00:00:00 +0000 UTC"),
    ] {
        check(text, expect);
    }
}

#[test]
fn control_structures_follow_go() {
    for (text, expect) in [
        (
            "{{ if eq $labels.job \"node\" }}yes{{ else }}no{{ end }}",
            "yes",
        ),
        (
            "{{ if .Nothing }}a{{ else if .List }}b{{ else }}c{{ end }}",
            "b",
        ),
        (
            "{{ with .Nothing }}a{{ else }}{{ len .List }}{{ end }}",
            "2",
        ),
        ("{{ with .Any }}{{ .n }}{{ end }}", "3"),
        ("{{ range .List }}<{{ . }}>{{ end }}", "<x><y>"),
        (
            "{{ range $i, $x := .List }}{{ $i }}={{ $x }};{{ end }}",
            "0=x;1=y;",
        ),
        (
            "{{ range $k, $v := .Labels }}{{ $k }}:{{ $v }} {{ end }}",
            "instance:web-1.example.org:9100 job:node ",
        ),
        ("{{ range .Nothing }}a{{ else }}empty{{ end }}", "empty"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        (
            "{{ range $i, $x := .List }}{{ if $i }}{{ break }}{{ end }}{{ $x }}{{ end }}",
            "x",
        ),
        (
            "{{ range $i, $x := .List }}{{ if not $i }}{{ continue }}{{ end }}{{ $x }}{{ end }}",
            "y",
        ),
        (
            "{{ $n := 0 }}{{ range .List }}{{ $n = len . }}{{ end }}{{ $n }}",
            "1",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}",
            "21",
        ),
        (
            "{{ define \"d\" }}[{{ . }}]{{ end }}{{ template \"d\" 7 }}",
            "[7]",
        ),
        ("{{ block \"b\" .List }}{{ len . }}{{ end }}", "2"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* nothing */}}x", "x"),
        ("{{ $.Value }}", "5.36870912e+09"),
        ("{{ (index .List 1) }}{{ slice \"abcdef\" 1 3 }}", "ybc"),
        (
            "{{ range .List }}{{ . }}{{ range $.Nothing }}{{ else }}{{ break }}{{ end }}{{ end }}",
            "x",
        ),
    ] {
        check(text, expect);
    }
}

#[test]
fn comparison_follows_go() {
    for (text, expect) in [
        (
            "{{ eq 1 2 3 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ ge 2.0 2.0 }}",
            "true true true true",
        ),
        ("{{ and 1 0 2 }} {{ or 0 \"\" 3 }} {{ not 1 }}", "0 3 false"),
        ("{{ and false (index .List 99) }}", "false"),
        ("{{ gt $value 90.0 }}", "true"),
        ("{{ eq .Nothing nil }}", "true"),
    ] {
        check(text, expect);
    }
    check_error("{{ gt $value 90 }}", "incompatible types for comparison");
    check_error("{{ eq .Value \"x\" }}", "incompatible types for comparison");
}

#[test]
fn printf_follows_go() {
    for (text, expect) in [
        (
            r#"{{ printf "%d|%5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c|%q" 42 42 42 42 42 255 255 8 5 65 65 }}"#,
            "42|   42|42   |00042|+42|ff|FF|10|101|A|'A'",
        ),
        (
            r#"{{ printf "%f|%.1f|%8.2f|%-8.2f|%08.2f|%e|%g|%.3g|%v" 1.5 1.25 3.14159 3.14159 -3.14159 1234.5 1e21 1234.5 0.1 }}"#,
            "1.500000|1.2|    3.14|3.14    |-0003.14|1.234500e+03|1e+21|1.23e+03|0.1",
        ),
        (
            r#"{{ printf "%s|%5s|%-5s|%.2s|%q|%x" "abc" "abc" "abc" "abc" "a\"b" "hi" }}"#,
            "abc|  abc|abc  |ab|\"a\\\"b\"|6869",
        ),
        (
            r#"{{ printf "%t %v %T %T" true false 1.0 "x" }}"#,
            "true false float64 string",
        ),
        (
            r#"{{ printf "%d" "x" }} {{ printf "%s" 1.5 }}"#,
            "%!d(string=x) %!s(float64=1.5)",
        ),
        (
            r#"{{ printf "%d" }} {{ printf "x" 1 }} {{ printf "%d%%" 5 }} {{ printf "%" }}"#,
            "%!d(MISSING) x%!(EXTRA int=1) 5% %!(NOVERB)",
        ),
        (
            r#"{{ printf "%*d" 5 42 }} {{ printf "%v" .List }} {{ printf "%q" .List }}"#,
            "   42 [x y] [\"x\" \"y\"]",
        ),
        (r#"{{ printf "%v %s" .Took .Took }}"#, "1h2m3.5s 1h2m3.5s"),
        (
            r#"{{ print 1 2 "a" "b" 3 }}|{{ println "x" 1 }}"#,
            "1 2ab3|x 1\n",
        ),
    ] {
        check(text, expect);
    }
}

#[test]
fn prometheus_functions_answer_as_in_prometheus() {
    for (text, expect) in [
        ("{{ query \"m\" | first | value }}", "2"),
        (
            "{{ range query \"m\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}",
            "a=1 b=2 ",
        ),
        ("{{ query \"m\" | first | label \"instance\" }}", "b"),
        (
            "{{ with query \"none\" }}x{{ else }}no data{{ end }}",
            "no data",
        ),
        (
            "{{ humanize $value }} {{ humanize 0.0 }} {{ humanize 1234567 }} {{ humanize 0.0123 }} {{ humanize -5000 }}",
            "5.369G 0 1.235M 12.3m -5k",
        ),
        (
            "{{ humanize1024 $value }} {{ humanize1024 1048576 }} {{ humanize1024 0.5 }}",
            "5Gi 1Mi 0.5",
        ),
        (
            "{{ humanizeDuration 0.0 }} {{ humanizeDuration 59.5 }} {{ humanizeDuration 61 }} {{ humanizeDuration 3661 }} {{ humanizeDuration 90061 }} {{ humanizeDuration 0.0015 }} {{ humanizeDuration -61 }}",
            "0s 59.5s 1m 1s 1h 1m 1s 1d 1h 1m 1s 1.5ms -1m 1s",
        ),
        (
            "{{ humanizePercentage 0.12345 }} {{ humanizePercentage \"1\" }}",
            "12.35% 100%",
        ),
        (
            "{{ humanizeTimestamp 1435065584.128 }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        (
            "{{ (toTime 1435065584).Year }} {{ toDuration 90 }}",
            "2015 1m30s",
        ),
        (
            "{{ \"web-1\" | title }} {{ toUpper \"ab\" }} {{ \"AB\" | toLower }}",
            "Web-1 AB ab",
        ),
        (
            "{{ match \"^web\" $labels.instance }} {{ reReplaceAll \"(.*):(.*)\" \"$2\" $labels.instance }}",
            "true 9100",
        ),
        (
            "{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ stripPort \"[::1]:80\" }}",
            "web-1.example.org web-1:9100 ::1",
        ),
        (
            "{{ graphLink \"up == 0\" }} {{ tableLink \"x\" }}",
            "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=x&g0.tab=1",
        ),
        (
            "{{ externalURL }} {{ pathPrefix }}",
            "https://sw.example.org/path /path",
        ),
        (
            "{{ parseDuration \"1h\" }} {{ now }}",
            "3600 1.7000000005e+09",
        ),
        (
            "{{ with args 1 \"b\" }}{{ .arg0 }}{{ .arg1 }}{{ end }}",
            "1b",
        ),
        (
            "{{ urlQueryEscape \"a b/c\" }} {{ safeHtml \"<b>\" }}",
            "a+b%2Fc <b>",
        ),
        ("{{ humanize \"nan\" }}", "NaN"),
    ] {
        check(text, expect);
    }
    check_error(
        "{{ query \"fail\" }}",
        "t:1:4: executing \"t\" at <query>: error calling query: query failed",
    );
    check_error(
        "{{ query \"none\" | first }}",
        "first() called on vector with no elements",
    );
}

#[test]
fn methods_of_alertmanagers_data_work() {
    for (text, expect) in [
        (
            "{{ range .Kv.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
            "alertname=Down env=prod zone=z ",
        ),
        ("{{ .Kv.SortedPairs }}", "alertname=Down, env=prod, zone=z"),
        (
            "{{ .Kv.SortedPairs.Values }} {{ .Kv.Names }}",
            "[Down prod z] [alertname env zone]",
        ),
        (
            "{{ (.Kv.Remove .List).SortedPairs.Names }} {{ len .Kv }} {{ .Kv.env }} [{{ .Kv.none }}]",
            "[alertname env zone] 3 prod []",
        ),
        ("{{ .Kv }}", "map[alertname:Down env:prod zone:z]"),
        (
            "{{ .At.Format \"Mon, 02 Jan 2006 15:04:05.000 MST\" }} {{ .At.Unix }}",
            "Fri, 02 Jan 2026 15:04:05.500 UTC 1767366245",
        ),
        (
            "{{ .Took.Hours | printf \"%.1f\" }} {{ .Zero.IsZero }}",
            "1.0 true",
        ),
        (
            "{{ (.At.Sub .At).Seconds }} {{ .At.Weekday }} {{ .At.Month }}",
            "0 Friday January",
        ),
    ] {
        check(text, expect);
    }
}

#[test]
fn alertmanager_functions_answer_as_in_alertmanager() {
    let functions = template::alertmanager::functions(template::alertmanager::Environment {
        now: Timestamp::from_millis(1_767_366_305_500),
        route_labels: Value::Nil,
    });
    for (text, expect) in [
        (
            "{{ join \",\" .List }} {{ stringSlice \"a\" \"b\" | join \"-\" }}",
            "x,y a-b",
        ),
        (
            "{{ trimSpace \" x \" }} {{ urlUnescape \"a%20b+c\" }}",
            "x a b c",
        ),
        (
            "{{ since .At }} {{ since .At | humanizeDuration }}",
            "1m0s 1m 0s",
        ),
        (
            "{{ .At | tz \"Europe/Berlin\" | date \"15:04 MST -0700\" }}",
            "16:04 CET +0100",
        ),
        (
            "{{ date \"2006-01-02T15:04:05Z07:00\" .At }}",
            "2026-01-02T15:04:05Z",
        ),
        (
            "{{ toJson .Kv }} {{ toJson .List }} {{ toJson \"<a>\" }} {{ toJson .At }}",
            r#"{"alertname":"Down","env":"prod","zone":"z"} ["x","y"] "\u003ca\u003e" "2026-01-02T15:04:05.5Z""#,
        ),
        (
            "{{ base64encode \"hi\" }} {{ base64decode \"aGk=\" }}",
            "aGk= hi",
        ),
        (
            "{{ $d := dict \"a\" 1 \"b\" (list 1 2) }}{{ $d.a }} {{ append $d.b 3 }}",
            "1 [1 2 3]",
        ),
    ] {
        let mut set = TemplateSet::new();
        set.add("t", text).unwrap();
        let got = set.execute("t", &data(), &functions, &Limits::default());
        assert_eq!(got.as_deref(), Ok(expect), "{text}");
    }
}

#[test]
fn wrong_templates_are_refused_with_their_place() {
    for (text, expect) in [
        ("{{ $labels.x ", "t:1:"),
        ("a\n{{ if .x }}b", "t:2:13: unexpected EOF"),
        ("a{{ end }}b", "t:1:2: unexpected {{end}}"),
        ("a{{ else }}b", "unexpected {{else}}"),
        ("x\n  {{ $nope }}", "t:2:6: undefined variable \"$nope\""),
        ("{{ break }}", "outside {{range}}"),
        ("{{ nope 1 }}", "function \"nope\" not defined"),
        ("{{ define \"x\" }}", "unexpected EOF"),
        (
            "{{ .Value.Foo }}",
            "can't evaluate field Foo in type float64",
        ),
        (
            "{{ .Nothing.Foo }}",
            "nil pointer evaluating interface {}.Foo",
        ),
        ("{{ index .List 5 }}", "index out of range: 5"),
        ("{{ template \"none\" }}", "template \"none\" not defined"),
        ("{{ \"x\" | 5 }}", ""),
        (
            "{{ .Value 1 }}",
            "Value has arguments but cannot be invoked as function",
        ),
        ("{{ toUpper 5 }}", "expected string; got int"),
        ("{{ \"unterminated }}", "t:1:"),
        ("{{", "t:1:"),
        ("{{/* open", "t:1:"),
    ] {
        check_error(text, expect);
    }
}

#[test]
fn unknown_functions_are_found_without_expanding() {
    let mut set = TemplateSet::new();
    set.add("t", "{{ if .x }}\n {{ .y | nope }}{{ end }}")
        .unwrap();
    assert_eq!(
        set.check(&prometheus()).unwrap_err().to_string(),
        "template: t:2:10: function \"nope\" not defined"
    );
}

#[test]
fn every_expansion_is_bounded() {
    for (text, expect) in [
        (
            "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
            "nested deeper than 100",
        ),
        ("{{ range 100000 }}x{{ end }}", "more than 10000 iterations"),
        (
            "{{ range 300 }}{{ range 300 }}{{ end }}{{ end }}",
            "more than 10000 iterations",
        ),
        (
            "{{ range 5000 }}{{ printf \"%100d\" 1 }}{{ end }}",
            "more than 65536 bytes of output",
        ),
        ("{{ printf \"%99999d\" 1 }}", "width beyond 4096"),
        (
            "{{ $x := \"xxxxxxxxxxxxxxxx\" }}{{ range 30 }}{{ $x = print $x $x }}{{ end }}",
            "more than 65536 bytes of text",
        ),
    ] {
        check_error(text, expect);
    }
    let functions = template::alertmanager::functions(template::alertmanager::Environment {
        now: Timestamp::default(),
        route_labels: Value::Nil,
    });
    for text in [
        "{{ $x := list }}{{ range 9999 }}{{ $x = list $x }}{{ end }}{{ $x }}",
        "{{ $x := list 1 }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}",
    ] {
        let mut set = TemplateSet::new();
        set.add("t", text).unwrap();
        let error = set
            .execute("t", &Value::Nil, &functions, &Limits::default())
            .unwrap_err();
        assert!(error.message.contains("nested deeper"), "{error}");
    }
}

#[test]
fn html_output_is_escaped_unless_it_is_safe() {
    let mut set = TemplateSet::new();
    set.add(
        "t",
        r#"<a href="{{ .u }}" title="{{ .t }}">{{ .t }}{{ safeHtml "<br>" }}</a>"#,
    )
    .unwrap();
    let data = Value::string_map([("u", "javascript:x"), ("t", "<\"b\">")]);
    assert_eq!(
        set.execute_html("t", &data, &prometheus(), &Limits::default())
            .unwrap(),
        "<a href=\"#ZgotmplZ\" title=\"&lt;&#34;b&#34;&gt;\">&lt;&#34;b&#34;&gt;<br></a>"
    );
}
