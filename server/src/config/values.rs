//! Values a person writes with a unit.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor, value::MapAccessDeserializer};

/// A duration written as Prometheus writes it: `15s`, `1h30m`, `15d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        model::number::parse_duration(&text)
            .map(Span)
            .map_err(D::Error::custom)
    }
}

/// A number of bytes written as `512MB` or `5GB`; as in Prometheus, a kilobyte has 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Reads `5GB`, `512MiB`, `100B`; a bare number is bytes.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("not a size: {text:?} (write a number and one of B, KB, MB, GB, TB, e.g. 5GB)")
        };
        let trimmed = text.trim();
        let digits = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let power = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 1,
            "M" | "MB" | "MIB" => 2,
            "G" | "GB" | "GIB" => 3,
            "T" | "TB" | "TIB" => 4,
            _ => return Err(refuse()),
        };
        let number: f64 = number.parse().map_err(|_| refuse())?;
        Ok(Bytes((number * 1024_f64.powi(power)) as u64))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bytes::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, power) in [("TB", 4), ("GB", 3), ("MB", 2), ("KB", 1)] {
            let size = 1_u64 << (10 * power);
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A part that is on with its own settings, or off: `host: {}`, `host: true`, `host: false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch<T> {
    /// Runs with these settings.
    On(T),
    /// Does not run.
    Off,
}

impl<T> Switch<T> {
    /// The settings when on.
    pub fn on(&self) -> Option<&T> {
        match self {
            Switch::On(settings) => Some(settings),
            Switch::Off => None,
        }
    }
}

impl<T: Default> Default for Switch<T> {
    fn default() -> Self {
        Switch::On(T::default())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for SwitchVisitor<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings, or true or false")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
                Ok(if on { Switch::default() } else { Switch::Off })
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Switch::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }

        deserializer.deserialize_any(SwitchVisitor(std::marker::PhantomData))
    }
}

/// Whether a node holds anything: `[]`, `{}` and null do not. Used for sections that a later
/// version understands, which must be refused rather than ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled(pub(crate) bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilledVisitor;

        impl<'de> Visitor<'de> for FilledVisitor {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_bool<E>(self, v: bool) -> Result<Filled, E> {
                Ok(Filled(v))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Filled, A::Error> {
                let mut filled = false;
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while map
                    .next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?
                    .is_some()
                {
                    filled = true;
                }
                Ok(Filled(filled))
            }
        }

        deserializer.deserialize_any(FilledVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_1024_and_print_back() {
        for (text, bytes) in [
            ("5GB", 5 << 30),
            ("512MiB", 512 << 20),
            ("1.5K", 1536),
            ("100", 100),
        ] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        assert!(Bytes::parse("5 parsecs").is_err());
        assert_eq!(Bytes(5 << 30).to_string(), "5GB");
    }
}
