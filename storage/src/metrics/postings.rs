//! Which series have which label: name → value → ascending series numbers.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use model::{Labels, Matcher};

type Map<V> = HashMap<Box<str>, V, RandomState>;

/// The index of the head.
#[derive(Default)]
pub(crate) struct Postings {
    names: Map<Map<Vec<u32>>>,
}

/// Series that may match.
pub(crate) enum Candidates {
    /// No matcher narrows the choice.
    All,
    /// Only these, ascending.
    Some(Vec<u32>),
}

impl Postings {
    pub(crate) fn insert(&mut self, id: u32, labels: &Labels) {
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(Box::from(name), Map::default());
            }
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            if !values.contains_key(value) {
                values.insert(Box::from(value), Vec::with_capacity(1));
            }
            if let Some(ids) = values.get_mut(value)
                && let Err(at) = ids.binary_search(&id)
            {
                ids.insert(at, id);
            }
        }
    }

    /// Removes all of `gone` (ascending), which have `labels`, in one pass over each list.
    pub(crate) fn remove(&mut self, gone: &[u32], labels: &[Labels]) {
        let pairs: HashSet<(&str, &str), RandomState> = labels.iter().flatten().collect();
        for (name, value) in pairs {
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            let Some(ids) = values.get_mut(value) else {
                continue;
            };
            ids.retain(|id| gone.binary_search(id).is_err());
            ids.shrink_to_fit();
            if ids.is_empty() {
                values.remove(value);
                if values.is_empty() {
                    self.names.remove(name);
                }
            }
        }
    }

    /// A superset of the series for which all `matchers` hold.
    pub(crate) fn candidates(&self, matchers: &[Matcher]) -> Candidates {
        let mut found: Option<Vec<u32>> = None;
        // Matchers that an absent label satisfies cannot use the index.
        for m in matchers.iter().filter(|m| !m.matches_empty()) {
            let Some(values) = self.names.get(m.name()) else {
                return Candidates::Some(Vec::new());
            };
            let ids = match m.op() {
                model::MatchOp::Equal => values.get(m.value()).cloned().unwrap_or_default(),
                _ if found.as_ref().is_some_and(|f| f.len() < values.len()) => continue,
                _ => {
                    let lists = values.iter().filter(|(v, _)| m.matches(v));
                    let mut ids: Vec<u32> = lists.flat_map(|(_, ids)| ids).copied().collect();
                    ids.sort_unstable();
                    ids
                }
            };
            found = Some(match found {
                None => ids,
                Some(mut f) => {
                    f.retain(|id| ids.binary_search(id).is_ok());
                    f
                }
            });
        }
        found.map_or(Candidates::All, Candidates::Some)
    }
}
