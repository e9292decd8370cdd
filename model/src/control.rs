//! A small durable table for state that must survive `kill -9`: alert state, silences,
//! the notification log, the outbox. A few megabytes; owners keep their part in memory
//! and write through.

/// One change of a transaction. Keys sort by bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlWrite {
    /// Insert or replace.
    Put {
        /// Owner's table, e.g. `alerting.outbox`.
        table: &'static str,
        /// Key within the table.
        key: String,
        /// The owner's encoding.
        value: Vec<u8>,
    },
    /// Remove; absent is fine.
    Delete {
        /// Owner's table.
        table: &'static str,
        /// Key within the table.
        key: String,
    },
}

/// Durable key-value tables. Implemented by `storage`, and by a map in tests.
pub trait ControlStore: Send + Sync {
    /// Every pair of `table` in key order.
    ///
    /// # Errors
    /// When the store cannot be read. A value whose checksum is wrong is left out and counted.
    fn scan(&self, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError>;

    /// Applies all writes or none, and returns once they would survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; nothing was changed then.
    fn commit(&self, writes: Vec<ControlWrite>) -> Result<(), ControlError>;
}

/// Why control state could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("control store: {0}")]
pub struct ControlError(pub String);

/// A control store in memory, for tests and dry runs.
#[derive(Default)]
pub struct MemoryControlStore {
    tables: std::sync::Mutex<std::collections::BTreeMap<(&'static str, String), Vec<u8>>>,
}

impl ControlStore for MemoryControlStore {
    fn scan(&self, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError> {
        let tables = self
            .tables
            .lock()
            .map_err(|_| ControlError("poisoned".to_owned()))?;
        Ok(tables
            .iter()
            .filter(|((t, _), _)| *t == table)
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect())
    }

    fn commit(&self, writes: Vec<ControlWrite>) -> Result<(), ControlError> {
        let mut tables = self
            .tables
            .lock()
            .map_err(|_| ControlError("poisoned".to_owned()))?;
        for write in writes {
            match write {
                ControlWrite::Put { table, key, value } => tables.insert((table, key), value),
                ControlWrite::Delete { table, key } => tables.remove(&(table, key)),
            };
        }
        Ok(())
    }
}
