//! Rule files, their evaluation, and the shipped packs.
//!
//! The file format and the state machine are Prometheus'. What differs: the state of every alert
//! is durable, so a restart neither forgets a firing alert nor starts its `for` again.
//! Synchronous and clock-free: [`Group::eval`] is told what time it is; the loop lives in `server`.

pub mod file;
pub mod packs;

mod alert_rule;
mod alert_state;
mod environment;
mod expr;
mod group;
mod groups;
mod recording_rule;
mod schedule;
mod status;
mod telemetry;

pub use environment::Environment;
pub use expr::{Mixed, RuleExpr};
pub use file::{Diagnostic, RuleFile};
pub use group::{EvalReport, Group};
pub use groups::{GroupDefaults, Groups};
pub use status::{AlertState, AlertStatus, GroupStatus, Health, RuleKind, RuleStatus};
