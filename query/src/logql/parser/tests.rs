use super::*;

#[track_caller]
fn prints(text: &str, expect: &str) {
    let expr = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(expr.to_string(), expect, "{text}");
    let again = parse(expect).unwrap_or_else(|e| panic!("{expect}: {e}"));
    assert_eq!(again.to_string(), expect, "{text} again");
}

#[track_caller]
fn refused(text: &str, expect: &str) {
    match parse(text) {
        Ok(expr) => panic!("{text} was read as {expr}"),
        Err(error) => assert_eq!(error.to_string(), expect, "{text}"),
    }
}

#[test]
fn selectors_and_line_filters() {
    prints(
        r#"{a="b",c!="d", e=~`f.+` ,g!~"h"}"#,
        r#"{a="b", c!="d", e=~"f.+", g!~"h"}"#,
    );
    prints(
        r#"{a="b"} |= "x" or "y" != `z` or "w" |~"r" !~"s"|>"<_>p" !> "q<_>" # done"#,
        r#"{a="b"} |= "x" or "y" != "z" != "w" |~ "r" !~ "s" |> "<_>p" !> "q<_>""#,
    );
    prints(
        r#"({a="b"} |= ip("10.0.0.0/8") or "x")"#,
        r#"{a="b"} |= ip("10.0.0.0/8") or "x""#,
    );
}

#[test]
fn stages() {
    prints(
        r#"{a="b"}|json|logfmt --strict --keep-empty|regexp "(?P<x>.)"|pattern "<y> z"|unpack"#,
        r#"{a="b"} | json | logfmt --strict --keep-empty | regexp "(?P<x>.)" | pattern "<y> z" | unpack"#,
    );
    prints(
        r#"{a="b"} | json x="y.z[0]", w | logfmt --strict q="r" | decolorize"#,
        r#"{a="b"} | json x="y.z[0]",w="w" | logfmt --strict q="r" | decolorize"#,
    );
    prints(
        r#"{a="b"} | line_format `{{.x}}` | label_format y=z, w="{{.v}}" | drop p, q="r" | keep s, t=~"u""#,
        r#"{a="b"} | line_format "{{.x}}" | label_format y=z,w="{{.v}}" | drop p,q="r" | keep s,t=~"u""#,
    );
    prints(
        r#"{a="b"} | rate="x" | ip=ip("1.2.3.4") | ip!="y""#,
        r#"{a="b"} | rate="x" | ip=ip("1.2.3.4") | ip!="y""#,
    );
}

#[test]
fn label_filters_bind_as_lokis_grammar_resolves_them() {
    prints(
        r#"{a="b"} | x > 5 or y = 1.5s and z >= 2KB"#,
        r#"{a="b"} | ( x>5 or ( y==1.5s , z>=2.0kB ) )"#,
    );
    prints(
        r#"{a="b"} | app="web" env!="dev", path=~"/a" or code==-5"#,
        r#"{a="b"} | ( app="web" , ( env!="dev" , ( path=~"/a" or code==-5 ) ) )"#,
    );
    prints(
        r#"{a="b"} | (w < 1 or x <= 2) and y != 3"#,
        r#"{a="b"} | ( ( w<1 or x<=2 ) , y!=3 )"#,
    );
}

#[test]
fn windows_stand_before_or_after_the_pipeline() {
    for text in [
        r#"rate({a="b"} |= "x" [5m] offset 1h)"#,
        r#"rate(({a="b"} |= "x") [5m] offset 1h)"#,
        r#"rate(({a="b"} |= "x" [5m] offset 1h))"#,
        r#"rate({a="b"} [5m] offset 1h |= "x")"#,
    ] {
        prints(text, r#"rate({a="b"} |= "x"[5m] offset 1h0m0s)"#);
    }
    prints(
        r#"quantile_over_time(0.99, {a="b"} | json | unwrap duration(lat) | __error__="" [90s] offset -5m) by (x, y)"#,
        r#"quantile_over_time(0.99,{a="b"} | json | unwrap duration(lat) | __error__=""[1m30s] offset -5m0s) by (x,y)"#,
    );
    prints(
        r#"sum_over_time({a="b"}[1d]|unwrap x)"#,
        r#"sum_over_time({a="b"} | unwrap x[1d])"#,
    );
}

#[test]
fn aggregations_and_operators() {
    prints(
        r#"topk(3, sum without (x) (rate({a="b"}[1m]))) by (y)"#,
        r#"topk by (y)(3,sum without (x)(rate({a="b"}[1m])))"#,
    );
    prints(
        r#"rate({a="b"}[1m]) > bool on (x) group_left (y) vector(1) + 2 * 3 ^ 2 ^ 0.5"#,
        r#"(rate({a="b"}[1m]) > bool on (x) group_left (y) (vector(1.000000) + 9.457608775674831))"#,
    );
    prints(
        r#"label_replace(sum(rate({a="b"}[1m])), "d", "$1", "s", "(.*)") unless ignoring(z) vector(0)"#,
        r#"(label_replace(sum(rate({a="b"}[1m])),"d","$1","s","(.*)") unless ignoring (z)  vector(0.000000))"#,
    );
    prints("1 + 1 - -1", "3");
    prints("1 / 0", "(0 / 0)");
    prints("5 > 3", "1");
}

#[test]
fn wrong_queries_are_refused_in_lokis_words() {
    for (text, expect) in [
        (
            "",
            "parse error at line 1, col 1: syntax error: unexpected $end",
        ),
        (
            r#"median({app="x"}[5m])"#,
            "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER",
        ),
        (
            r#"{app="web}"#,
            "parse error at line 1, col 6: literal not terminated",
        ),
        (
            r#"{app="web""#,
            "parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,",
        ),
        (
            r#"{app="web"} |~"#,
            "parse error at line 1, col 15: syntax error: unexpected $end, expecting STRING or ip",
        ),
        (
            r#"{app="web"} "err""#,
            "parse error at line 1, col 13: syntax error: unexpected STRING",
        ),
        (
            r#"{app="web"} err"#,
            "parse error at line 1, col 13: syntax error: unexpected IDENTIFIER",
        ),
        (
            r#"max({app="web"}[1h])"#,
            "parse error at line 0, col 16: syntax error: unexpected RANGE",
        ),
        (
            r#"rate({app="web"}[1h)"#,
            "parse error at line 0, col 17: missing closing ']' in duration",
        ),
        (
            r#"label_replace(rate({app="w"}[1m]), "to")"#,
            "parse error at line 1, col 40: syntax error: unexpected ), expecting ,",
        ),
        (
            r#"label_replace(rate({app="w"}[1m]),"to","$1","app","a\\q")"#,
            "parse error : invalid regex in label_replace: error parsing regexp: invalid escape sequence: `\\q`",
        ),
        (
            r#"{a="b"}|logfmt|addr>=ip("1.2.3.4")"#,
            "parse error at line 1, col 22: syntax error: unexpected ip",
        ),
        (
            r#"{app=~".*"}"#,
            "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
        ),
        (
            r#"absent_over_time({app="web"}[1h]) by (app)"#,
            "parse error : grouping not allowed for absent_over_time aggregation",
        ),
        (
            r#"sum_over_time({a="b"}[1m])"#,
            "parse error : invalid aggregation sum_over_time without unwrap",
        ),
        (
            r#"count_over_time({a="b"} | unwrap x [1m])"#,
            "parse error : invalid aggregation count_over_time with unwrap",
        ),
        (
            r#"quantile_over_time({a="b"} | unwrap x [1m])"#,
            "parse error : parameter required for operation quantile_over_time",
        ),
        (
            r#"rate(0.5, {a="b"}[1m])"#,
            "parse error : parameter 0.5 not supported for operation rate",
        ),
        (
            r#"topk(rate({a="b"}[1m]))"#,
            "parse error : parameter required for operation topk",
        ),
        (
            r#"topk(1.5, rate({a="b"}[1m]))"#,
            "parse error : invalid parameter topk(1.5,",
        ),
        (
            r#"topk(0, rate({a="b"}[1m]))"#,
            "parse error : invalid parameter (must be greater than 0) topk(0",
        ),
        (
            r#"sum(3, rate({a="b"}[1m]))"#,
            "parse error : unsupported parameter for operation sum(3,",
        ),
        (
            r#"sort by (a) (rate({a="b"}[1m]))"#,
            "parse error : sort and sort_desc doesn't allow grouping by ",
        ),
        (
            r#"{a="b"} or {c="d"} |= "x""#,
            "parse error : unexpected type for left leg of binary operation (or): *syntax.MatchersExpr",
        ),
        (
            r#"vector(1) or {c="d"} |= "x""#,
            "parse error : unexpected type for right leg of binary operation (or): *syntax.PipelineExpr",
        ),
        (
            r#"1 or vector(1)"#,
            "parse error : unexpected literal for left leg of logical/set binary operation (or): 1.000000",
        ),
        (
            r#"{a="b"} | regexp ".*""#,
            "parse error : invalid regexp parser: at least one named capture must be supplied",
        ),
        (
            r#"{a="b"} | pattern "x""#,
            "parse error : invalid pattern parser: at least one capture is required",
        ),
    ] {
        refused(text, expect);
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(parse(&deep).unwrap_err().message.contains("nests deeper"));
    let long = format!("vector(1){}", "+vector(1)".repeat(1000));
    assert!(parse(&long).unwrap_err().message.contains("nests deeper"));
    let filters = format!("{{a=\"b\"}} | x=1{}", " or x=1".repeat(1000));
    assert!(
        parse(&filters)
            .unwrap_err()
            .message
            .contains("nests deeper")
    );
    let long = format!("{{a=\"{}\"}}", "b".repeat(TEXT_BYTES_MAX));
    assert!(
        parse(&long)
            .unwrap_err()
            .message
            .starts_with("input size too long")
    );
}

#[test]
fn plain_selectors_may_select_everything() {
    let count = |parsed: Result<Option<Vec<_>>, ParseError>| {
        parsed.map(|matchers| matchers.map(|m| m.len())).ok()
    };
    for (text, plain, any) in [
        ("{}", None, Some(Some(0))),
        (" { } ", None, Some(Some(0))),
        (r#"{a=~".*"}"#, None, Some(Some(1))),
        (r#"{a="b"}"#, Some(Some(1)), Some(Some(1))),
        (r#"{a="b"} |= "x""#, Some(None), Some(None)),
        (r#"rate({a="b"}[1m])"#, Some(None), Some(None)),
    ] {
        assert_eq!(count(parse_selector(text)), plain, "{text}");
        assert_eq!(count(parse_any_selector(text)), any, "{text}");
    }
    assert!(parse_selector("").is_err());
}
