//! From alert to page: routing, grouping, inhibition, silences, the notification log, the durable
//! outbox and one file per receiver. Configuration is Alertmanager's schema.
//!
//! Everything but the shell ([`alerting`]) and the receivers' I/O is pure: time is an argument,
//! decisions are values, and the shell commits them before it acts on them.

pub mod alerting;
pub mod alerts;
mod changes;
pub mod config;
mod dispatch;
mod group;
pub mod inhibit;
mod notification;
pub mod notify_log;
pub mod outbox;
mod receivers;
pub mod route;
pub mod silence;
mod telemetry;
mod templates;
pub mod view;

pub use alerting::{Alerting, Handle, OpenError, Options, check_templates};
pub use config::{Config, Diagnostic};
