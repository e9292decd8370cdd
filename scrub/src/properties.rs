//! What holds for every text: no find survives, a second pass changes nothing, JSON stays
//! JSON, nothing panics.

use crate::{Action, Config, PseudonymKey, Scrubber, detector_names};
use std::sync::LazyLock;

use proptest::prelude::*;

static ALL: LazyLock<Scrubber> = LazyLock::new(Scrubber::default);

/// One scrubber per detector, alone.
static ALONE: LazyLock<Vec<(&str, Scrubber)>> = LazyLock::new(|| {
    detector_names()
        .into_iter()
        .map(|name| {
            let disabled = detector_names()
                .into_iter()
                .filter(|other| *other != name)
                .map(str::to_owned)
                .collect();
            let config = Config {
                disabled,
                ..Config::default()
            };
            (
                name,
                Scrubber::new(&config, &PseudonymKey::new([1; 32])).unwrap(),
            )
        })
        .collect()
});

/// All detectors, `ssn` too, with each action that replaces.
static ACTING: LazyLock<Vec<Scrubber>> = LazyLock::new(|| {
    let actions = [Action::Partial, Action::Pseudonym, Action::Mask];
    let acting = actions.map(|action| {
        let actions = detector_names()
            .into_iter()
            .map(|name| (name.to_owned(), action.name().to_owned()))
            .collect();
        let config = Config {
            enabled: vec!["ssn".to_owned()],
            actions,
            ..Config::default()
        };
        Scrubber::new(&config, &PseudonymKey::new([1; 32])).unwrap()
    });
    Vec::from(acting)
});

/// As [`ALL`], every trigger tried at every place.
static SLOW: LazyLock<Scrubber> = LazyLock::new(|| Scrubber::default().slow());

/// Pieces that detectors look for, and what may stand between them.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "password", "token", "secret=", "api_key", "Authorization", "cookie", "pwd", "--password ", "_pass",
            "Bearer ", "Basic ", "dXNlcjpwYXNz", "abc123def456", "bob@example.com", "a%40b.org", "@", ".com",
            "http://u:p@h", "://", "u:p", "4111111111111111", "4111 1111 1111 1111", "DE89370400440532013000",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "AKIAJ7Q2J7Q2J7Q2J7Q2", "123456789:AA",
            "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "<secret>", "<email>", "<password>",
            "</password>", "<card>", "<secret:0123456789abcdef>", "<card:*1111>", "203.0.113.7", "10.0.0.1",
            "2001:db8:1:2::3", "+4915112345678", "460-89-9847", "Cookie: a=b1; c=d2", "a=b; ", "true", "null", "***",
        ]).prop_map(str::to_owned),
        4 => prop::sample::select(vec![
            "=", ":", ": ", "=>", " ", ",", ", ", ";", "&", "\"", "\\\"", "\\\\\"", "'", "''", "\\", "\\n", "n",
            "{", "}", "[", "]", "(", ")", "<", ">", "/", "\\/", "%20", "%3D", "\u{1b}[31m", "\\u001b[0m", "\t", "é",
            "漢", "\u{fffd}", "\n", "-", "_", ".", "%",
        ]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9]{1,12}",
        1 => "\\PC{0,8}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(vec!["password", "msg", "token", "card", "url", "Cookie"])
            .prop_map(str::to_owned),
        text(),
    ];
    let leaf = prop_oneof![
        3 => text().prop_map(serde_json::Value::from),
        1 => text().prop_map(|inner| serde_json::json!({ "token": inner }).to_string().into()),
        1 => prop::sample::select(vec![4_111_111_111_111_111_u64, 5, 123_456]).prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => any::<f64>().prop_map(serde_json::Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec((key, value), 1..5)
        .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect()).to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_find_survives_and_a_second_pass_changes_nothing(text in text()) {
        let once = ALL.line(text.as_bytes());
        for (name, detector) in ALONE.iter() {
            let again = detector.line(once.as_str().as_bytes());
            prop_assert_eq!(again.as_str(), once.as_str(), "{} in {:?}", name, &text);
        }
        let twice = ALL.line(once.as_str().as_bytes());
        prop_assert_eq!(twice.as_str(), once.as_str());
    }

    #[test]
    fn one_pass_finds_what_looking_everywhere_finds(text in text(), filler in "[ -~]{0,40}", at in any::<prop::sample::Index>()) {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (head, tail) = text.split_at(ends[at.index(ends.len())]);
        let text = format!("{head}{filler}{tail}");
        let (fast, slow) = (ALL.line(text.as_bytes()), SLOW.line(text.as_bytes()));
        prop_assert_eq!(fast.as_str(), slow.as_str(), "{:?}", &text);
    }

    #[test]
    fn whatever_the_action_a_second_pass_changes_nothing(text in text()) {
        for scrubber in ACTING.iter() {
            let once = scrubber.line(text.as_bytes());
            let twice = scrubber.line(once.as_str().as_bytes());
            prop_assert_eq!(twice.as_str(), once.as_str(), "{:?}", &text);
        }
    }

    #[test]
    fn json_stays_json_with_the_same_keys_outside_of_finds(text in json()) {
        let clean = ALL.line(text.as_bytes());
        let parsed = serde_json::from_str::<serde_json::Value>(clean.as_str());
        prop_assert!(parsed.is_ok(), "{}\n{}", text, clean.as_str());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let clean = ALL.line(&bytes);
        let again = ALL.line(clean.as_str().as_bytes());
        prop_assert_eq!(again.as_str(), clean.as_str());
    }
}
