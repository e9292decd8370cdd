//! How far each source was handed on by this process, which the store may not have written yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scrub::SourcePosition;

use crate::Positions;

/// Positions of batches that were handed on. A source that starts anew in the same process continues
/// from here. Cloning shares. One entry for each file, and one for the journal.
#[derive(Clone, Default)]
pub(super) struct Sent {
    positions: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Sent {
    pub(super) fn set(&self, position: &SourcePosition) {
        let SourcePosition { source, position } = position;
        self.lock().insert(source.clone(), position.clone());
    }

    /// Forgets a source that is gone for good, here and in the store.
    pub(super) fn forget(&self, source: &str, stored: &dyn Positions) {
        self.lock().remove(source);
        stored.forget(source);
    }

    /// The newest position of each source whose name begins so.
    pub(super) fn all(&self, prefix: &str, stored: &dyn Positions) -> BTreeMap<String, Vec<u8>> {
        let names = stored.sources().into_iter();
        let mut all: BTreeMap<String, Vec<u8>> = names
            .filter(|name| name.starts_with(prefix))
            .filter_map(|name| Some((name.clone(), stored.get(&name)?)))
            .collect();
        let sent = self.lock();
        let newer = sent.iter().filter(|(name, _)| name.starts_with(prefix));
        all.extend(newer.map(|(name, position)| (name.clone(), position.clone())));
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Each update is one call: a panic elsewhere leaves whole values.
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
