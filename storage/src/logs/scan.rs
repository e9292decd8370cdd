//! Frames read ahead of a visit by a few threads.
//!
//! A visit needs frames in order, and most of the work on one (decompressing it, looking for a
//! text) does not depend on the others. Threads are started once a visit has read some frames by
//! itself: most visits end before. They have the priority of the thread that reads.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use super::file::{FrameFile, FrameRef};
use super::frame_read::{Frame, Scratch, Wanted};

/// Threads that read ahead, of all visits of a store together.
const WORKERS_MAX: usize = 2;
/// A visit reads so many frames by itself first.
const ALONE: usize = 8;
/// Frames ahead of the visit: memory against waiting.
const AHEAD: usize = 8;

/// A frame that may have to be read.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) file: Arc<FrameFile>,
    pub(super) frame: FrameRef,
    /// Another frame of the stream may have lines of its first or last instant.
    pub(super) touches: bool,
}

/// What became of a frame.
pub(super) enum Loaded {
    Lines(Frame),
    /// By its filter none is wanted.
    Unwanted,
    Damaged,
    Failed(io::Error),
}

/// How many threads may still be started.
pub(super) struct Workers(AtomicUsize);

impl Default for Workers {
    fn default() -> Self {
        Workers(AtomicUsize::new(WORKERS_MAX))
    }
}

/// One that may be; given back when dropped.
struct Permit<'a>(&'a Workers);

impl Workers {
    fn take(&self) -> Option<Permit<'_>> {
        let one_less = |n: usize| n.checked_sub(1);
        let order = Ordering::Relaxed;
        let taken = self.0.fetch_update(order, order, one_less);
        taken.is_ok().then_some(Permit(self))
    }
}

#[cfg(test)]
impl Workers {
    pub(super) fn free(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives the frames of a visit one by one.
pub(super) struct Loader<'a> {
    frames: &'a [Pending],
    wanted: Wanted<'a>,
    workers: &'a Workers,
    shared: Mutex<Shared>,
    changed: Condvar,
}

struct Shared {
    /// The frame that the visit takes next.
    visited: usize,
    /// The first that nobody has taken.
    next: usize,
    /// Those from `visited` up to `next`, as far as they are done.
    done: VecDeque<Option<Loaded>>,
    /// Threads that wait for the visit.
    idle: usize,
    stopped: bool,
}

impl<'a> Loader<'a> {
    pub(super) fn new(frames: &'a [Pending], wanted: Wanted<'a>, workers: &'a Workers) -> Self {
        Loader {
            frames,
            wanted,
            workers,
            shared: Mutex::new(Shared {
                visited: 0,
                next: 0,
                done: VecDeque::new(),
                idle: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame, which must exist.
    pub(super) fn next<'s>(&'s self, scope: &'s Scope<'s, '_>, scratch: &mut Scratch) -> Loaded {
        let mut shared = self.lock();
        let index = shared.visited;
        if index == ALONE && self.frames.len() > ALONE + AHEAD {
            drop(shared);
            self.start(scope);
            shared = self.lock();
        }
        loop {
            if shared.next <= index {
                // Nobody is at it.
                shared.next = index + 1;
                shared.visited = index + 1;
                drop(shared);
                return self.load(index, scratch);
            }
            if let Some(loaded) = shared.done.front_mut().and_then(Option::take) {
                shared.done.pop_front();
                shared.visited = index + 1;
                if shared.idle > 0 && shared.next < shared.visited + AHEAD / 2 {
                    self.changed.notify_all();
                }
                return loaded;
            }
            if shared.stopped {
                // Whose it was has panicked.
                shared.done.pop_front();
                shared.visited = index + 1;
                drop(shared);
                return self.load(index, scratch);
            }
            shared = self.wait(shared);
        }
    }

    fn wait<'s>(&self, shared: MutexGuard<'s, Shared>) -> MutexGuard<'s, Shared> {
        let woken = self.changed.wait(shared);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for _ in 0..WORKERS_MAX {
            let Some(permit) = self.workers.take() else {
                return;
            };
            let thread = std::thread::Builder::new().name("logs-scan".to_owned());
            // When there is none, the visit goes on by itself.
            let _ = thread.spawn_scoped(scope, move || {
                let _permit = permit;
                self.work();
            });
        }
    }

    fn work(&self) {
        let _stop = Stop(self);
        let Ok(mut scratch) = Scratch::new() else {
            return;
        };
        loop {
            let mut shared = self.lock();
            while !shared.stopped && shared.next >= shared.visited + AHEAD {
                shared.idle += 1;
                shared = self.wait(shared);
                shared.idle -= 1;
            }
            let index = shared.next;
            if shared.stopped || index >= self.frames.len() {
                return;
            }
            shared.next += 1;
            let place = shared.next - shared.visited;
            shared.done.resize_with(place, || None);
            drop(shared);
            let loaded = self.load(index, &mut scratch);
            let mut shared = self.lock();
            // The visit does not wait for it where another thread has panicked.
            let place = index.checked_sub(shared.visited);
            if let Some(done) = place.and_then(|place| shared.done.get_mut(place)) {
                *done = Some(loaded);
            }
            if place == Some(0) {
                self.changed.notify_all();
            }
        }
    }

    fn load(&self, index: usize, scratch: &mut Scratch) -> Loaded {
        let Some(pending) = self.frames.get(index) else {
            return Loaded::Unwanted;
        };
        let mut wanted = self.wanted;
        wanted.no_texts &= !pending.touches;
        let mut read = pending.file.read(&pending.frame, &wanted, scratch);
        // Neighbours in time of the visit's order.
        if let Ok(Loaded::Lines(frame)) = &mut read {
            let window = wanted.window;
            let key = |r: &super::frame_read::Row| window.key(r.at_ns, r.seq);
            if !frame.rows.is_sorted_by_key(key) {
                frame.rows.sort_unstable_by_key(key);
            }
        }
        read.unwrap_or_else(Loaded::Failed)
    }

    /// No more frames are wanted.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Ends the reading of a thread that panics: the visit would wait for it.
struct Stop<'a, 'l>(&'a Loader<'l>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}
