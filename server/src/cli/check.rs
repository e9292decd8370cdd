//! `stackwatch check config|rules|alerting|metrics FILE…`: every finding on a line of its own.

mod metrics;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Failure;
use crate::app::Settings;
use crate::config::Overrides;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// A stackwatch configuration, with the rule files it names
    Config(Files),
    /// Prometheus rule files
    Rules(Files),
    /// Alertmanager configurations
    Alerting(Files),
    /// What a target exposes, as promtool check metrics does: exit code 3 when something is found
    Metrics(metrics::MetricsArgs),
}

#[derive(Args)]
struct Files {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let (files, one): (_, fn(&Path) -> Result<String, String>) = match &args.kind {
        Kind::Config(files) => (&files.files, config),
        Kind::Rules(files) => (&files.files, rules),
        Kind::Alerting(files) => (&files.files, alerting),
        Kind::Metrics(args) => return metrics::check(args),
    };
    let mut failed = Vec::new();
    for file in files {
        match one(file) {
            Ok(what) => writeln!(std::io::stdout(), "{}: ok, {what}", file.display())?,
            Err(findings) => failed.push(findings),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    // Wrong files are what this command is there to find: exit code 2, as at the start.
    writeln!(std::io::stderr(), "{}", failed.join("\n"))?;
    Err(Failure::Usage(format!(
        "{} of {} files are wrong",
        failed.len(),
        files.len()
    )))
}

fn config(file: &Path) -> Result<String, String> {
    let settings = Settings {
        config_file: Some(file.to_owned()),
        overrides: Overrides::default(),
    };
    let (config, rules) = settings.load().map_err(|e| e.to_string())?;
    // At the start these are waited for; here they are what somebody wants to know about.
    let problems = collector::scrape::discovery::check_files(&config.collector.scrape_configs);
    if !problems.is_empty() {
        let name = file.display();
        let found: Vec<String> = problems.iter().map(|p| format!("{name}: {p}")).collect();
        return Err(found.join("\n"));
    }
    Ok(format!("{} rules", count(&rules)))
}

fn rules(file: &Path) -> Result<String, String> {
    let name = file.display().to_string();
    let text = read(file)?;
    let parsed = rules::file::parse(&name, &text).map_err(|found| lines(&found))?;
    for note in &parsed.notes {
        // A reader who has gone does not make the file wrong.
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    Ok(format!("{} rules", count(&[parsed])))
}

fn alerting(file: &Path) -> Result<String, String> {
    let name = file.display().to_string();
    let text = read(file)?;
    alerting::Config::parse(&name, &text).map_err(|found| lines(&found))?;
    Ok("alerting".to_owned())
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: cannot read: {e}", file.display()))
}

fn count(files: &[rules::RuleFile]) -> usize {
    files
        .iter()
        .flat_map(|f| &f.groups)
        .map(|g| g.rules.len())
        .sum()
}

fn lines<T: ToString>(found: &[T]) -> String {
    let lines: Vec<String> = found.iter().map(T::to_string).collect();
    lines.join("\n")
}
