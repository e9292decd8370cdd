//! House rules that no compiler checks. Each failing rule names file and line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use stackwatch_tests::cargo;

/// Which of our crates each crate may import: the table of ARCHITECTURE.md.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("scrub", &["model"]),
    ("template", &["model"]),
    ("yaml", &[]),
    ("protobuf", &[]),
    ("tls", &[]),
    ("collector", &["model", "scrub", "yaml", "protobuf", "tls"]),
    ("storage", &["model", "scrub"]),
    ("query", &["model", "template"]),
    ("rules", &["model", "query", "template", "yaml"]),
    ("alerting", &["model", "template", "yaml", "tls"]),
    (
        "stackwatch",
        &[
            "model",
            "scrub",
            "template",
            "yaml",
            "protobuf",
            "tls",
            "collector",
            "storage",
            "query",
            "rules",
            "alerting",
        ],
    ),
];

/// Crates whose sources touch no clock, disk or socket.
const PURE: [&str; 4] = ["model", "scrub", "template", "query"];
const IMPURE_WORDS: [&str; 6] = [
    "std::fs",
    "std::net",
    "SystemTime",
    "Instant::now",
    "tokio::",
    "std::env",
];

/// A source file longer than this is asking for a noun.
const FILE_LINES_MAX: usize = 800;

pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace root")?;
    let mut findings = Vec::new();
    imports(root, &mut findings)?;
    let files = tracked(root)?;
    for file in &files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else {
            continue;
        };
        purity(file, &text, &mut findings);
        length(file, &text, &mut findings);
        links(root, file, &text, &mut findings);
        runbooks(root, file, &text, &mut findings);
    }
    decisions_are_listed(root, &files, &mut findings);
    if findings.is_empty() {
        println!("tidy: {} files, no findings", files.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} findings", findings.len());
}

/// Cargo enforces that an import has a manifest line; this compares the manifest lines with the table.
fn imports(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let out = cargo::command()
        .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&out.stdout).context("cargo metadata")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(n, _)| *n == name) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let wanted = dependency["name"].as_str().unwrap_or_default();
            let ours = MAY_IMPORT.iter().any(|(n, _)| *n == wanted);
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if ours && !for_tests && !allowed.contains(&wanted) {
                findings.push(format!(
                    "{name}/Cargo.toml: {name} may not import {wanted} (ARCHITECTURE.md)"
                ));
            }
        }
    }
    Ok(())
}

fn purity(file: &Path, text: &str, findings: &mut Vec<String>) {
    let path = file.to_string_lossy();
    let pure = PURE.iter().any(|c| path.starts_with(&format!("{c}/src/")));
    if !pure || !path.ends_with(".rs") {
        return;
    }
    // Tests at the end of a file may read fixtures.
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    for (number, line) in product.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if let Some(word) = IMPURE_WORDS.iter().find(|w| code.contains(*w)) {
            findings.push(format!(
                "{path}:{}: `{word}` in a crate without clock, disk or socket",
                number + 1
            ));
        }
    }
}

fn length(file: &Path, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if file.extension().is_some_and(|e| e == "rs") && lines > FILE_LINES_MAX {
        findings.push(format!(
            "{}: {lines} lines, more than {FILE_LINES_MAX}",
            file.display()
        ));
    }
}

/// Relative links in documents lead somewhere.
fn links(root: &Path, file: &Path, text: &str, findings: &mut Vec<String>) {
    if file.extension().is_none_or(|e| e != "md") {
        return;
    }
    let dir = root
        .join(file)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !dir.join(target).exists() {
                findings.push(format!(
                    "{}:{}: broken link {target}",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
}

/// Every shipped alert has a runbook.
fn runbooks(root: &Path, file: &Path, text: &str, findings: &mut Vec<String>) {
    if !file.starts_with("rules/packs") || file.extension().is_none_or(|e| e != "yml") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        let Some(alert) = line
            .trim_start()
            .trim_start_matches("- ")
            .strip_prefix("alert:")
        else {
            continue;
        };
        let runbook = format!("docs/runbooks/{}.md", alert.trim());
        if !root.join(&runbook).exists() {
            findings.push(format!("{}:{}: no {runbook}", file.display(), number + 1));
        }
    }
}

fn decisions_are_listed(root: &Path, files: &[PathBuf], findings: &mut Vec<String>) {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let unlisted: BTreeSet<&PathBuf> = files
        .iter()
        .filter(|f| f.starts_with("docs/decisions") && !map.contains(&*f.to_string_lossy()))
        .collect();
    findings.extend(
        unlisted
            .into_iter()
            .map(|f| format!("ARCHITECTURE.md: does not list {}", f.display())),
    );
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    if !out.status.success() {
        bail!("git ls-files failed");
    }
    Ok(String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(PathBuf::from)
        .collect())
}
