//! The section `storage`: where samples and lines are kept, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::memory::MemoryBudget;
use super::values::{Bytes, Span};
use super::{Findings, Overrides, yaml};

/// Bytes under the data directory unless `storage.retention.size` says otherwise.
const SIZE_DEFAULT: Bytes = Bytes(5 << 30);

/// The section as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StorageSection {
    dir: Option<PathBuf>,
    retention: RetentionSection,
    pub(super) memory: Option<Bytes>,
    out_of_order_window: Option<Span>,
    series_per_target_max: Option<usize>,
    rollups: Vec<RollupSection>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RetentionSection {
    metrics: Option<Span>,
    logs: Option<Span>,
    size: Option<Bytes>,
    selectors: Vec<SelectorSection>,
}

/// Series that are kept shorter or longer than the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorSection {
    r#match: Spanned<String>,
    keep: Span,
}

/// Coarser copies of old samples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollupSection {
    resolution: Spanned<Span>,
    keep: Span,
}

impl StorageSection {
    pub(super) fn check(
        self,
        overrides: &Overrides,
        memory: &MemoryBudget,
        findings: &mut Findings<'_>,
    ) -> storage::Config {
        let mut config = storage::Config::default();
        if let Some(dir) = overrides.data_dir.clone().or(self.dir) {
            config.dir = dir;
        }
        if let Some(Span(age)) = self.retention.metrics {
            config.retention_metrics = age;
        }
        if let Some(Span(age)) = self.retention.logs {
            config.retention_logs = age;
        }
        if let Some(Span(window)) = self.out_of_order_window {
            config.out_of_order_window = window;
        }
        if let Some(series) = self.series_per_target_max {
            config.series_per_target_max = series;
        }
        for rule in self.retention.selectors {
            match query::parse_matchers(&rule.r#match.value) {
                Ok(matchers) => config.retention_rules.push((matchers, rule.keep.0)),
                Err(e) => findings.add(
                    yaml::position(rule.r#match.referenced),
                    format!("match: {e}"),
                ),
            }
        }
        for rollup in self.rollups {
            let Span(resolution) = rollup.resolution.value;
            if resolution < Duration::from_secs(1) {
                findings.add(
                    yaml::position(rollup.resolution.referenced),
                    "resolution: at least 1s, usually 5m or 1h",
                );
                continue;
            }
            config.rollups.push(storage::Rollup {
                resolution,
                retention: rollup.keep.0,
            });
        }
        config.size_bytes_max = self.retention.size.unwrap_or(SIZE_DEFAULT).0;
        config.head_bytes_max = memory.head;
        config.log_head_bytes_max = config.log_head_bytes_max.min(memory.caches / 2);
        config
    }
}
