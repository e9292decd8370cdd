//! Log lines, whatever is in them: nothing panics, a second pass changes nothing, and what was JSON
//! stays JSON. The first byte chooses what is done with finds.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scrub::{Action, Config, PseudonymKey, Scrubber, detector_names};

/// All detectors with each action that replaces.
static SCRUBBERS: LazyLock<Vec<Scrubber>> = LazyLock::new(|| {
    let actions = [Action::Mask, Action::Partial, Action::Pseudonym];
    let all = actions.map(|action| {
        let mut names = detector_names();
        names.retain(|name| *name != "ip");
        let config = Config {
            enabled: vec!["ssn".to_owned()],
            actions: names
                .into_iter()
                .map(|name| (name.to_owned(), action.name().to_owned()))
                .collect(),
            ..Config::default()
        };
        Scrubber::new(&config, &PseudonymKey::new([1; 32])).expect("the configuration is valid")
    });
    Vec::from(all)
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, line)) = input.split_first() else {
        return;
    };
    let scrubber = &SCRUBBERS[usize::from(*choice) % SCRUBBERS.len()];
    let once = scrubber.line(line);
    let twice = scrubber.line(once.as_str().as_bytes());
    assert_eq!(twice.as_str(), once.as_str());
    let _ = scrubber.examine(line);
    let is_json = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    if std::str::from_utf8(line).is_ok_and(is_json) && once.as_str() != "<scrubbed>" {
        assert!(is_json(once.as_str()), "{}", once.as_str());
    }
});
