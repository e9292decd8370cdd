//! Builds started from within something that cargo runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo without what an outer cargo tells its children about a package: build scripts that
/// watch these variables (ring's does) would be run again, and all behind them compiled again,
/// each time a build is started here and at a prompt in turn.
#[must_use]
pub fn command() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];
        if told.iter().any(|t| name.to_string_lossy().starts_with(t)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The binary that `STACKWATCH_BINARY` names, or a fresh release build; absolute.
///
/// # Errors
/// It does not build.
pub fn release_binary() -> std::io::Result<PathBuf> {
    if let Some(given) = std::env::var_os("STACKWATCH_BINARY") {
        return Path::new(&given).canonicalize();
    }
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let built = command()
        .args(["build", "--release", "--package", "stackwatch"])
        .args(["--manifest-path", manifest])
        .status()?;
    if !built.success() {
        return Err(std::io::Error::other("the release build failed"));
    }
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/release/stackwatch"
    ))
    .canonicalize()
}
