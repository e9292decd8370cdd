//! The binary `stackwatch`: configuration, assembly, HTTP, command line.
//!
//! [`app`] reads in the data's order; [`config`] is read once at the edge; [`api`] is thin.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod log_metrics;
pub mod reload;
pub mod telemetry;

mod process;
mod rules_loop;
mod scrub_key;
mod wire;
