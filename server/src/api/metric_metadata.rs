//! Type, help and unit of metrics, as their senders described them. In memory only: senders
//! repeat themselves every minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Metrics described; further ones stay undescribed. 5,000 at full length are 10 MB.
const FAMILIES_MAX: usize = 5_000;
/// Bytes of a name, help or unit that are kept.
const TEXT_BYTES_MAX: usize = 1024;

/// What is known about a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// As Prometheus' API prints it: `counter`, `gauge`, …, `unknown`.
    pub(crate) kind: &'static str,
    pub(crate) help: String,
    pub(crate) unit: String,
}

/// All of it, by metric family.
#[derive(Default)]
pub(crate) struct MetadataTable(Mutex<BTreeMap<String, Described>>);

impl MetadataTable {
    /// Remembers what a sender says about `family`; the last one wins.
    pub(crate) fn put(&self, family: &str, kind: &'static str, help: &str, unit: &str) {
        if family.is_empty() || family.len() > TEXT_BYTES_MAX {
            return;
        }
        let (help, unit) = (cut(help), cut(unit));
        let mut families = self.lock();
        if let Some(known) = families.get_mut(family) {
            if known.kind != kind || known.help != help || known.unit != unit {
                *known = Described {
                    kind,
                    help: help.to_owned(),
                    unit: unit.to_owned(),
                };
            }
        } else if families.len() < FAMILIES_MAX {
            let described = Described {
                kind,
                help: help.to_owned(),
                unit: unit.to_owned(),
            };
            families.insert(family.to_owned(), described);
        }
    }

    /// What is known about `family`.
    pub(crate) fn get(&self, family: &str) -> Option<Described> {
        self.lock().get(family).cloned()
    }

    /// Everything, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, Described> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Described>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_description_wins_and_the_table_is_bounded() {
        let table = MetadataTable::default();
        table.put("a", "gauge", "old", "");
        table.put("a", "counter", &"é".repeat(1000), "seconds");
        let a = table.get("a").unwrap();
        assert_eq!((a.kind, a.unit.as_str()), ("counter", "seconds"));
        assert_eq!(a.help.len(), TEXT_BYTES_MAX);
        for i in 0..2 * FAMILIES_MAX {
            table.put(&format!("m{i}"), "gauge", "", "");
        }
        assert_eq!(table.all().len(), FAMILIES_MAX);
    }
}
