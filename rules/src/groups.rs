//! All groups: loading, reloading, and what they share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::{ControlError, ControlStore, ControlWrite};
use prometheus_client::registry::Registry;

use crate::alert_state::TABLE;
use crate::telemetry::Telemetry;
use crate::{Group, GroupStatus, RuleFile};

/// What groups take when their file says nothing.
#[derive(Clone, Debug)]
pub struct GroupDefaults {
    /// Time between evaluations.
    pub interval: Duration,
    /// How far in the past expressions are evaluated.
    pub query_offset: Duration,
    /// How long after an alert was sent it is sent again.
    pub resend_delay: Duration,
    /// How long after a start an alert from before it may stay unseen before it counts as
    /// resolved: the first scrapes are still to come. Less when the environment says that
    /// everything has been read.
    pub settle: Duration,
}

impl Default for GroupDefaults {
    fn default() -> GroupDefaults {
        GroupDefaults {
            interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            resend_delay: Duration::from_secs(60),
            settle: Duration::from_secs(60),
        }
    }
}

/// Every group that is being evaluated.
pub struct Groups {
    groups: RwLock<Vec<Arc<Group>>>,
    defaults: GroupDefaults,
    control: Arc<dyn ControlStore>,
    telemetry: Telemetry,
}

impl Groups {
    /// Groups of `files` with the alerts they had when the program last ran.
    /// Stored alerts of rules that are gone are forgotten.
    ///
    /// # Errors
    /// When the control store cannot be read or written.
    pub fn load(
        files: Vec<RuleFile>,
        defaults: GroupDefaults,
        control: Arc<dyn ControlStore>,
        registry: &mut Registry,
    ) -> Result<Groups, ControlError> {
        let groups = Groups {
            groups: RwLock::default(),
            defaults,
            control,
            telemetry: Telemetry::new(registry),
        };
        let rows: BTreeMap<String, Vec<u8>> = groups.control.scan(TABLE)?.into_iter().collect();
        let built: Vec<Arc<Group>> = groups.build(files);
        let mut prefixes = Vec::new();
        for group in &built {
            group.restore(&rows);
            prefixes.extend(group.row_prefixes());
        }
        let forgotten: Vec<ControlWrite> = rows
            .into_keys()
            .filter(|key| !prefixes.iter().any(|p| key.starts_with(p.as_str())))
            .map(|key| ControlWrite::Delete { table: TABLE, key })
            .collect();
        if !forgotten.is_empty() {
            tracing::info!(
                alerts = forgotten.len(),
                "forgot alerts of rules that are gone"
            );
            groups.control.commit(forgotten)?;
        }
        *groups
            .groups
            .write()
            .unwrap_or_else(PoisonError::into_inner) = built;
        Ok(groups)
    }

    /// Takes over new files. A group that did not change keeps running; in one that did, rules with
    /// the same name and labels keep their alerts. Waits for evaluations under way.
    ///
    /// # Errors
    /// When the rows of rules that are gone cannot be removed; the new groups are in force anyway.
    pub fn reload(&self, files: Vec<RuleFile>) -> Result<(), ControlError> {
        let mut slot = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *slot);
        let mut writes = Vec::new();
        let mut orphans = Vec::new();
        for file in files {
            for spec in file.groups {
                let before = old
                    .iter()
                    .position(|g| g.file == file.name && g.spec.name == spec.name)
                    .map(|i| old.remove(i));
                if let Some(same) = before.as_ref().filter(|g| g.spec == spec) {
                    slot.push(Arc::clone(same));
                    continue;
                }
                let group = Arc::new(self.group(&file.name, spec));
                if let Some(before) = before {
                    let (gone, rows) = before.retire(Some(&group));
                    group.adopt(gone);
                    writes.extend(rows);
                }
                slot.push(group);
            }
        }
        for group in old {
            let (gone, rows) = group.retire(None);
            orphans.extend(gone);
            writes.extend(rows);
            self.telemetry.forget(&group.labels);
        }
        // Any group can end the series of groups that are gone.
        if let Some(first) = slot.first() {
            first.adopt(orphans);
        }
        drop(slot);
        if writes.is_empty() {
            return Ok(());
        }
        self.control.commit(writes)
    }

    /// The groups in file order.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the API shows, in file order.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups().iter().map(|g| g.status()).collect()
    }

    fn build(&self, files: Vec<RuleFile>) -> Vec<Arc<Group>> {
        files
            .into_iter()
            .flat_map(|file| {
                let name = file.name;
                file.groups
                    .into_iter()
                    .map(move |spec| (name.clone(), spec))
            })
            .map(|(file, spec)| Arc::new(self.group(&file, spec)))
            .collect()
    }

    fn group(&self, file: &str, spec: crate::file::GroupSpec) -> Group {
        Group::new(
            file,
            spec,
            &self.defaults,
            Arc::clone(&self.control),
            self.telemetry.clone(),
        )
    }
}
