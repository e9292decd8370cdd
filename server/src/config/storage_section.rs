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
/// A shorter time to keep something is a slip: it would all go at the next start.
const KEEP_MIN: Duration = Duration::from_secs(60);
/// A smaller `storage.retention.size` is a slip: the control store has a megabyte, and with the
/// write-ahead logs of a busy hour nothing would be left for what is kept.
pub(crate) const SIZE_MIN: Bytes = Bytes(16 << 20);

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
    metrics: Option<Spanned<Span>>,
    logs: Option<Spanned<Span>>,
    size: Option<Spanned<Bytes>>,
    selectors: Vec<SelectorSection>,
}

/// Series that are kept shorter or longer than the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorSection {
    r#match: Spanned<String>,
    keep: Spanned<Span>,
}

/// Coarser copies of old samples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollupSection {
    resolution: Spanned<Span>,
    keep: Spanned<Span>,
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
        if let Some(age) = &self.retention.metrics {
            config.retention_metrics = keep("metrics", age, findings);
        }
        if let Some(age) = &self.retention.logs {
            config.retention_logs = keep("logs", age, findings);
        }
        if let Some(Span(window)) = self.out_of_order_window {
            config.out_of_order_window = window;
        }
        if let Some(series) = self.series_per_target_max {
            config.series_per_target_max = series;
        }
        for rule in self.retention.selectors {
            let age = keep("keep", &rule.keep, findings);
            match query::parse_matchers(&rule.r#match.value) {
                Ok(matchers) => config.retention_rules.push((matchers, age)),
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
            let retention = keep("keep", &rollup.keep, findings);
            config.rollups.push(storage::Rollup {
                resolution,
                retention,
            });
        }
        config.size_bytes_max = SIZE_DEFAULT.0;
        if let Some(size) = self.retention.size {
            config.size_bytes_max = size.value.0;
            if size.value < SIZE_MIN {
                findings.add(
                    yaml::position(size.referenced),
                    format!(
                        "size: {} would leave no room for anything; at least {SIZE_MIN} \
                         (leave it out for {SIZE_DEFAULT}, write a large one such as 1000TB for no bound)",
                        size.value
                    ),
                );
            }
        }
        config.head_bytes_max = memory.head;
        config.log_head_bytes_max = config.log_head_bytes_max.min(memory.caches / 2);
        config
    }
}

/// How long something is kept, as written under `key`.
fn keep(key: &str, age: &Spanned<Span>, findings: &mut Findings<'_>) -> Duration {
    let Span(duration) = age.value;
    if duration < KEEP_MIN {
        let written = model::number::format_duration(duration);
        let otherwise = match key {
            "keep" => "",
            _ => "leave it out for the default, ",
        };
        findings.add(
            yaml::position(age.referenced),
            format!(
                "{key}: {written} would remove everything at once; at least 1m \
                 ({otherwise}write a long time such as 100y to keep it for ever)"
            ),
        );
    }
    duration
}
