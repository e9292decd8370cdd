//! `stackwatch query EXPR`.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::client::{Url, get_json};
use super::{Failure, Shared};
use crate::clock;

#[derive(Args)]
pub(super) struct QueryArgs {
    /// PromQL expression
    expr: String,
    /// Instant, RFC 3339 or seconds since the epoch [default: now]
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// Start of a range, likewise
    #[arg(long)]
    start: Option<String>,
    /// End of a range [default: now]
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// Step of a range
    #[arg(long, default_value = "1m")]
    step: String,
    #[command(flatten)]
    url: Url,
}

pub(super) fn query(args: &QueryArgs, shared: &Shared) -> Result<(), Failure> {
    let base = args.url.base(shared)?;
    let mut params = vec![("query", args.expr.clone())];
    let path = match &args.start {
        Some(start) => {
            let end = args.end.clone();
            params.extend([
                ("start", start.clone()),
                ("end", end.unwrap_or_else(|| clock::wall().to_string())),
                ("step", args.step.clone()),
            ]);
            "/api/v1/query_range"
        }
        None => {
            params.extend(args.time.clone().map(|t| ("time", t)));
            "/api/v1/query"
        }
    };
    let answer = get_json(&base, path, &params)?;
    for kind in ["warnings", "infos"] {
        for text in answer[kind].as_array().into_iter().flatten() {
            writeln!(std::io::stderr(), "{}", text.as_str().unwrap_or(""))?;
        }
    }
    print(&answer["data"]).map_err(Failure::from)
}

fn print(data: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let result = &data["result"];
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    match data["resultType"].as_str() {
        Some("scalar" | "string") => writeln!(out, "{}", text(&result[1]))?,
        Some("vector") => {
            for one in result.as_array().into_iter().flatten() {
                let shown = match &one["histogram"] {
                    Value::Null => text(&one["value"][1]),
                    histogram => histogram[1].to_string(),
                };
                writeln!(out, "{} {shown}", series(&one["metric"]))?;
            }
        }
        _ => {
            for one in result.as_array().into_iter().flatten() {
                writeln!(out, "{}", series(&one["metric"]))?;
                for point in one["values"].as_array().into_iter().flatten() {
                    writeln!(out, "  {} {}", point[0], text(&point[1]))?;
                }
                for point in one["histograms"].as_array().into_iter().flatten() {
                    writeln!(out, "  {} {}", point[0], point[1])?;
                }
            }
        }
    }
    Ok(())
}

/// Labels as PromQL writes them.
pub(super) fn series(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let labels = model::Labels::from_pairs(pairs.map(|(n, v)| (n, v.as_str().unwrap_or(""))));
    labels.to_string()
}
