//! Changes of durable state that have not reached the disk: the newest value per key.

use std::collections::BTreeMap;

use model::{ControlError, ControlStore, ControlWrite};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version byte in front of every stored value; a value of another version is not read.
const VERSION: u8 = 1;

/// Writes that go to disk together. After a failed commit they stay and go with the next one, so
/// the disk never shows one part of a decision without the others.
#[derive(Default)]
pub(crate) struct Changes {
    pending: BTreeMap<(&'static str, String), Option<Vec<u8>>>,
}

impl Changes {
    pub(crate) fn put(
        &mut self,
        table: &'static str,
        key: impl Into<String>,
        value: &impl Serialize,
    ) {
        let mut bytes = vec![VERSION];
        match serde_json::to_writer(&mut bytes, value) {
            Ok(()) => {
                self.pending.insert((table, key.into()), Some(bytes));
            }
            // Only maps with non-string keys can fail, and no stored type has one.
            Err(error) => tracing::error!(table, %error, "alerting state cannot be encoded"),
        }
    }

    pub(crate) fn delete(&mut self, table: &'static str, key: impl Into<String>) {
        self.pending.insert((table, key.into()), None);
    }

    /// Writes everything in one commit.
    pub(crate) fn commit(&mut self, control: &dyn ControlStore) -> Result<(), ControlError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let writes = self
            .pending
            .iter()
            .map(|((table, key), value)| match value {
                Some(value) => ControlWrite::Put {
                    table,
                    key: key.clone(),
                    value: value.clone(),
                },
                None => ControlWrite::Delete {
                    table,
                    key: key.clone(),
                },
            })
            .collect();
        control.commit(writes)?;
        self.pending.clear();
        Ok(())
    }
}

/// Every readable value of a table; unreadable ones are logged and left where they are.
pub(crate) fn read_table<T: DeserializeOwned>(
    control: &dyn ControlStore,
    table: &'static str,
) -> Result<Vec<(String, T)>, ControlError> {
    let rows = control.scan(table)?;
    let mut values = Vec::with_capacity(rows.len());
    for (key, bytes) in rows {
        let decoded = match bytes.split_first() {
            Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|e| e.to_string()),
            _ => Err("unknown version".to_owned()),
        };
        match decoded {
            Ok(value) => values.push((key, value)),
            Err(error) => tracing::error!(table, key, error, "stored alerting state is unreadable"),
        }
    }
    Ok(values)
}
