use super::*;
use crate::RuleConfig;
use std::sync::LazyLock;

static KEY_OF_TESTS: LazyLock<PseudonymKey> = LazyLock::new(|| PseudonymKey::new([7; 32]));

fn count(scrubber: &Scrubber, detector: &str) -> u64 {
    let counts = scrubber.counts();
    counts
        .iter()
        .find(|c| c.detector == detector)
        .unwrap()
        .count
}

/// With these actions.
fn acting(actions: &[(&str, &str)]) -> Scrubber {
    let own = |(name, action): &(&str, &str)| ((*name).to_owned(), (*action).to_owned());
    let actions = actions.iter().map(own).collect();
    let config = Config {
        actions,
        ..Config::default()
    };
    Scrubber::new(&config, &KEY_OF_TESTS).unwrap()
}

fn check(scrubber: &Scrubber, raw: &str, expect: &str) {
    let once = scrubber.line(raw.as_bytes());
    assert_eq!(once.as_str(), expect, "{raw}");
    assert_eq!(
        scrubber.line(expect.as_bytes()).as_str(),
        expect,
        "twice: {raw}"
    );
}

#[test]
fn labels_are_scrubbed_by_value_and_by_name() {
    let scrubber = Scrubber::default();
    let raw = Labels::from_pairs([
        ("service_name", "api"),
        ("owner", "bob@example.com"),
        ("api_token", ",a\"b"),
        ("token_type", "bearer"),
    ]);
    let clean = scrubber.labels(&raw);
    let expect = Labels::from_pairs([
        ("service_name", "api"),
        ("owner", "<email>"),
        ("api_token", "<secret>"),
        ("token_type", "bearer"),
    ]);
    assert_eq!(clean.labels(), &expect);
    assert_eq!(scrubber.labels(&expect).labels(), &expect);
}

#[test]
fn line_ends_go_and_foreign_bytes_are_replaced() {
    let scrubber = Scrubber::default();
    assert_eq!(scrubber.line(b"a b \r\n").as_str(), "a b ");
    assert_eq!(scrubber.line(b"\xffa\0b").as_str(), "\u{fffd}a\0b");
    assert_eq!(scrubber.line(b"\n").as_str(), "");
}

#[test]
fn finds_are_counted_per_detector() {
    let scrubber = Scrubber::default();
    let _ = scrubber.line(b"a@b.org c@d.org token=x1");
    assert_eq!(count(&scrubber, "email"), 2);
    assert_eq!(count(&scrubber, "secret"), 1);
    assert_eq!(count(&scrubber, "card"), 0);
}

#[test]
fn the_configuration_is_checked_and_obeyed() {
    let config = |disabled: &[&str], secret: &[&str], plain: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let config = Config {
            disabled: own(disabled),
            secret_keys: own(secret),
            plain_keys: own(plain),
            ..Config::default()
        };
        Scrubber::new(&config, &KEY_OF_TESTS)
    };
    let check = |scrubber: Result<Scrubber, ConfigError>, raw: &str, expect: &str| {
        assert_eq!(scrubber.unwrap().line(raw.as_bytes()).as_str(), expect);
    };
    check(config(&["email"], &[], &[]), "a@b.org", "a@b.org");
    check(
        config(&[], &["ssn.id"], &[]),
        "SSN.id=12",
        "SSN.id=<secret>",
    );
    check(
        config(&[], &[], &["Token_Bucket2"]),
        "token_bucket2=x1",
        "token_bucket2=x1",
    );
    assert!(config(&["mail"], &[], &[]).is_err());
    assert!(config(&[], &["a b"], &[]).is_err());
    assert!(config(&[], &["ab"], &[]).is_err());
}

#[test]
fn a_find_inside_another_goes_with_it() {
    let check = |raw: &str, expect: &str| {
        assert_eq!(Scrubber::default().line(raw.as_bytes()).as_str(), expect);
    };
    check("token=a@b.org", "token=<secret>");
    check(
        "postgres://a@b.org:4111111111111111@db/x",
        "postgres://<email>:<card>@db/x",
    );
    check(
        "mailto:a@b.org?bearer abc123def456",
        "mailto:<email>?bearer <secret>",
    );
}

#[test]
fn actions_are_obeyed() {
    let scrubber = acting(&[
        ("card", "partial"),
        ("email", "pseudonym"),
        ("secret", "count"),
    ]);
    check(
        &scrubber,
        "4111-1111-1111-1111 password=hunter2-4711",
        "<card:*1111> password=hunter2-4711",
    );
    assert_eq!(count(&scrubber, "secret"), 2);
    let pseudonym = KEY_OF_TESTS.pseudonym("email", b"bob@example.com");
    let mark = format!("<email:{pseudonym}>");
    check(
        &scrubber,
        "Bob@Example.com bob%40example.com bob@example.com",
        &format!("{mark} {mark} {mark}"),
    );
    check(
        &scrubber,
        "password=bob@example.com",
        &format!("password={mark}"),
    );
    check(
        &acting(&[("secret", "pseudonym"), ("card", "pseudonym")]),
        r#"{"otp":123456}"#,
        &format!(
            r#"{{"otp":"<secret:{}>"}}"#,
            KEY_OF_TESTS.pseudonym("secret", b"123456")
        ),
    );
}

#[test]
fn a_dropped_line_is_none() {
    let scrubber = acting(&[("private_key", "drop")]);
    let raw = b"x -----BEGIN PRIVATE KEY----- y";
    assert_eq!(scrubber.keep(raw), None);
    assert_eq!(scrubber.line(raw).as_str(), "<dropped>");
    assert_eq!(scrubber.line(b"<dropped>").as_str(), "<dropped>");
    assert_eq!(count(&scrubber, "private_key"), 2);
    let labels = Labels::from_pairs([("note", "-----BEGIN PRIVATE KEY-----")]);
    let expect = Labels::from_pairs([("note", "<private-key>")]);
    assert_eq!(scrubber.labels(&labels).labels(), &expect);
}

#[test]
fn labels_named_like_secrets_follow_the_action() {
    let raw = Labels::from_pairs([("api_token", "abcdefghijkl")]);
    let of = |action| acting(&[("secret", action)]).labels(&raw).labels().clone();
    assert_eq!(
        of("partial"),
        Labels::from_pairs([("api_token", "<secret:*ijkl>")])
    );
    assert_eq!(of("count"), raw);
}

fn with_rule(regex: &str, action: &str) -> Result<Scrubber, ConfigError> {
    let rule = RuleConfig {
        name: "customer".to_owned(),
        regex: regex.to_owned(),
        action: action.to_owned(),
    };
    let config = Config {
        rules: vec![rule],
        ..Config::default()
    };
    Scrubber::new(&config, &KEY_OF_TESTS)
}

#[test]
fn rules_find_what_they_say() {
    check(
        &with_rule("CUST-[0-9]{6}", "").unwrap(),
        "for CUST-123456, a@b.org",
        "for <customer>, <email>",
    );
    check(
        &with_rule("customer=([0-9]+)", "partial").unwrap(),
        "customer=123456789 x=1",
        "customer=<customer:*6789> x=1",
    );
    let pseudonym = KEY_OF_TESTS.pseudonym("customer", b"42");
    check(
        &with_rule("customer ([0-9]+)", "pseudonym").unwrap(),
        "customer 42 bought",
        &format!("customer <customer:{pseudonym}> bought"),
    );
    assert_eq!(
        with_rule("secret project", "drop")
            .unwrap()
            .keep(b"the secret project"),
        None
    );
    // Whatever it matches, marks included, and characters stay whole.
    check(&with_rule(".*", "").unwrap(), "all of it", "<customer>");
    check(
        &with_rule("(?-u:[\\x80-\\xff])", "").unwrap(),
        "a\u{e9}b",
        "a<customer>b",
    );
    check(&with_rule("x*", "").unwrap(), "axxb", "a<customer>b");
}

#[test]
fn the_allowed_is_never_touched() {
    let config = Config {
        allow_values: vec!["Support@example.com".to_owned(), "changeme".to_owned()],
        allow_patterns: vec![r"[a-z]+@status\.example\.com".to_owned(), "a|ab".to_owned()],
        ..Config::default()
    };
    let scrubber = Scrubber::new(&config, &KEY_OF_TESTS).unwrap();
    check(
        &scrubber,
        "support@example.com ops@status.example.com x@example.com password=changeme pwd=ab",
        "support@example.com ops@status.example.com <email> password=changeme pwd=ab",
    );
    check(&scrubber, "ops@status.example.com.evil.org", "<email>");
}

#[test]
fn mistakes_are_named() {
    let error = |config: Config| Scrubber::check(&config).unwrap_err().to_string();
    let acting = |name: &str, action: &str| Config {
        actions: [(name.to_owned(), action.to_owned())].into(),
        ..Config::default()
    };
    let rule = |name: &str, regex: &str, action: &str| Config {
        rules: vec![RuleConfig {
            name: name.to_owned(),
            regex: regex.to_owned(),
            action: action.to_owned(),
        }],
        ..Config::default()
    };
    for (config, expect) in [
        (acting("mail", "mask"), "no detector is named \"mail\""),
        (
            acting("email", "hide"),
            "actions: email: \"hide\" is no action; known are mask, partial, pseudonym, drop, count",
        ),
        (
            acting("ip", "hide"),
            "known are mask, partial, pseudonym, truncate, drop, count",
        ),
        (
            acting("card", "truncate"),
            "actions: card: \"truncate\" is no action",
        ),
        (
            acting("ssn", "mask"),
            "ssn is off; turn it on with `enabled: [ssn]`",
        ),
        (rule("Customer", "x", ""), "lower-case letters"),
        (rule("email", "x", ""), "a built-in detector has it"),
        (rule("secret", "x", ""), "a built-in detector has it"),
        (rule("a", "(", ""), "rules: a: no regular expression: "),
        (
            rule("a", "", ""),
            "rules: a: the regular expression is empty",
        ),
        (
            rule("a", "(a{1000}){1000}", ""),
            "rules: a: the regular expression is too large",
        ),
        (
            rule("a", "x", "truncate"),
            "rules: a: \"truncate\" is no action",
        ),
    ] {
        let text = error(config);
        assert!(text.contains(expect), "{text}\n{expect}");
    }
}

#[test]
fn a_report_shows_what_is_around_a_find_and_never_the_find() {
    let scrubber = acting(&[("email", "count")]);
    let found = scrubber.examine(b"user bob@example.com password=hunter2-4711 done");
    let seen: Vec<_> = found
        .iter()
        .map(|f| (f.detector, f.action, f.excerpt.as_str()))
        .collect();
    let excerpt = "user <email> password=<secret> done";
    assert_eq!(
        seen,
        [
            ("email", Action::Count, excerpt),
            ("secret", Action::Mask, excerpt)
        ]
    );
    assert_eq!(count(&scrubber, "secret"), 0);
}

#[test]
fn finds_in_a_very_long_line_and_beside_foreign_bytes() {
    let scrubber = Scrubber::default();
    let filler = "request 17 took 12 ms; ".repeat((1 << 20) / 23 / 2);
    let raw = format!("bob@example.com {filler}4111111111111111 {filler}password=hunter2");
    let expect = format!("<email> {filler}<card> {filler}password=<secret>");
    assert_eq!(scrubber.line(raw.as_bytes()).as_str(), expect);
    let raw = b"\xff\xfebob@example.com\xff 4111111111111111\xc3 token=\xffabc\xff x";
    assert_eq!(
        scrubber.line(raw).as_str(),
        "\u{fffd}\u{fffd}<email>\u{fffd} <card>\u{fffd} token=<secret> x"
    );
}

#[test]
fn an_expression_that_reads_to_the_end_again_and_again_hides_the_rest() {
    let scrubber = with_rule("(a).*b", "mask").unwrap();
    let many = "ax".repeat(3000) + "b";
    let shown = scrubber.line(many.as_bytes());
    assert_eq!(shown.as_str(), "<customer>x".repeat(99) + "<customer>");
    let few = "ax".repeat(50) + "b";
    let shown = scrubber.line(few.as_bytes());
    assert_eq!(shown.as_str(), "<customer>x".repeat(50) + "b");
}
