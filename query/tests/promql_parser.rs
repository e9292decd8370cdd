//! Our parser beside the crate promql-parser: what one accepts the other accepts, and what one
//! prints the other reads as the same expression; differences are listed with their reasons.
//!
//! The expressions are those of Prometheus' scripts and of published rules, where they are at
//! hand (`../shared/conformance`), and generated ones.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails loudly and says what it read"
)]

use std::collections::BTreeMap;
use std::path::Path;

/// Expressions made here.
const GENERATED: u64 = 3000;

/// Why the two may differ about `text`; `accepted` tells by whom, ours first.
fn reason(text: &str, accepted: (bool, bool)) -> Option<&'static str> {
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    match accepted {
        (true, false) if has(&["</", ">/"]) => Some("it does not know trim operators"),
        (true, false) if has(&["anchored", "smoothed"]) => {
            Some("it does not know anchored and smoothed")
        }
        (true, false) if has(&["info("]) => {
            Some("it refuses label selectors of info that match everything")
        }
        (true, false) if duration_expression(text) => Some("it does not know duration expressions"),
        (true, false) if has(&["1_0"]) => Some("it does not know digit separators"),
        (true, true) if has(&["ignoring ()"]) => {
            Some("it prints `ignoring ()` before a grouping as nothing, which nobody can read")
        }
        (true, true) if has(&["\\x"]) => Some("it takes a byte that is no UTF-8 for a character"),
        (true, true) if text.starts_with("predict_linear") => {
            Some("it prints durations that are numbers as seconds")
        }
        (false, true) if has(&["[0]"]) => Some("it takes windows of no length"),
        (false, true) if has(&[" or "]) && has(&["{"]) => {
            Some("it reads `or` between matchers, as VictoriaMetrics does")
        }
        _ => None,
    }
}

/// Whether brackets or an offset hold more than one literal.
fn duration_expression(text: &str) -> bool {
    let computed = |inside: &str| {
        inside.contains(['(', '+', '*', '/', '%', '^']) || inside.trim_start().starts_with('-')
    };
    let in_brackets = text
        .split('[')
        .skip(1)
        .any(|rest| computed(rest.split(']').next().unwrap_or("")));
    let in_offset = text.to_ascii_lowercase().split("offset ").skip(1).any(|o| {
        let o = o.trim_start().trim_start_matches(['-', '+']).trim_start();
        !o.starts_with(|c: char| c.is_ascii_digit())
    });
    in_brackets || in_offset
}

/// Our normalised text of what `text` means.
fn ours(text: &str) -> Option<String> {
    query::parse(text).ok().map(|e| e.to_string())
}

fn theirs(text: &str) -> Option<String> {
    promql_parser::parser::parse(text)
        .ok()
        .map(|e| e.to_string())
}

/// A plus before an operand, which it drops, changes nothing; operators stand between spaces.
fn without_plus(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '+' || rest.peek() == Some(&' ') {
            out.push(c);
        }
    }
    out
}

#[test]
fn another_parser_reads_the_same() {
    let mut texts = from_scripts();
    let scripts = texts.len();
    texts.extend(from_rules());
    let rules = texts.len() - scripts;
    let mut random = Random(20_240_607);
    texts.extend((0..GENERATED).map(|_| vector(&mut random, 4)));
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut agreed, mut different) = (0, Vec::new());
    for text in &texts {
        let (our, their) = (ours(text), theirs(text));
        let accepted = (our.is_some(), their.is_some());
        let same = match (&our, &their) {
            (None, None) => true,
            // Texts differ in order and spaces; meanings must not.
            (Some(our), Some(their)) => {
                let again = ours(their).map(|text| without_plus(&text));
                again == Some(without_plus(our)) && theirs(our).is_some()
            }
            _ => false,
        };
        match reason(text, accepted) {
            _ if same => agreed += 1,
            Some(reason) => *known.entry(reason).or_default() += 1,
            None => different.push(format!("{text}\n  ours:   {our:?}\n  theirs: {their:?}")),
        }
    }
    println!(
        "promql-parser: {scripts} expressions of scripts, {rules} of rules, {GENERATED} generated; {agreed} agree, {known:?}"
    );
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/conformance")
        .join(folder);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED {}: it is not there", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect()
}

/// The expressions of `eval … instant at T EXPR` and `eval … range from T to T step D EXPR`.
fn from_scripts() -> Vec<String> {
    let mut out = Vec::new();
    for file in files("promqltest", "test") {
        for line in file.lines().filter(|l| l.starts_with("eval")) {
            let mut words = line.split_whitespace();
            let keyword = if line.contains(" range ") {
                "step"
            } else {
                "at"
            };
            if words.any(|w| w == keyword) && words.next().is_some() {
                let at = words
                    .next()
                    .map(|w| w.as_ptr() as usize - line.as_ptr() as usize);
                out.extend(at.map(|at| line[at..].to_owned()));
            }
        }
    }
    out
}

/// The expressions of rule files, as far as one line holds them.
fn from_rules() -> Vec<String> {
    let mut out = Vec::new();
    for file in files("community-rules", "yml") {
        for line in file.lines() {
            let Some((_, expr)) = line.split_once("expr: ") else {
                continue;
            };
            let expr = expr.trim();
            let inner = |quote: char| expr.strip_prefix(quote)?.strip_suffix(quote);
            match (inner('\''), inner('"')) {
                (Some(text), _) => out.push(text.replace("''", "'")),
                (_, Some(text)) => out.push(text.replace("\\\"", "\"").replace("\\\\", "\\")),
                _ if expr.starts_with(['|', '>']) => {}
                _ => out.push(expr.to_owned()),
            }
        }
    }
    out
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from[((z ^ (z >> 31)) % from.len() as u64) as usize]
    }
}

fn vector(r: &mut Random, depth: u32) -> String {
    let kind = if depth == 0 {
        "selector"
    } else {
        r.pick(&[
            "selector",
            "call",
            "range",
            "aggregate",
            "binary",
            "binary",
            "unary",
            "broken",
        ])
    };
    match kind {
        "call" => {
            let f = r.pick(&[
                "abs",
                "SUM",
                "ceil",
                "absent",
                "sort_desc",
                "nosuch",
                "timestamp",
            ]);
            format!("{f}({})", vector(r, depth - 1))
        }
        "range" => {
            let f = r.pick(&["rate", "max_over_time", "deriv", "abs"]);
            let window = r.pick(&["[5m]", "[1h30m:1m]", "[5m:]", "[90]", "[0]", "[5m"]);
            let inner = if window.contains(':') {
                format!("({})", vector(r, depth - 1))
            } else {
                selector(r, false)
            };
            let modifier = r.pick(&["", "", " offset 5m", " offset -1w", " @ 15.5", " @ start()"]);
            format!("{f}({inner}{window}{modifier})")
        }
        "aggregate" => {
            let op = r.pick(&["sum", "topk", "COUNT", "quantile", "avg", "group"]);
            let param = match op {
                "topk" | "quantile" => r.pick(&["3, ", "0.5, ", ""]),
                _ => r.pick(&["", "", "", "1, "]),
            };
            let by = r.pick(&[
                "",
                " by (a, b)",
                " without (on)",
                " by ()",
                " by (a",
                " BY (sum,)",
            ]);
            let inner = vector(r, depth - 1);
            if r.pick(&["before", "after"]) == "before" {
                format!("{op}{by} ({param}{inner})")
            } else {
                format!("{op}({param}{inner}){by}")
            }
        }
        "binary" => {
            let op = r.pick(&[
                "+", "-", "*", "/", "%", "^", "==", "!=", "> bool", "<=", "and", "or", "unless",
                "atan2", "=~", "+ bool",
            ]);
            let matching = r.pick(&[
                "",
                "",
                " on (a)",
                " ignoring (b, c)",
                " on (a) group_left",
                " ignoring () group_right (x)",
                " group_left (a)",
            ]);
            let (left, right) = (vector(r, depth - 1), vector(r, depth - 1));
            let number = r.pick(&["1", "0x1f", "1e3", "-.5", "Inf", "NaN"]);
            match r.pick(&["vv", "vv", "vn", "nv", "()"]) {
                "vn" => format!("{left} {op}{matching} {number}"),
                "nv" => format!("{number} {op}{matching} {right}"),
                "()" => format!("({left} {op}{matching} {right})"),
                _ => format!("{left} {op}{matching} {right}"),
            }
        }
        "unary" => format!("{}{}", r.pick(&["-", "+", "- -"]), vector(r, depth - 1)),
        "broken" => {
            let noise = r.pick(&[
                " )", " \"s\"", " 1 2", "{", "", " offset", " @", ",", " by (a)",
            ]);
            vector(r, depth - 1) + noise
        }
        _ => selector(r, true),
    }
}

fn selector(r: &mut Random, modified: bool) -> String {
    let name = r.pick(&[
        "up", "a:b", "sum", "offset", "by", "x_total", "inf", "start",
    ]);
    let matchers = r.pick(&[
        "",
        "{}",
        "{a=\"b\"}",
        "{a=~\"b|c\",d!=\"\"}",
        "{a!~'x.*',}",
        "{a=\"b\",,}",
        "{\"u.v\"=\"w\"}",
        "{a=\"\\\\ \\n é\"}",
        "{a=~\"(\"}",
        "{a=b}",
    ]);
    let modifier = if modified {
        r.pick(&[
            "",
            "",
            "",
            " offset 5m",
            " @ 5",
            " @ end() offset 1h",
            " offset 1x",
        ])
    } else {
        ""
    };
    format!("{name}{matchers}{modifier}")
}
