//! The command line. Exit codes: 0 ok, 1 it did not work, 2 wrong configuration or usage,
//! 3 `check metrics` or `scrub --dry-run` found something.

mod alerts;
mod backup;
mod check;
mod client;
mod data_dir;
mod doctor;
mod health;
mod hints;
mod logs;
mod query;
mod reload;
mod run;
mod scrub;
mod tsdb;
mod version;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};
use model::Timestamp;
use tracing_subscriber::filter::LevelFilter;

use crate::api::params::parse_time;
use crate::app::{RunError, Settings};
use crate::config::expand::ProcessSurroundings;
use crate::config::{ClientConfig, ConfigError, DEFAULT_FILE, Overrides};

/// One small binary that watches a whole Docker stack.
#[derive(Parser)]
#[command(name = "stackwatch", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What most sub-commands understand.
#[derive(Args)]
struct Shared {
    /// Configuration file [default: stackwatch.yml when it is there]
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "STACKWATCH_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// Where data are stored [default: ./data]
    #[arg(long, global = true, env = "STACKWATCH_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:9090]
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "STACKWATCH_LISTEN",
        value_name = "HOST:PORT"
    )]
    listen: Option<String>,
    /// How others reach this address, for links in notifications
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "STACKWATCH_EXTERNAL_URL",
        value_name = "URL"
    )]
    external_url: Option<String>,
    /// Accept samples by remote write at /api/v1/write
    #[arg(long, global = true, env = "STACKWATCH_ENABLE_REMOTE_WRITE_RECEIVER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    enable_remote_write_receiver: bool,
    /// Accept OTLP metrics at /api/v1/otlp/v1/metrics
    #[arg(long, global = true, env = "STACKWATCH_ENABLE_OTLP_RECEIVER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    enable_otlp_receiver: bool,
    /// Allow deletion and snapshots at /api/v1/admin/tsdb
    #[arg(long, global = true, env = "STACKWATCH_ENABLE_ADMIN_API", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    enable_admin_api: bool,
    /// error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        env = "STACKWATCH_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: LevelFilter,
}

#[derive(Subcommand)]
enum Command {
    /// Watch, store, evaluate, notify (what happens without a sub-command)
    Run,
    /// Check files without running anything
    Check(check::CheckArgs),
    /// Ask a running stackwatch a PromQL query
    Query(query::QueryArgs),
    /// Show log lines of a running stackwatch
    Logs(logs::LogsArgs),
    /// Show the alerts of a running stackwatch
    Alerts(alerts::AlertsArgs),
    /// Show what the scrubber makes of a file or of standard input
    Scrub(scrub::ScrubArgs),
    /// Have a running stackwatch read its configuration again (as SIGHUP does)
    Reload(reload::ReloadArgs),
    /// Exit 0 when a running stackwatch is healthy, else 1 (for container health checks)
    Health(health::HealthArgs),
    /// Copy the data directory, also while stackwatch runs
    Backup(backup::BackupArgs),
    /// Fill an empty data directory from a backup
    Restore(backup::RestoreArgs),
    /// Export, import and analyse stored samples
    Tsdb(tsdb::TsdbArgs),
    /// Look at everything that commonly stands in the way, and say what would mend it
    Doctor(doctor::DoctorArgs),
    /// Print the version
    Version,
}

/// Why a sub-command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Exit code 1.
    #[error("{0}")]
    Other(String),
    /// The findings have been printed; exit code 1.
    #[error("")]
    Reported,
    /// The same with exit code 3, which is promtool's for `check metrics`.
    #[error("")]
    Found,
}

impl Failure {
    fn other(error: impl std::fmt::Display) -> Self {
        Failure::Other(error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Config(e) => Failure::Usage(e.to_string()),
            other => Failure::Other(other.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

/// A closed pipe (`| head`) is no failure worth a message.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Failure::Reported
        } else {
            Failure::Other(error.to_string())
        }
    }
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|e| hints::add(e).exit());
    let done = match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(&cli.shared),
        Command::Check(args) => check::check(&args),
        Command::Query(args) => query::query(&args, &cli.shared),
        Command::Logs(args) => logs::logs(&args, &cli.shared),
        Command::Alerts(args) => alerts::alerts(&args, &cli.shared),
        Command::Scrub(args) => scrub::scrub(&args, &cli.shared),
        Command::Reload(args) => reload::reload(&args, &cli.shared),
        Command::Health(args) => health::health(&args, &cli.shared),
        Command::Backup(args) => backup::backup(&args, &cli.shared),
        Command::Restore(args) => backup::restore(&args, &cli.shared),
        Command::Tsdb(args) => tsdb::tsdb(&args, &cli.shared),
        Command::Doctor(args) => doctor::doctor(&args, &cli.shared),
        Command::Version => version::version(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // With nowhere to complain to, the exit code has to do.
                let _ = writeln!(std::io::stderr(), "stackwatch: {text}");
            }
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                Failure::Found => ExitCode::from(3),
                Failure::Other(_) | Failure::Reported => ExitCode::FAILURE,
            }
        }
    }
}

/// The instant that `flag` says.
fn instant(flag: &str, text: &str) -> Result<Timestamp, Failure> {
    parse_time(text).map_err(|_| {
        Failure::Usage(format!(
            "--{flag}: {text:?} is no instant: write it as RFC 3339, such as \
             2026-11-01T00:00:00Z, or as seconds since the epoch, such as 1793491200"
        ))
    })
}

impl Shared {
    /// The configuration file. One that was named must exist; the default one may not.
    fn config_file(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.config {
            Some(named) if !named.exists() => Err(Failure::Usage(format!(
                "{}: no such configuration file",
                named.display()
            ))),
            Some(named) => Ok(Some(named.clone())),
            None => Ok(Some(PathBuf::from(DEFAULT_FILE)).filter(|f| f.exists())),
        }
    }

    /// What a sub-command beside a running stackwatch needs of the configuration.
    fn client_config(&self) -> Result<ClientConfig, Failure> {
        let file = self.config_file()?;
        Ok(ClientConfig::load(file.as_deref(), &ProcessSurroundings)?)
    }

    /// Where the configuration comes from.
    fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings {
            config_file: self.config_file()?,
            overrides: Overrides {
                listen: self.listen.clone(),
                data_dir: self.data_dir.clone(),
                external_url: self.external_url.clone(),
                remote_write_receiver: self.enable_remote_write_receiver,
                otlp_receiver: self.enable_otlp_receiver,
                admin_api: self.enable_admin_api,
            },
        })
    }
}
