//! How far each source was handed on by this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::position::Position;

/// Positions of batches that were handed on, which the store may not have written yet. A tail
/// that starts anew (the container restarted, the configuration changed) continues from here.
/// Cloning shares. One entry per stream of each container that exists.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    positions: Arc<Mutex<HashMap<String, Position>>>,
    /// Of the last event told, nanoseconds since the epoch; 0 before.
    event_ns: Arc<AtomicI64>,
}

impl Progress {
    pub(super) fn get(&self, source: &str) -> Option<Position> {
        self.lock().get(source).copied()
    }

    pub(super) fn set(&self, source: &str, position: Position) {
        let mut positions = self.lock();
        match positions.get_mut(source) {
            Some(known) => *known = position,
            None => {
                positions.insert(source.to_owned(), position);
            }
        }
    }

    pub(super) fn event(&self) -> Option<i64> {
        Some(self.event_ns.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub(super) fn set_event(&self, at_ns: i64) {
        self.event_ns.store(at_ns, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, source: &str) {
        self.lock().remove(source);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Position>> {
        // Each update is one assignment: a panic elsewhere leaves whole values.
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
