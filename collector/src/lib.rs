//! Where samples and log lines come from: scraped targets, this host, the Docker engine.

pub mod engine;

pub use engine::{Engine, EngineError};
