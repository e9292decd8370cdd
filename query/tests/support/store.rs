//! Lines in memory, read as from a store.

use std::ops::ControlFlow;

use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Matcher, ReadError};

#[derive(Default)]
pub(crate) struct Lines(pub(crate) Vec<(Labels, LogEntry)>);

impl Lines {
    pub(crate) fn push(&mut self, stream: &Labels, metadata: &Labels, at_ns: i64, line: &str) {
        let entry = LogEntry {
            at_ns,
            line: line.to_owned(),
            metadata: metadata.clone(),
        };
        self.0.push((stream.clone(), entry));
    }
}

impl LogReader for Lines {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut found: Vec<&(Labels, LogEntry)> = self
            .0
            .iter()
            .filter(|(stream, entry)| {
                selection.matchers.iter().all(|m| m.matches_labels(stream))
                    && (selection.start_ns..selection.end_ns).contains(&entry.at_ns)
            })
            .collect();
        found.sort_by_key(|(_, entry)| entry.at_ns);
        if selection.direction == Direction::Backward {
            found.reverse();
        }
        for (stream, entry) in found {
            if visit(stream, entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }
}
