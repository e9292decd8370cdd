//! The streams there are, with lines in memory or in frames. Their labels are held as long as their
//! lines are kept, which a sender must not be able to make much of.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use model::Labels;

use super::state::IndexedFile;

/// Labels of all streams together. Beyond it streams that nobody has heard of are not taken from
/// outside. Fifty containers take some 30 KB; a label of its own in each line takes all of it.
pub(super) const LABEL_BYTES_MAX: usize = 16 << 20;
/// A set's share in the table.
const SET_BYTES: usize = 32;
/// So many frames may come before the streams are looked through again. Those that go are seen at
/// once.
const NEW_FRAMES_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Known {
    streams: HashSet<Labels, RandomState>,
    bytes: usize,
    /// Frames at the last survey.
    frames: Option<usize>,
}

impl Known {
    /// Adds a stream, and gives its labels as all share them.
    pub(super) fn add(&mut self, labels: &Labels) -> Labels {
        if let Some(known) = self.streams.get(labels) {
            return known.clone();
        }
        self.bytes += bytes(labels);
        self.streams.insert(labels.clone());
        labels.clone()
    }

    /// Whether a stream is known, or there is room for it.
    pub(super) fn admits(&self, labels: &Labels) -> bool {
        self.bytes + bytes(labels) <= LABEL_BYTES_MAX || self.streams.contains(labels)
    }

    /// Forgets the streams that have neither frames nor lines in memory, when frames have gone.
    pub(super) fn survey<'a>(
        &mut self,
        files: &mut [IndexedFile],
        in_memory: impl Iterator<Item = &'a Labels>,
    ) {
        let frames = files.iter().map(|f| f.frames.len()).sum();
        let is_as_it_was = |then: usize| (then..=then + NEW_FRAMES_MAX).contains(&frames);
        if self.frames.is_some_and(is_as_it_was) {
            return;
        }
        let mut now = Known {
            frames: Some(frames),
            ..Known::default()
        };
        for labels in in_memory {
            now.add(labels);
        }
        for frame in files.iter_mut().flat_map(|f| &mut f.frames) {
            frame.labels = now.add(&frame.labels);
        }
        *self = now;
    }
}

fn bytes(labels: &Labels) -> usize {
    SET_BYTES + labels.heap_bytes()
}
