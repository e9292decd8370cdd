//! Rule files: what is accepted, and where complaints point.

use std::time::Duration;

use rules::file::{RuleSpec, parse};

/// All complaints, one per line; empty when the file is good.
fn complaints(text: &str) -> String {
    match parse("r.yml", text) {
        Ok(_) => String::new(),
        Err(found) => found
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(complaints(text), expect, "{text}");
}

#[test]
fn a_good_file_is_read_with_the_groups_labels_merged_in() {
    let text = r#"
groups:
  - name: g
    interval: 30s
    query_offset: 5s
    limit: 7
    labels: { team: ops, severity: none }
    rules:
      - alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 1m
        labels: { severity: critical, threshold: 1.0, on: yes }
        annotations:
          summary: '{{ $labels.instance }} is down'
      - record: job:up:sum
        expr: |
          sum by (job) (up)
"#;
    let file = parse("r.yml", text).unwrap();
    let group = &file.groups[0];
    assert_eq!(group.interval, Some(Duration::from_secs(30)));
    assert_eq!(group.query_offset, Some(Duration::from_secs(5)));
    assert_eq!(group.limit, 7);
    let RuleSpec::Alert(alert) = &group.rules[0] else {
        unreachable!("the first rule is an alert")
    };
    assert_eq!(alert.hold, Duration::from_secs(300));
    assert_eq!(alert.keep_firing_for, Duration::from_secs(60));
    assert_eq!(alert.line, 9);
    let labels: Vec<(&str, &str)> = alert
        .labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        labels,
        [
            ("on", "yes"),
            ("severity", "critical"),
            ("team", "ops"),
            ("threshold", "1.0")
        ]
    );
    assert_eq!(group.rules[1].name(), "job:up:sum");
}

#[test]
fn an_empty_file_has_no_groups() {
    for text in ["", "# nothing\n", "groups:\n", "groups: []\n", "{}"] {
        assert_eq!(
            parse("r.yml", text).map(|f| f.groups.len()),
            Ok(0),
            "{text:?}"
        );
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(
        "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: up\n        anotations: {}\n",
        "r.yml:6:9: unknown key \"anotations\" (did you mean \"annotations\"?)",
    );
    check(
        "group: []\n",
        "r.yml:1:1: unknown key \"group\" (did you mean \"groups\"?)",
    );
    check(
        "groups:\n  - name: g\n    zzzzz: 1\n",
        "r.yml:3:5: unknown key \"zzzzz\" (known keys: name, interval, query_offset, limit, engine, labels, rules)",
    );
}

#[test]
fn wrong_yaml_points_at_its_line() {
    let found = parse("r.yml", "groups:\n\t- name: g\n").unwrap_err();
    assert_eq!((found.len(), found[0].line), (1, 2), "{}", found[0]);
    assert!(
        found[0].hint.as_deref().unwrap_or("").contains("tab"),
        "{}",
        found[0]
    );
    let found = parse("r.yml", "groups: []\n---\ngroups: []\n").unwrap_err();
    assert!(
        found[0].message.contains("second YAML document"),
        "{}",
        found[0]
    );
    let found = parse("r.yml", "groups:\n  - rules: []\n").unwrap_err();
    assert!(
        found[0].message.contains("\"name\" is missing"),
        "{}",
        found[0]
    );
    check(
        "groups:\n  - name: g\n    name: h\n",
        "r.yml:3:5: key \"name\" is repeated",
    );
    check("groups: 5\n", "r.yml:1:9: a list is expected here");
    check(
        "groups:\n  - name: {{ x }}\n",
        "r.yml:2:11: a text is expected here (a text that begins with {{ must be quoted)",
    );
    check(
        "groups:\n  - name: g\n    limit: x\n",
        "r.yml:3:12: a whole number is expected here",
    );
}

#[test]
fn an_expression_error_points_into_the_scalar() {
    let rule = |expr: &str| {
        format!("groups:\n  - name: g\n    rules:\n      - record: r\n        expr: {expr}\n")
    };
    for (expr, at) in [
        ("sum(up", "5:"),
        ("up + * 2", "5:20"),
        ("'up + * 2'", "5:21"),
        ("\"up{a=\\\"b\\\"} + * 2\"", "5:30"),
        ("|\n          up\n            + * 2", "7:15"),
        (">-\n          up\n          + * 2", "7:13"),
        ("|2\n            up\n            + * 2", "7:15"),
        ("up\n          + * 2", "6:13"),
    ] {
        let text = rule(expr);
        let found = parse("r.yml", &text).unwrap_err();
        let shown = found[0].to_string();
        assert!(
            shown.starts_with(&format!("r.yml:{at}")),
            "{text}\n{shown}\nwanted {at}"
        );
        assert!(shown.contains("could not parse expression: "), "{shown}");
    }
}

#[test]
fn a_template_error_points_into_the_scalar() {
    let text = "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: up == 0\n        annotations:\n          summary: 'x {{ $label.instance }}'\n          description: |\n            one\n            {{ humanise $value }}\n";
    check(
        text,
        "r.yml:7:26: annotation \"summary\": undefined variable \"$label\" (did you mean \"$labels\"?)\n\
         r.yml:10:16: annotation \"description\": function \"humanise\" not defined (did you mean \"humanize\"?)",
    );
    check(
        "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: up == 0\n        labels:\n          l: \"{{ if $value }}x\"\n",
        "r.yml:7:31: label \"l\": unexpected EOF, a block lacks its {{end}}",
    );
}

#[test]
fn every_complaint_of_a_file_is_reported() {
    check(
        "groups:\n  - name: g\n    interval: 5 min\n    rules:\n      - record: 'a{b}'\n        expr: up\n        for: 5m\n      - alert: A\n        record: b\n        expr: up\n      - expr: up\n      - alert: C\n      - alert: D\n        expr: up[5m]\n  - name: g\n    limit: -1\n",
        "r.yml:3:15: interval: unknown unit \" min\" in duration \"5 min\" (did you mean 5m?)\n\
         r.yml:5:17: braces present in the recording rule name; should it be in expr?: a{b}\n\
         r.yml:7:14: invalid field 'for' in recording rule\n\
         r.yml:9:17: only one of 'record' and 'alert' must be set\n\
         r.yml:11:9: one of 'record' or 'alert' must be set\n\
         r.yml:12:9: field 'expr' must be set in rule\n\
         r.yml:14:15: a rule needs an instant vector or a scalar, this expression is a range vector\n\
         r.yml:15:11: groupname: \"g\" is repeated in the same file\n\
         r.yml:16:12: limit must not be negative",
    );
}

#[test]
fn every_file_of_the_community_collection_is_accepted() {
    let folder = std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/conformance/community-rules"
    ));
    if !folder.is_dir() {
        eprintln!(
            "SKIPPED: {} is not there, no community rule was read",
            folder.display()
        );
        return;
    }
    let (mut rules, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&path.display().to_string(), &text) {
            Ok(file) => {
                rules += file.groups.iter().map(|g| g.rules.len()).sum::<usize>();
                let all = file.groups.iter().flat_map(|g| &g.rules);
                let expr = |rule: &RuleSpec| match rule {
                    RuleSpec::Alert(a) => a.expr.clone(),
                    RuleSpec::Record(r) => r.expr.clone(),
                };
                for expr in all.map(expr) {
                    assert!(matches!(*expr, rules::RuleExpr::Metrics(_)), "{expr}");
                }
            }
            Err(found) => failed.extend(found.iter().map(ToString::to_string)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(rules > 300, "only {rules} rules");
}

#[test]
fn every_pack_is_a_good_rule_file() {
    for name in rules::packs::names() {
        let text = rules::packs::text(name).unwrap();
        let file = parse(name, text)
            .map_err(|found| found[0].to_string())
            .unwrap();
        assert!(!file.groups.is_empty());
    }
    assert_eq!(rules::packs::text("none"), None);
}
