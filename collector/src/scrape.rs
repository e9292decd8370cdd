//! Scraping Prometheus targets.

mod config;

pub use config::{
    Authorization, BasicAuth, Scheme, ScrapeConfig, ScrapeProtocol, Secret, StaticConfig, TlsConfig,
};
