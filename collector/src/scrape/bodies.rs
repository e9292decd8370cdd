//! What the answers of all scrapes may hold in memory together.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a body that need no claim: node_exporter's answer is half as long.
const FREE_BYTES: usize = 256 << 10;
/// Bytes of bodies held at once beyond the free ones, besides one body; further ones wait, which
/// their scrape's timeout bounds.
const SHARED_BYTES_MAX: usize = 32 << 20;
/// Bodies that may grow to their end without a share of [`SHARED_BYTES_MAX`]: with none, bodies
/// that each hold a part would wait for each other.
const BEYOND: usize = 1;

/// The allowance that all scrapes share. Cloning shares.
#[derive(Clone)]
pub(crate) struct Bodies {
    /// A permit per byte.
    shared: Arc<Semaphore>,
    /// A permit per body that needs no more of them.
    beyond: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies {
            shared: Arc::new(Semaphore::new(SHARED_BYTES_MAX)),
            beyond: Arc::new(Semaphore::new(BEYOND)),
        }
    }
}

impl Bodies {
    /// An empty body that will hold what it claims from here.
    pub(crate) fn body(&self) -> Body {
        Body {
            bytes: Vec::new(),
            from: self.clone(),
            shared: None,
            beyond: None,
        }
    }
}

/// A body, decompressed. It gives its claim back when dropped.
pub(crate) struct Body {
    bytes: Vec<u8>,
    from: Bodies,
    shared: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// Adds a piece, once there is room for it.
    pub(crate) async fn extend(&mut self, piece: &[u8]) {
        let held = self.bytes.len().max(FREE_BYTES);
        let needed = (self.bytes.len() + piece.len()).saturating_sub(held);
        if needed > 0 && self.beyond.is_none() {
            self.claim(u32::try_from(needed).unwrap_or(u32::MAX)).await;
        }
        self.bytes.extend_from_slice(piece);
    }

    async fn claim(&mut self, bytes: u32) {
        let more = Arc::clone(&self.from.shared).acquire_many_owned(bytes);
        let beyond = Arc::clone(&self.from.beyond).acquire_owned();
        // The semaphores are never closed; without a permit it would merely go uncounted.
        tokio::select! {
            biased;
            more = more => match (&mut self.shared, more) {
                (Some(held), Ok(more)) => held.merge(more),
                (held, more) => *held = more.ok(),
            },
            beyond = beyond => self.beyond = beyond.ok(),
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    static PIECE: [u8; 64 << 10] = [b'#'; 64 << 10];

    /// Adds pieces until `bytes_max` or until it would wait.
    fn grow(body: &mut Body, bytes_max: usize) -> usize {
        while body.len() < bytes_max && body.extend(&PIECE).now_or_never().is_some() {}
        body.len()
    }

    #[test]
    fn bodies_together_have_a_bound_and_one_of_them_always_comes_to_its_end() {
        let bodies = Bodies::default();
        let mut all: Vec<Body> = (0..20).map(|_| bodies.body()).collect();
        let whole = 64 << 20;
        // All grow alike, as when twenty targets send at once.
        for bytes in (1..=64).map(|n| n << 20) {
            for body in &mut all {
                grow(body, bytes);
            }
        }
        let total: usize = all.iter().map(|b| b.len()).sum();
        assert!(
            total <= SHARED_BYTES_MAX + whole + 20 * FREE_BYTES,
            "{total}"
        );
        assert_eq!(all.iter().filter(|b| b.len() >= whole).count(), 1);
        // One that is small needs nobody's leave.
        assert_eq!(grow(&mut bodies.body(), FREE_BYTES), FREE_BYTES);
        // Each that ends makes room for the next.
        while !all.is_empty() {
            let ended = all.iter().position(|b| b.len() >= whole).unwrap();
            drop(all.swap_remove(ended));
            for body in &mut all {
                grow(body, whole);
            }
        }
        assert_eq!(bodies.shared.available_permits(), SHARED_BYTES_MAX);
        assert_eq!(bodies.beyond.available_permits(), BEYOND);
    }
}
