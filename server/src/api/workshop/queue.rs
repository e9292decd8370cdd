//! Who is next: first come first served for each client, clients in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A piece of work that waits.
pub(super) struct Job {
    /// Set when nobody wants it any more.
    pub(super) gone: Arc<AtomicBool>,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

/// Waiting work, and how many workers there are for it.
#[derive(Default)]
pub(super) struct Queue {
    /// One line per client; no line is empty.
    lines: HashMap<String, VecDeque<Job>>,
    /// Each client that has a line, once; the first one is next.
    turns: VecDeque<String>,
    waiting: usize,
    closed: bool,
    /// Workers that wait for work.
    pub(super) idle: usize,
    /// All workers.
    pub(super) workers: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Puts a job at the end of its client's line; `false` when `max` wait already or nobody
    /// works any more.
    pub(super) fn push(&mut self, client: &str, job: Job, max: usize) -> bool {
        if self.waiting >= max {
            self.forget_gone();
        }
        if self.waiting >= max || self.closed {
            return false;
        }
        match self.lines.get_mut(client) {
            Some(line) => line.push_back(job),
            None => {
                self.lines.insert(client.to_owned(), VecDeque::from([job]));
                self.turns.push_back(client.to_owned());
            }
        }
        self.waiting += 1;
        true
    }

    /// The next job somebody waits for.
    pub(super) fn pop(&mut self) -> Option<Job> {
        while let Some(client) = self.turns.pop_front() {
            let Some(line) = self.lines.get_mut(&client) else {
                continue;
            };
            let job = line.pop_front();
            self.waiting -= usize::from(job.is_some());
            if line.is_empty() {
                self.lines.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            if let Some(job) = job.filter(|j| !j.gone.load(Ordering::Relaxed)) {
                return Some(job);
            }
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.turns.clear();
        self.waiting = 0;
    }

    /// Nothing waits any more, and nothing may.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.clear();
    }

    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    fn forget_gone(&mut self) {
        self.lines.retain(|_, line| {
            line.retain(|job| !job.gone.load(Ordering::Relaxed));
            !line.is_empty()
        });
        let lines = &self.lines;
        self.turns.retain(|client| lines.contains_key(client));
        self.waiting = self.lines.values().map(VecDeque::len).sum();
    }
}
