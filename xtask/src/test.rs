//! `cargo xtask test`: the machine is set up, then everything is checked, cheap first.

use anyhow::{Context, Result, bail};
use stackwatch_tests::cargo;

use crate::{machine, tidy};

const PARTS: [&str; 7] = ["fmt", "tidy", "clippy", "deny", "unit", "it", "fuzz"];
/// The version CI builds when none is installed.
const CARGO_DENY_VERSION: &str = "0.20.2";

pub(crate) fn run(args: &[String]) -> Result<()> {
    if let Some(unknown) = args.iter().find(|a| !PARTS.contains(&a.as_str())) {
        bail!("no such part: {unknown} (parts: {})", PARTS.join(" "));
    }
    if args.is_empty() || args.iter().any(|a| a != "fmt" && a != "tidy") {
        machine::install_packages()?;
    }
    for part in PARTS
        .into_iter()
        .filter(|p| args.is_empty() || args.iter().any(|a| a == p))
    {
        println!("\n== {part}");
        let started = std::time::Instant::now();
        match part {
            "fmt" => cargo(&["fmt", "--all", "--", "--check"])?,
            "tidy" => tidy::run()?,
            "clippy" => cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])?,
            "deny" => deny()?,
            "unit" => cargo(&[
                "test",
                "--locked",
                "--workspace",
                "--exclude",
                "stackwatch-tests",
            ])?,
            "it" => integration()?,
            // A few seconds each: the targets build, their seeds pass.
            _ => crate::fuzz::run(&[])?,
        }
        println!(
            "== {part} passed in {:.0} s",
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Real parts: the engine runs for the duration of the tests and is stopped if we started it.
fn integration() -> Result<()> {
    let _docker = machine::Docker::ensure()?;
    cargo(&["build", "--locked", "--package", "stackwatch"])?;
    cargo(&[
        "test",
        "--locked",
        "--package",
        "stackwatch-tests",
        "--",
        "--nocapture",
        "--test-threads=2",
    ])
}

/// Licences, sources and banned crates always; advisories where their database can be fetched.
fn deny() -> Result<()> {
    let installed = cargo::command()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !installed {
        if std::env::var_os("CI").is_none() {
            println!("SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked)");
            return Ok(());
        }
        cargo(&[
            "install",
            "cargo-deny",
            "--locked",
            "--quiet",
            "--version",
            CARGO_DENY_VERSION,
        ])?;
    }
    cargo(&[
        "deny",
        "--locked",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ])?;
    let fetched = cargo::command()
        .args(["deny", "--log-level", "off", "fetch", "db"])
        .output()?;
    if !fetched.status.success() {
        println!("SKIPPED advisories: their database cannot be fetched from here");
        return Ok(());
    }
    cargo(&[
        "deny",
        "--locked",
        "--log-level",
        "error",
        "check",
        "advisories",
    ])
}

fn cargo(args: &[&str]) -> Result<()> {
    let status = cargo::command()
        .args(args)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}
