//! Samples from elsewhere.

pub mod prometheus;
