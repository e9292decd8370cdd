//! `stackwatch tsdb export|import|analyze`.

mod analyze;
mod classic;
mod export;
mod import;
mod prometheus_dir;
mod text;

use clap::{Args, Subcommand};

use super::{Failure, Shared};

#[derive(Args)]
pub(super) struct TsdbArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write stored samples as OpenMetrics text
    Export(export::ExportArgs),
    /// Read OpenMetrics text, or the blocks of a Prometheus, into the data directory
    Import(import::ImportArgs),
    /// Show which metrics and labels take how much
    Analyze(analyze::AnalyzeArgs),
}

pub(super) fn tsdb(args: &TsdbArgs, shared: &Shared) -> Result<(), Failure> {
    match &args.what {
        What::Export(args) => export::export(args, shared),
        What::Import(args) => import::import(args, shared),
        What::Analyze(args) => analyze::analyze(args, shared),
    }
}
