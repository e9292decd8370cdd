//! Go text/template as rules, notifications and LogQL's `line_format` use it.
//!
//! The parser is `gotmpl`'s; the executor, its values and its function tables are ours, because
//! the templates people have call methods on lists and time, expect typed zero values for missing
//! labels, and print numbers the way Go does. Pure: no clock, no disk, every expansion is bounded.

pub mod alertmanager;
pub mod builtins;
mod check;
mod compare;
mod escape;
mod execute;
pub mod function;
pub mod kv;
pub mod loki;
mod print;
mod printf;
pub mod prometheus;
mod set;
pub mod time;
pub mod value;

pub use execute::{ExecError, Limits};
pub use function::{Function, Functions};
pub use kv::{Kv, Pair};
pub use set::{TemplateError, TemplateSet};
pub use time::{Span, Time};
pub use value::{Map, Object, Value};
