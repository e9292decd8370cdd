//! `cargo xtask fuzz`: build the fuzz targets with coverage counters and run them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use stackwatch_tests::cargo;

/// How long CI runs each target: long enough to replay the seeds and try some thousand mutations.
const SECONDS_DEFAULT: u64 = 5;
/// Longest input tried, in bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// One input may take so long, in seconds; a hang is a finding.
const INPUT_SECONDS_MAX: u64 = 20;
const MEMORY_MB_MAX: u64 = 2048;
/// The counters libFuzzer reads. The stable compiler passes these on to LLVM.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

pub(crate) fn run(args: &[String]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace root")?;
    let all = targets(root)?;
    let (chosen, seconds) = match args {
        [] => (all.clone(), SECONDS_DEFAULT),
        [target] => (vec![target.clone()], SECONDS_DEFAULT),
        [target, seconds, ..] => (vec![target.clone()], seconds.parse().context("SECONDS")?),
    };
    if let Some(unknown) = chosen.iter().find(|t| !all.contains(t)) {
        bail!("no such target: {unknown} (targets: {})", all.join(" "));
    }
    let triple = host_triple()?;
    let mut build = cargo::command();
    build
        .args(["build", "--locked", "--release", "--manifest-path"])
        .arg(root.join("fuzz/Cargo.toml"))
        .args(["--target", &triple, "--target-dir"])
        .arg(root.join("target/fuzz"))
        .env("RUSTFLAGS", COVERAGE);
    for target in &chosen {
        build.args(["--bin", target]);
    }
    if !build.status()?.success() {
        bail!("the fuzz targets do not build");
    }
    for target in &chosen {
        let corpus = root.join("target/fuzz/corpus").join(target);
        let artifacts = root.join("target/fuzz/artifacts").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        seed(root, target, &corpus)?;
        println!("\n== fuzz {target} for {seconds} s");
        let status = Command::new(
            root.join("target/fuzz")
                .join(&triple)
                .join("release")
                .join(target),
        )
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .status()
        .with_context(|| format!("start {target}"))?;
        if !status.success() {
            bail!("{target} found something: see {}", artifacts.display());
        }
    }
    Ok(())
}

/// The names of all targets: the files of `fuzz/targets`.
fn targets(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("fuzz/targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(path.file_stem().map(|s| s.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Writes the inputs of `fuzz/seeds/TARGET.txt` into the corpus: one per paragraph, or per line
/// when there are no paragraphs; and those of `TARGET.hex`, one per line.
fn seed(root: &Path, target: &str, corpus: &Path) -> Result<()> {
    let hex = fs::read_to_string(root.join(format!("fuzz/seeds/{target}.hex")));
    for (i, line) in hex.unwrap_or_default().lines().enumerate() {
        let digits = line.as_bytes().chunks(2);
        let bytes: Result<Vec<u8>> = digits
            .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
            .collect();
        let bytes = bytes.with_context(|| format!("line {} of {target}.hex", i + 1))?;
        fs::write(corpus.join(format!("seed-hex-{i:03}")), bytes)?;
    }
    let Ok(text) = fs::read_to_string(root.join(format!("fuzz/seeds/{target}.txt"))) else {
        return Ok(());
    };
    let separator = if text.contains("\n\n") { "\n\n" } else { "\n" };
    for (i, input) in text.trim_end().split(separator).enumerate() {
        fs::write(corpus.join(format!("seed-{i:03}")), input)?;
    }
    Ok(())
}

/// With a target named, flags are kept from build scripts and macros.
fn host_triple() -> Result<String> {
    let out = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(out.stdout)?;
    text.lines()
        .find_map(|l| l.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}
