//! Scraping Prometheus targets: from a job's configuration to one batch per scrape.

mod bodies;
mod config;
pub mod discovery;
mod fetch;
mod headers;
mod job;
mod protobuf;
mod target;

pub use crate::tls::TlsConfig;
pub(crate) use bodies::{Bodies, Body};
pub use config::{
    Authorization, BasicAuth, Scheme, ScrapeConfig, ScrapeProtocol, Secret, StaticConfig,
};
pub(crate) use config::{bytes_option, one_at_most, parse_bytes};
pub(crate) use discovery::Discoverers;
pub(crate) use fetch::{FetchError, Fetcher, chain, read_secret};
pub use headers::HttpHeader;
pub(crate) use job::{Job, Scraper, parse_into};
pub(crate) use target::{ScrapeTarget, SeriesRules, targets};

#[cfg(test)]
mod tests;
