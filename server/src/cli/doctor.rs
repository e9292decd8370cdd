//! `stackwatch doctor`: looks at everything that commonly stands in the way, and says for each thing
//! the line that would mend it. It changes nothing, sends nothing and prints no secret.

mod alerting;
mod engine;
mod machine;
mod targets;

use std::io::Write as _;

use clap::Args;
use serde_json::json;

use super::client::Url;
use super::{Failure, Shared};
use crate::app::Settings;
use crate::config::Config;

#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    url: Url,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
    /// The line that would mend it; empty when nothing is to be mended, or the text has it.
    fix: String,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(check, Level::Ok, text, "")
    }

    fn warn(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::new(check, Level::Warn, text, fix)
    }

    fn fail(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::new(check, Level::Fail, text, fix)
    }

    fn new(
        check: &'static str,
        level: Level,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            level,
            text: text.into(),
            fix: fix.into(),
        }
    }

    fn line(&self) -> String {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        let mut line = format!(
            "{:<5}{:<13}{}",
            self.level.word(),
            self.check,
            one_line(&self.text)
        );
        if !self.fix.is_empty() {
            line.push_str(" — ");
            line.push_str(&one_line(&self.fix));
        }
        line
    }
}

pub(super) fn doctor(args: &DoctorArgs, shared: &Shared) -> Result<(), Failure> {
    let settings = shared.settings()?;
    let (config, mut findings) = load(&settings)?;
    findings.extend(machine::look(&config));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    findings.extend(runtime.block_on(engine::look(&config)));
    findings.extend(runtime.block_on(alerting::look(&config)));
    let base = args
        .url
        .base(shared)
        .unwrap_or_else(|_| format!("http://{}", config.listen));
    findings.extend(targets::look(&base));
    print(&findings, args.json)?;
    let worst = findings.iter().map(|f| f.level).max();
    match worst {
        Some(Level::Fail) => Err(Failure::Reported),
        _ => Ok(()),
    }
}

/// The configuration, or the defaults where it is wrong: the rest is worth a look all the same.
fn load(settings: &Settings) -> Result<(Config, Vec<Finding>), Failure> {
    match settings.load() {
        Ok((config, rules)) => {
            let rules: usize = rules
                .iter()
                .flat_map(|f| &f.groups)
                .map(|g| g.rules.len())
                .sum();
            let file = config.file.as_ref().map(|f| f.display().to_string());
            let file = file.unwrap_or_else(|| "no file, the defaults".to_owned());
            let found = Finding::ok("config", format!("{file}; {rules} rules"));
            Ok((config, vec![found]))
        }
        Err(wrong) => {
            let findings = wrong.0.iter();
            let findings = findings.map(|d| Finding::fail("config", d.to_string(), ""));
            let mut findings: Vec<Finding> = findings.collect();
            findings.push(Finding::warn(
                "config",
                "it cannot be used: what follows is about the defaults",
                "mend it and ask again",
            ));
            let without_file = Settings {
                config_file: None,
                overrides: settings.overrides.clone(),
            };
            let (config, _) = without_file.load().map_err(Failure::from)?;
            Ok((config, findings))
        }
    }
}

fn print(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|f| json!({ "check": f.check, "status": f.level.word(), "text": f.text, "fix": f.fix }))
            .collect();
        writeln!(out, "{}", serde_json::Value::from(all))?;
        return Ok(());
    }
    for finding in findings {
        writeln!(out, "{}", finding.line())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_cure_at_the_end() {
        let found = Finding::warn("log-limits", "two\ncontainers", "max-size: 10m");
        assert_eq!(
            found.line(),
            "warn log-limits   two containers — max-size: 10m"
        );
        assert_eq!(
            Finding::ok("disk", "5GB free").line(),
            "ok   disk         5GB free"
        );
    }

    #[test]
    fn a_wrong_configuration_is_one_failure_for_each_finding() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stackwatch.yml");
        std::fs::write(&file, "collect: { intervall: 5s }\n").unwrap();
        let settings = Settings {
            config_file: Some(file),
            ..Settings::default()
        };
        let (config, findings) = load(&settings).unwrap();
        assert_eq!(findings[0].level, Level::Fail);
        assert!(
            findings[0].text.contains("interval"),
            "{}",
            findings[0].text
        );
        assert!(config.collector.docker.is_some());
    }
}
