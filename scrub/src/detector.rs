//! The detectors: each has triggers, short patterns that are all looked for in one pass, and a
//! function that decides by hand what around a trigger must go.
//!
//! Triggers are loose and cost little; exact extents and checksums are ordinary code.

mod card;
mod cookie;
mod email;
mod iban;
mod ip;
mod jwt;
mod key;
mod pem;
mod phone;
mod secret;
mod ssn;
mod token;
mod url;

use std::ops::Range;

use crate::action::{Action, Marks};
use crate::trigger::Trigger;
use crate::{Config, ConfigError};
pub(crate) use secret::KEYS_MAX;

/// One kind of thing that must not be stored.
///
/// `locate` functions hold to this: the same text gives the same answer, and a text in which
/// the answer was replaced by its mark gives none at that place.
#[derive(Clone, Debug)]
pub(crate) enum Detector {
    /// PEM private keys, whole or in lines.
    PrivateKey,
    /// JSON web tokens.
    Jwt,
    /// Keys of well-known services, by their prefix.
    ApiKey,
    /// `Bearer …` and `Basic …` credentials.
    Token,
    /// The password of a URL.
    UrlPassword,
    /// Values of cookies; their names stay.
    Cookie(secret::Keys),
    /// Values of keys that are named like a secret.
    Secret(secret::Keys),
    /// Payment card numbers.
    Card,
    /// International bank account numbers.
    Iban,
    /// E-mail addresses.
    Email,
    /// Phone numbers with `+` and country code.
    Phone,
    /// Network addresses.
    Ip(ip::Scope),
    /// Social security numbers of the United States.
    Ssn,
}

/// Off unless `enabled` names them.
const OFF_BY_DEFAULT: [&str; 1] = ["ssn"];

impl Detector {
    /// All; of finds at the same place the earlier one's counts.
    fn all(config: &Config) -> Result<[Detector; 13], ConfigError> {
        let keys = secret::Keys::new(config)?;
        let truncated = Action::Truncate == Self::action_of("ip", config)?;
        Ok([
            Detector::PrivateKey,
            Detector::Jwt,
            Detector::ApiKey,
            Detector::Token,
            Detector::UrlPassword,
            Detector::Cookie(keys.clone()),
            Detector::Secret(keys),
            Detector::Card,
            Detector::Iban,
            Detector::Email,
            Detector::Phone,
            Detector::Ip(ip::Scope {
                private: config.private_ips,
                truncated,
            }),
            Detector::Ssn,
        ])
    }

    /// The names, in the order of [`Detector::all`].
    pub(crate) fn names() -> Vec<&'static str> {
        Self::all(&Config::default())
            .map(|all| all.iter().map(Detector::name).collect())
            .unwrap_or_default()
    }

    /// What may stand in marks.
    pub(crate) fn labels() -> Vec<String> {
        Self::all(&Config::default())
            .map(|all| all.iter().map(|d| d.label().to_owned()).collect())
            .unwrap_or_default()
    }

    /// Whether a rule may not have this name, because a detector or a mark has it.
    pub(crate) fn is_reserved(name: &str) -> bool {
        Self::all(&Config::default())
            .is_ok_and(|all| all.iter().any(|d| d.name() == name || d.label() == name))
            || name == crate::scrubber::GIVEN_UP_LABEL
    }

    /// Those that `config` leaves on.
    pub(crate) fn chosen(config: &Config) -> Result<Vec<Detector>, ConfigError> {
        let mut all = Vec::from(Self::all(config)?);
        let names = Self::names();
        let lists = [&config.enabled, &config.disabled];
        let named = lists.into_iter().flatten().chain(config.actions.keys());
        for name in named {
            if !names.iter().any(|known| known == name) {
                return Err(ConfigError::UnknownDetector { name: name.clone() });
            }
        }
        let listed = |list: &[String], name: &str| list.iter().any(|other| other == name);
        all.retain(|detector| {
            let name = detector.name();
            let on = !OFF_BY_DEFAULT.contains(&name) || listed(&config.enabled, name);
            on && !listed(&config.disabled, name)
        });
        for name in config.actions.keys() {
            if !all.iter().any(|detector| detector.name() == name) {
                return Err(ConfigError::ActionOfDisabled { name: name.clone() });
            }
        }
        Ok(all)
    }

    /// What is done with its finds.
    pub(crate) fn action(&self, config: &Config) -> Result<Action, ConfigError> {
        Self::action_of(self.name(), config)
    }

    fn action_of(name: &str, config: &Config) -> Result<Action, ConfigError> {
        let truncates = name == "ip";
        match config.actions.get(name) {
            None if truncates => Ok(Action::Truncate),
            None => Ok(Action::Mask),
            Some(action) => Action::of(action)
                .filter(|action| truncates || *action != Action::Truncate)
                .ok_or_else(|| ConfigError::UnknownAction {
                    of: format!("actions: {name}"),
                    action: action.clone(),
                    truncates,
                }),
        }
    }

    /// Its name in the configuration and in counters.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Detector::PrivateKey => "private_key",
            Detector::Jwt => "jwt",
            Detector::ApiKey => "api_key",
            Detector::Token => "token",
            Detector::UrlPassword => "url_password",
            Detector::Cookie(_) => "cookie",
            Detector::Secret(_) => "secret",
            Detector::Card => "card",
            Detector::Iban => "iban",
            Detector::Email => "email",
            Detector::Phone => "phone",
            Detector::Ip(_) => "ip",
            Detector::Ssn => "ssn",
        }
    }

    /// What stands in its marks. Never needs escaping inside quotes.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Detector::PrivateKey => "private-key",
            Detector::ApiKey => "key",
            Detector::Token | Detector::UrlPassword | Detector::Secret(_) => "secret",
            _ => self.name(),
        }
    }

    /// Where to look closer.
    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        match self {
            Detector::PrivateKey => pem::triggers(),
            Detector::Jwt => jwt::triggers(),
            Detector::ApiKey => key::triggers(),
            Detector::Token => token::triggers(),
            Detector::UrlPassword => url::triggers(),
            Detector::Cookie(_) => cookie::triggers(),
            Detector::Secret(keys) => keys.triggers(),
            Detector::Card => card::triggers(),
            Detector::Iban => iban::triggers(),
            Detector::Email => email::triggers(),
            Detector::Phone => phone::triggers(),
            Detector::Ip(scope) => scope.triggers(),
            Detector::Ssn => ssn::triggers(),
        }
    }

    /// What must go, given where its trigger `number` stands: non-empty ranges on character
    /// boundaries, which may begin before the trigger. Nothing for a false alarm.
    pub(crate) fn locate(
        &self,
        text: &str,
        trigger: Range<usize>,
        number: usize,
        marks: &Marks,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        let bytes = text.as_bytes();
        let range = match self {
            Detector::PrivateKey => pem::locate(bytes, trigger),
            Detector::Jwt => jwt::locate(bytes, trigger),
            Detector::ApiKey => key::locate(bytes, trigger, number),
            Detector::Token => token::locate(bytes, trigger),
            Detector::UrlPassword => url::locate(bytes, trigger, marks),
            Detector::Cookie(keys) => {
                return cookie::locate(bytes, keys, trigger, marks, found);
            }
            Detector::Secret(keys) => keys.locate(bytes, trigger, marks),
            Detector::Card => card::locate(bytes, trigger),
            Detector::Iban => iban::locate(bytes, trigger),
            Detector::Email => email::locate(text, trigger),
            Detector::Phone => phone::locate(bytes, trigger),
            Detector::Ip(scope) => scope.locate(bytes, trigger, number),
            Detector::Ssn => ssn::locate(bytes, trigger),
        };
        if let Some(range) = range {
            found(range);
        }
    }

    /// Whether [`Detector::locate_whole`] may find anything.
    pub(crate) fn reads_whole(&self) -> bool {
        matches!(self, Detector::PrivateKey)
    }

    /// What is found in a text as a whole, whatever it consists of.
    pub(crate) fn locate_whole(&self, text: &str) -> Option<Range<usize>> {
        match self {
            Detector::PrivateKey => pem::body_line(text.as_bytes()),
            _ => None,
        }
    }

    /// A find in the form in which equal ones are equal: what a pseudonym is made of.
    pub(crate) fn canonical(&self, find: &str) -> String {
        match self {
            Detector::Email => find.replace("%40", "@").to_lowercase(),
            Detector::Card | Detector::Iban | Detector::Phone | Detector::Ssn => {
                let symbols = find
                    .trim_start_matches("%2B")
                    .trim_start_matches("%2b")
                    .chars();
                let mut text: String = symbols.filter(char::is_ascii_alphanumeric).collect();
                text.make_ascii_uppercase();
                text
            }
            Detector::Ip(_) => find.to_ascii_lowercase(),
            _ => find.to_owned(),
        }
    }

    /// The network of an address: what stands for it when truncated.
    pub(crate) fn truncated(&self, find: &str) -> Option<String> {
        match self {
            Detector::Ip(_) => ip::truncated(find),
            _ => None,
        }
    }
}

/// `check(input, expect)` of the detectors' corpora: all detectors are on, so that a corpus
/// also shows that no other detector spoils its text.
#[cfg(test)]
pub(crate) fn check(input: &str, expect: &str) {
    let config = Config {
        enabled: vec!["ssn".to_owned()],
        ..Config::default()
    };
    thread_local! {
        static SCRUBBER: std::cell::OnceCell<crate::Scrubber> = const { std::cell::OnceCell::new() };
    }
    SCRUBBER.with(|scrubber| {
        let scrubber = scrubber.get_or_init(|| {
            crate::Scrubber::new(&config, &crate::PseudonymKey::new([1; 32])).unwrap()
        });
        assert_eq!(scrubber.line(input.as_bytes()).as_str(), expect, "{input}");
    });
}

/// A text that stays as it is.
#[cfg(test)]
pub(crate) fn keeps(input: &str) {
    check(input, input);
}
