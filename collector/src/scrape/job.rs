//! A job at work: fetch, parse, resolve, hand on.

use std::sync::Arc;

use model::{SampleBatch, Timestamp};
use tokio::runtime::RuntimeFlavor;
use tokio::time::Instant;

use super::fetch::Fetcher;
use super::{Bodies, ScrapeConfig, ScrapeTarget, SeriesRules, protobuf};
use crate::exposition::{Encoding, Format, Item, Kind, ParseError, Parser, series};
use crate::metadata::Said;
use crate::relabel::Relabel;
use crate::source::Source;
use crate::target::{Pass, Target};

/// Samples of one scrape unless the job sets a limit: more than a server of this size has room
/// for (the store's head holds some 130,000 series), so only a broken target reaches it.
const SAMPLES_MAX: usize = 100_000;
/// Lines with a sample in one scrape for each that is kept: those that relabelling drops are
/// remembered too.
const SCRAPED_PER_SAMPLE: usize = 10;
/// Bytes of labels of new series in one scrape for each sample it may have. Real ones have 50 to 300.
const LABEL_BYTES_PER_SAMPLE: usize = 512;
/// A larger exposition is parsed aside, so that others are scraped meanwhile.
const PARSED_ASIDE_BYTES: usize = 256 << 10;

/// What the targets of one job share.
pub(crate) struct Job {
    pub(crate) config: ScrapeConfig,
    pub(crate) relabel: Vec<Relabel>,
    metric_relabel: Vec<Relabel>,
    fetcher: Fetcher,
}

impl Job {
    /// # Errors
    /// What [`ScrapeConfig::check`] would have found, or an unusable certificate file.
    pub(crate) fn new(config: &ScrapeConfig, bodies: &Bodies) -> Result<Job, String> {
        let list = |rules| Relabel::list(rules).map_err(|e| e.to_string());
        Ok(Job {
            relabel: list(&config.relabel_configs)?,
            metric_relabel: list(&config.metric_relabel_configs)?,
            fetcher: Fetcher::new(config, bodies)?,
            config: config.clone(),
        })
    }
}

/// Scrapes one target.
pub(crate) struct Scraper {
    job: Arc<Job>,
    spec: ScrapeTarget,
    /// Set when the job has more targets than it may: each scrape then fails with this.
    refused: Option<String>,
}

impl Scraper {
    pub(crate) fn new(job: Arc<Job>, spec: ScrapeTarget, refused: Option<String>) -> Scraper {
        Scraper { job, spec, refused }
    }
}

impl Source for Scraper {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        if let Some(refused) = &self.refused {
            return target.finish(at, started.elapsed(), Err(refused));
        }
        let job = &*self.job;
        let fetched = job
            .fetcher
            .fetch(&job.config, &self.spec.url, self.spec.timeout)
            .await;
        let telemetry = target.status.clone();
        let failed = |reason| telemetry.telemetry().scrape_failed(reason);
        let (body, encoding) = match fetched {
            Ok(fetched) => fetched,
            Err(e) => {
                failed(e.reason());
                return target.finish(at, started.elapsed(), Err(&e.to_string()));
            }
        };
        // The body keeps its claim until its samples are parsed. What waits behind that for the store
        // is SAMPLES_MAX samples of 24 bytes at most; their labels are the cache's.
        let mut pass = target.pass(at);
        let rules = SeriesRules {
            config: &job.config,
            relabel: &job.metric_relabel,
            target: pass.target_labels(),
        };
        let parsed = aside(body.len(), || match encoding {
            Encoding::Text(format) => {
                parse_into(&mut pass, &body, format, &rules).map_err(|e| e.to_string())
            }
            Encoding::Protobuf => protobuf::parse_into(&mut pass, &body, &rules),
        });
        match parsed {
            Ok(()) => {
                let collected = pass.done();
                target.finish(at, started.elapsed(), Ok(collected))
            }
            Err(e) => {
                failed("exposition");
                target.finish(at, started.elapsed(), Err(&e))
            }
        }
    }
}

/// Runs `work` on what may take long, where the runtime has other threads for the rest.
fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|h| h.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) if bytes > PARSED_ASIDE_BYTES => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

/// What one scrape may have.
pub(super) struct Limits {
    /// Samples that are kept.
    samples: usize,
    /// Samples, those that relabelling drops included.
    scraped: usize,
    /// Bytes of labels of new series.
    label_bytes: usize,
}

impl Limits {
    pub(super) fn of(config: &ScrapeConfig) -> Limits {
        let samples = match config.sample_limit {
            0 => SAMPLES_MAX,
            limit => limit,
        };
        // A limit below the usual one is about what is kept, not about what it may cost to get there.
        let most = samples.max(SAMPLES_MAX);
        Limits {
            samples,
            scraped: most.saturating_mul(SCRAPED_PER_SAMPLE),
            label_bytes: most.saturating_mul(LABEL_BYTES_PER_SAMPLE),
        }
    }

    /// Which one a pass exceeds.
    pub(super) fn exceeded(&self, pass: &Pass<'_>) -> Option<String> {
        if pass.kept > self.samples {
            return Some(format!("sample limit exceeded ({})", self.samples));
        }
        if pass.scraped > self.scraped {
            let max = self.scraped;
            return Some(format!("more than {max} samples, those dropped included"));
        }
        (pass.new_label_bytes > self.label_bytes).then(|| {
            let max = self.label_bytes;
            format!("the labels of all series have more than {max} bytes")
        })
    }
}

/// Parses an exposition in text into a pass.
///
/// # Errors
/// The first line that is malformed or exceeds a limit; the pass is then worthless.
pub(crate) fn parse_into(
    pass: &mut Pass<'_>,
    body: &[u8],
    format: Format,
    rules: &SeriesRules<'_>,
) -> Result<(), ParseError> {
    let config = rules.config;
    let limits = Limits::of(config);
    let mut parser = Parser::new(body, format)?;
    let (mut family, mut kind) = ("", Kind::Unknown);
    let mut said = Said::default();
    while let Some(item) = parser.next() {
        let item = item?;
        if let Item::Type { family: f, .. }
        | Item::Help { family: f, .. }
        | Item::Unit { family: f, .. } = item
            && f != said.name
        {
            describe(pass, said);
            said = Said {
                name: f,
                ..Said::default()
            };
        }
        let sample = match item {
            Item::Type { family: f, kind: k } => {
                (family, kind) = (f, k);
                said.kind = k;
                continue;
            }
            Item::Help { text, .. } => {
                said.help = text;
                continue;
            }
            Item::Unit { unit, .. } => {
                said.unit = unit;
                continue;
            }
            Item::Sample(sample) => sample,
        };
        let own_time = sample
            .timestamp_ms
            .filter(|_| config.honor_timestamps)
            .map(Timestamp::from_millis);
        let make = || {
            let mut labels = series::parse(sample.series)?;
            if labels
                .get("__name__")
                .is_some_and(|n| n.starts_with(family))
            {
                series::normalise(kind, &mut labels);
            }
            rules.resolve(labels)
        };
        pass.add(
            sample.series,
            own_time,
            config.track_timestamps_staleness,
            sample.value,
            make,
        )
        .map_err(|message: String| parser.error(message))?;
        if let Some(why) = limits.exceeded(pass) {
            return Err(parser.error(why));
        }
    }
    describe(pass, said);
    Ok(())
}

fn describe(pass: &Pass<'_>, said: Said<'_>) {
    if !said.name.is_empty() {
        pass.describe(&said);
    }
}
