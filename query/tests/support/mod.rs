//! What tests of LogQL share.

pub(crate) mod script;
pub(crate) mod store;
