//! Our own metrics, read like any target's exposition, without the detour over HTTP.

use std::sync::Arc;

use model::{SampleBatch, Timestamp};
use tokio::time::Instant;

use crate::exposition::Format;
use crate::scrape::{ScrapeConfig, SeriesRules, parse_into};
use crate::source::Source;
use crate::target::Target;

/// Gives the text of our own `/metrics`.
pub(crate) type Expose = Arc<dyn Fn() -> String + Send + Sync>;

/// Collects our own metrics.
pub(crate) struct SelfMetrics {
    expose: Expose,
    config: ScrapeConfig,
}

impl SelfMetrics {
    pub(crate) fn new(expose: Expose) -> SelfMetrics {
        SelfMetrics {
            expose,
            config: ScrapeConfig::new("stackwatch"),
        }
    }
}

impl Source for SelfMetrics {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let text = (self.expose)();
        // The client library writes OpenMetrics, which ends with a mark.
        let format = if text.ends_with("# EOF\n") {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        };
        let mut pass = target.pass(at);
        let rules = SeriesRules {
            config: &self.config,
            relabel: &[],
            target: pass.target_labels(),
        };
        match parse_into(&mut pass, text.as_bytes(), format, &rules) {
            Ok(()) => {
                let collected = pass.done();
                target.finish(at, started.elapsed(), Ok(collected))
            }
            Err(e) => target.finish(at, started.elapsed(), Err(&e.to_string())),
        }
    }
}
