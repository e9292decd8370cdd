//! The stackwatch binary.
fn main() {}
