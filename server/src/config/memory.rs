//! One memory budget for the process, and who gets how much of it.

use serde::Deserialize;

use super::expand::Surroundings;
use super::values::Bytes;

/// The budget where there is memory in plenty: room for about 130,000 series.
const BUDGET_MAX_DEFAULT: u64 = 128 << 20;
/// Below this the parts are too small to work with.
const BUDGET_MIN: u64 = 16 << 20;
/// The default budget is one of so many parts of the memory there is.
const SHARE_OF_MEMORY: u64 = 4;
/// Memory assumed when the system does not tell.
const MEMORY_ASSUMED: u64 = 1 << 30;

/// The section `memory`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MemorySection {
    pub(super) budget: Option<Bytes>,
}

/// What may be held at most, in bytes. The parts are bounds of what is counted; the process
/// needs some 25 MB beside them for code, connections and what the system keeps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// All of it.
    pub total: u64,
    /// Samples that are not in a block yet: a half, unless `storage.memory` says otherwise.
    pub head: u64,
    /// Evaluations: three eighths. One query may take three quarters unless `query.bytes_max`
    /// says otherwise.
    pub queries: u64,
    /// Log lines that are not in a frame yet, and what is kept of blocks: the rest.
    pub caches: u64,
}

impl MemoryBudget {
    /// Splits the budget that is written, or a quarter of the machine's (or its control group's)
    /// memory, at most 128 MB.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub(super) fn new(
        section: MemorySection,
        head: Option<Bytes>,
        surroundings: &dyn Surroundings,
    ) -> Result<MemoryBudget, String> {
        let total = match section.budget {
            Some(Bytes(total)) if total < BUDGET_MIN => {
                return Err(format!(
                    "memory.budget: {} is too little; at least {}",
                    Bytes(total),
                    Bytes(BUDGET_MIN)
                ));
            }
            Some(Bytes(total)) => total,
            None => (memory(surroundings) / SHARE_OF_MEMORY).clamp(BUDGET_MIN, BUDGET_MAX_DEFAULT),
        };
        let (half, eighth) = (total / 2, total / 8);
        let (total, head) = match head.map(|Bytes(head)| head) {
            None => (total, half),
            // A head that was asked for by itself does not take from the others.
            Some(head) if section.budget.is_none() => (total - half + head, head),
            Some(head) if head > total - half => {
                return Err(format!(
                    "storage.memory: {} leaves too little of memory.budget, {}; at most {}",
                    Bytes(head),
                    Bytes(total),
                    Bytes(total - half)
                ));
            }
            Some(head) => (total, head),
        };
        Ok(MemoryBudget {
            total,
            head,
            queries: 3 * eighth,
            caches: eighth,
        })
    }
}

/// Memory of this machine, or what its control group may use of it.
fn memory(surroundings: &dyn Surroundings) -> u64 {
    let number = |path: &str| surroundings.file(path).ok()?.trim().parse::<u64>().ok();
    let of_machine = surroundings
        .file("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    // Version 2, then version 1, which spells "no limit" as a number larger than any machine.
    let of_group = number("/sys/fs/cgroup/memory.max")
        .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    of_machine
        .into_iter()
        .chain(of_group)
        .min()
        .unwrap_or(MEMORY_ASSUMED)
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Machine(HashMap<&'static str, &'static str>);

    impl Surroundings for Machine {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, path: &str) -> std::io::Result<String> {
            let found = self.0.get(path).map(|t| (*t).to_owned());
            found.ok_or_else(|| std::io::ErrorKind::NotFound.into())
        }
    }

    fn budget(
        files: &[(&'static str, &'static str)],
        section: Option<&str>,
        head: Option<&str>,
    ) -> Result<MemoryBudget, String> {
        let bytes = |text: &str| Bytes::parse(text).unwrap();
        let section = MemorySection {
            budget: section.map(bytes),
        };
        let machine = Machine(files.iter().copied().collect());
        MemoryBudget::new(section, head.map(bytes), &machine)
    }

    const SMALL: (&str, &str) = (
        "/proc/meminfo",
        "MemTotal:         262144 kB\nMemFree: 1 kB\n",
    );
    const LARGE: (&str, &str) = ("/proc/meminfo", "MemTotal:       16777216 kB\n");

    #[test]
    fn the_budget_is_a_quarter_of_the_memory_and_not_too_much() {
        let total = |files: &[_]| budget(files, None, None).unwrap().total;
        assert_eq!(total(&[SMALL]), 64 << 20);
        assert_eq!(total(&[LARGE]), 128 << 20);
        let group = ("/sys/fs/cgroup/memory.max", "134217728\n");
        assert_eq!(total(&[LARGE, group]), 32 << 20);
        assert_eq!(
            total(&[LARGE, ("/sys/fs/cgroup/memory.max", "max\n")]),
            128 << 20
        );
        let old = (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(total(&[SMALL, old]), 64 << 20);
        assert_eq!(total(&[]), 128 << 20);
    }

    #[test]
    fn the_parts_add_up() {
        let parts = budget(&[], Some("128MB"), None).unwrap();
        assert_eq!(
            parts,
            MemoryBudget {
                total: 128 << 20,
                head: 64 << 20,
                queries: 48 << 20,
                caches: 16 << 20,
            }
        );
        let large_head = budget(&[LARGE], None, Some("256MB")).unwrap();
        assert_eq!(large_head.total, 320 << 20);
        assert_eq!(large_head.queries, parts.queries);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(
            budget(&[], Some("1MB"), None).unwrap_err(),
            "memory.budget: 1MB is too little; at least 16MB"
        );
        assert_eq!(
            budget(&[], Some("64MB"), Some("64MB")).unwrap_err(),
            "storage.memory: 64MB leaves too little of memory.budget, 64MB; at most 32MB"
        );
    }
}
