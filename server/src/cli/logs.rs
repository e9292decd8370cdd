//! `stackwatch logs SELECTOR`: lines, oldest first.

use std::collections::HashSet;
use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Url, get_json};
use super::{Failure, Shared};
use crate::clock;

/// Pause between two looks for new lines.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Lines may arrive this much after the instant they carry.
const FOLLOW_OVERLAP_NS: i64 = 10_000_000_000;

#[derive(Args)]
pub(super) struct LogsArgs {
    /// LogQL query for lines: '{container="web"} |= "error"'; a bare word is the name
    /// of a service or container. Labels: service_name, container, compose_project, stream, host
    selector: String,
    /// How far back
    #[arg(long, default_value = "1h")]
    since: String,
    /// Most lines, the newest ones; 5000 at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    limit: u32,
    /// Go on with new lines as they come
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    url: Url,
}

struct Line {
    at_ns: i64,
    stream: String,
    text: String,
}

pub(super) fn logs(args: &LogsArgs, shared: &Shared) -> Result<(), Failure> {
    let base = args.url.base(shared)?;
    let since = model::number::parse_duration(&args.since)
        .map_err(|e| Failure::Usage(format!("--since: {e}")))?;
    let selectors = selectors(&args.selector);
    let now = clock::wall();
    let mut start_ns = now.minus(since).nanos();
    let mut seen: HashSet<(i64, String, String)> = HashSet::new();
    let mut first = true;
    loop {
        let mut lines = Vec::new();
        for selector in &selectors {
            lines = fetch(&base, selector, start_ns, args.limit)?;
            if !lines.is_empty() {
                break;
            }
        }
        if std::mem::take(&mut first) {
            remark(&base, args, lines.len())?;
        }
        let newest = lines.last().map(|l| l.at_ns);
        let mut out = std::io::stdout().lock();
        for line in lines {
            let key = (line.at_ns, line.stream.clone(), line.text.clone());
            if seen.insert(key) {
                let at = jiff::Timestamp::from_nanosecond(line.at_ns.into()).unwrap_or_default();
                writeln!(out, "{at:.3} {} {}", line.stream, line.text)?;
            }
        }
        out.flush()?;
        drop(out);
        if !args.follow {
            return Ok(());
        }
        if let Some(newest) = newest {
            start_ns = start_ns.max(newest.saturating_sub(FOLLOW_OVERLAP_NS));
            seen.retain(|(at, _, _)| *at >= start_ns);
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// What is asked, in this order until something answers.
fn selectors(written: &str) -> Vec<String> {
    if written.contains('{') {
        return vec![written.to_owned()];
    }
    let quoted = model::labels::Quoted(written);
    vec![
        format!("{{service_name={quoted}}}"),
        format!("{{container={quoted}}}"),
    ]
}

/// Says on standard error what the lines themselves cannot: that there are none, or that there
/// are more.
fn remark(base: &str, args: &LogsArgs, found: usize) -> Result<(), Failure> {
    let mut err = std::io::stderr().lock();
    if found == args.limit as usize {
        writeln!(err, "only the newest {found} lines are shown (--limit)")?;
    }
    if found == 0 {
        let known = get_json(base, "/loki/api/v1/label/container/values", &[])?;
        let known: Vec<&str> = known["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let containers = match known.as_slice() {
            [] => "no container has logged yet".to_owned(),
            names => format!("containers with logs: {}", names.join(", ")),
        };
        writeln!(
            err,
            "no lines match {} in the last {}; {containers}",
            args.selector, args.since
        )?;
    }
    Ok(())
}

/// The newest `limit` lines from `start_ns` on, oldest first.
fn fetch(base: &str, selector: &str, start_ns: i64, limit: u32) -> Result<Vec<Line>, Failure> {
    let end_ns = clock::wall().plus(FOLLOW_INTERVAL).nanos();
    let params = [
        ("query", selector.to_owned()),
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
        ("limit", limit.to_string()),
        ("direction", "backward".to_owned()),
    ];
    let answer = get_json(base, "/loki/api/v1/query_range", &params)?;
    let mut lines = Vec::new();
    for stream in answer["data"]["result"].as_array().into_iter().flatten() {
        let name = stream_name(&stream["stream"]);
        for value in stream["values"].as_array().into_iter().flatten() {
            lines.push(Line {
                at_ns: value[0].as_str().and_then(|t| t.parse().ok()).unwrap_or(0),
                stream: name.clone(),
                text: value[1].as_str().unwrap_or("").to_owned(),
            });
        }
    }
    // Entries come newest first; a stable sort after reversing keeps the order within an instant.
    lines.reverse();
    lines.sort_by_key(|l| l.at_ns);
    Ok(lines)
}

/// The container, or what else names the stream best.
fn stream_name(labels: &Value) -> String {
    ["container", "service_name"]
        .iter()
        .find_map(|name| labels[*name].as_str())
        .map_or_else(|| super::query::series(labels), str::to_owned)
}
