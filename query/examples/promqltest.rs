//! Runs PromQL test scripts: `promqltest [-v] PATH…`, where a path is a file or a folder of
//! `*.test` files. Exit code 1 when anything fails. `-v` tells what and why.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut verbose = false;
    let mut files = Vec::new();
    for arg in std::env::args_os().skip(1) {
        if arg == "-v" {
            verbose = true;
        } else {
            collect(Path::new(&arg), &mut files)?;
        }
    }
    let mut out = io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let report = query::promqltest::run(&std::fs::read_to_string(&file)?);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if verbose {
            for f in &report.failures {
                writeln!(out, "{name}:{}: {}\n    {}", f.line, f.query, f.reason)?;
            }
        }
        writeln!(
            out,
            "{name}: {} passed, {} failed",
            report.passed,
            report.failures.len()
        )?;
        passed += report.passed;
        failed += report.failures.len();
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|e| e == "test") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
