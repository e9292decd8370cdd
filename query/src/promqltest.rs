//! Scripts that load series and check evaluations: Prometheus' own format for testing PromQL.
//!
//! `series` reads the notation of series (`up{job="x"} 1+2x3 _ stale`), which rule tests use too.

pub mod series;

mod command;
mod compare;
mod expectation;
mod nhcb;
mod pin;
mod run;
mod store;

pub use run::{Failure, Report, run};
pub use store::MemoryReader;
