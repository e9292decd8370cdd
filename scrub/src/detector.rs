//! The detectors: each has an anchor pattern, of which all together make one regular
//! expression, and a function that decides by hand what around an anchor must go.
//!
//! Anchors are short and bounded, so that the engine stays fast and a rejected anchor costs
//! little; exact extents and checksums are ordinary code.

mod card;
mod email;
mod iban;
mod jwt;
mod key;
mod pem;
mod secret;
mod token;
mod url;

use std::ops::Range;

use crate::{Config, ConfigError};

/// One kind of thing that must not be stored.
///
/// `locate` functions hold to this: the same text gives the same answer, and a text in which
/// the answer was replaced by [`Detector::mask`] gives none at that place.
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
    /// Values of keys that are named like a secret.
    Secret(secret::Keys),
    /// Payment card numbers.
    Card,
    /// International bank account numbers.
    Iban,
    /// E-mail addresses.
    Email,
}

impl Detector {
    /// All, in the order in which anchors at the same place are tried.
    fn all(config: &Config) -> Result<[Detector; 9], ConfigError> {
        Ok([
            Detector::PrivateKey,
            Detector::Jwt,
            Detector::ApiKey,
            Detector::Token,
            Detector::UrlPassword,
            Detector::Secret(secret::Keys::new(config)?),
            Detector::Card,
            Detector::Iban,
            Detector::Email,
        ])
    }

    /// The names, in the order of [`Detector::all`].
    pub(crate) fn names() -> Vec<&'static str> {
        Self::all(&Config::default())
            .map(|all| all.iter().map(Detector::name).collect())
            .unwrap_or_default()
    }

    /// Those that `config` leaves on.
    pub(crate) fn chosen(config: &Config) -> Result<Vec<Detector>, ConfigError> {
        let mut all = Vec::from(Self::all(config)?);
        for name in &config.disabled {
            if !all.iter().any(|detector| detector.name() == name) {
                return Err(ConfigError::UnknownDetector { name: name.clone() });
            }
        }
        all.retain(|detector| !config.disabled.iter().any(|name| name == detector.name()));
        Ok(all)
    }

    /// Its name in the configuration and in counters.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Detector::PrivateKey => "private_key",
            Detector::Jwt => "jwt",
            Detector::ApiKey => "api_key",
            Detector::Token => "token",
            Detector::UrlPassword => "url_password",
            Detector::Secret(_) => "secret",
            Detector::Card => "card",
            Detector::Iban => "iban",
            Detector::Email => "email",
        }
    }

    /// What stands in place of a find. Never needs escaping inside quotes.
    pub(crate) fn mask(&self) -> &'static str {
        match self {
            Detector::PrivateKey => "<private-key>",
            Detector::Jwt => "<jwt>",
            Detector::ApiKey => "<key>",
            Detector::Token | Detector::UrlPassword | Detector::Secret(_) => "<secret>",
            Detector::Card => "<card>",
            Detector::Iban => "<iban>",
            Detector::Email => "<email>",
        }
    }

    /// The anchor: where to look closer.
    pub(crate) fn pattern(&self) -> String {
        match self {
            Detector::PrivateKey => pem::PATTERN.to_owned(),
            Detector::Jwt => jwt::PATTERN.to_owned(),
            Detector::ApiKey => key::pattern(),
            Detector::Token => token::PATTERN.to_owned(),
            Detector::UrlPassword => url::PATTERN.to_owned(),
            Detector::Secret(keys) => keys.pattern(),
            Detector::Card => card::PATTERN.to_owned(),
            Detector::Iban => iban::PATTERN.to_owned(),
            Detector::Email => email::PATTERN.to_owned(),
        }
    }

    /// What must go, given where the anchor matched: a non-empty range on character
    /// boundaries, which may begin before the anchor. `None`: a false alarm.
    pub(crate) fn locate(&self, text: &str, anchor: Range<usize>) -> Option<Range<usize>> {
        let bytes = text.as_bytes();
        match self {
            Detector::PrivateKey => pem::locate(bytes, anchor),
            Detector::Jwt => jwt::locate(bytes, anchor),
            Detector::ApiKey => key::locate(bytes, anchor),
            Detector::Token => token::locate(bytes, anchor),
            Detector::UrlPassword => url::locate(bytes, anchor),
            Detector::Secret(keys) => keys.locate(bytes, anchor),
            Detector::Card => card::locate(bytes, anchor),
            Detector::Iban => iban::locate(bytes, anchor),
            Detector::Email => email::locate(text, anchor),
        }
    }
}

/// What a value may be and yet need no scrubbing: one of our masks.
pub(crate) fn is_mask(value: &[u8]) -> bool {
    const MASKS: [&[u8]; 7] = [
        b"<private-key>",
        b"<jwt>",
        b"<key>",
        b"<secret>",
        b"<card>",
        b"<iban>",
        b"<email>",
    ];
    MASKS.contains(&value)
}

/// `check(input, expect)` of the detectors' corpora: all detectors are on, so that a corpus
/// also shows that no other detector spoils its text.
#[cfg(test)]
pub(crate) fn check(input: &str, expect: &str) {
    let scrubber = crate::Scrubber::default();
    assert_eq!(scrubber.line(input.as_bytes()).as_str(), expect, "{input}");
}

/// A text that stays as it is.
#[cfg(test)]
pub(crate) fn keeps(input: &str) {
    check(input, input);
}
