//! `stackwatch tsdb analyze`: cardinality, churn and bytes, from a running stackwatch or from its
//! directory.

use std::io::Write;

use clap::Args;
use model::{ReadBounds, TimeRange, Timestamp};
use serde_json::Value;
use storage::LeftOut;

use crate::api::analysis::{LINES_DEFAULT, LINES_MAX, WINDOW_DEFAULT, shown};
use crate::cli::backup::size;
use crate::cli::client::{Url, get_json};
use crate::cli::data_dir::{self, DataDir};
use crate::cli::{Failure, Shared, instant};
use crate::clock;

#[derive(Args)]
pub(super) struct AnalyzeArgs {
    /// Start of the window, RFC 3339 or seconds since the epoch [default: a day before its end]
    #[arg(long)]
    start: Option<String>,
    /// End of the window [default: now]
    #[arg(long)]
    end: Option<String>,
    /// Lines of each list
    #[arg(long, default_value_t = LINES_DEFAULT)]
    limit: usize,
    #[command(flatten)]
    url: Url,
}

pub(super) fn analyze(args: &AnalyzeArgs, shared: &Shared) -> Result<(), Failure> {
    let time = |name: &str, text: &Option<String>, default| match text {
        None => Ok(default),
        Some(text) => instant(name, text),
    };
    let end = time("end", &args.end, clock::wall())?;
    let start = time("start", &args.start, end.minus(WINDOW_DEFAULT))?;
    let limit = args.limit.clamp(1, LINES_MAX);
    // Without --url the directory decides: nobody uses it, or the running stackwatch is asked.
    let idle = match args.url.is_given() {
        true => DataDir::InUse,
        false => data_dir::open(&shared.data_dir()?)?,
    };
    let (analysis, losses) = match idle {
        DataDir::Idle(storage) => {
            let analysis =
                storage.analyze(TimeRange::new(start, end), limit, &ReadBounds::default());
            let losses = storage.losses();
            storage.close().map_err(Failure::other)?;
            (shown(&analysis.map_err(Failure::other)?), losses)
        }
        DataDir::InUse => {
            let params = [
                ("start", start.to_string()),
                ("end", end.to_string()),
                ("limit", limit.to_string()),
            ];
            let base = args.url.base(shared)?;
            let mut answer = get_json(&base, "/api/v1/status/tsdb/analysis", &params)?;
            // Of another one's directory /health tells.
            let losses = match args.url.is_given() {
                true => Vec::new(),
                false => LeftOut::of(&shared.data_dir()?).lines,
            };
            (answer["data"].take(), losses)
        }
    };
    print(&analysis, &mut std::io::stdout().lock())?;
    data_dir::report(&losses, &mut std::io::stderr().lock())
}

fn print(analysis: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let number = |v: &Value| v.as_u64().unwrap_or(0);
    let sum = |key: &str| number(&analysis[key]);
    let (Some(min), Some(max)) = (analysis["minTime"].as_i64(), analysis["maxTime"].as_i64())
    else {
        return writeln!(out, "no samples in the window");
    };
    let at = |t| clock::rfc3339(Timestamp::from_millis(t));
    writeln!(out, "{} to {}", at(min), at(max))?;
    writeln!(
        out,
        "{} series, {} samples, {} label pairs",
        sum("series"),
        sum("samples"),
        sum("labelPairs")
    )?;
    writeln!(
        out,
        "blocks: {}, {} bytes a sample with timestamps and index; roll-ups: {}",
        size(sum("blockBytes")),
        ratio(sum("blockBytes"), sum("samplesOnDisk")),
        size(sum("rollupBytes")),
    )?;
    if analysis["partial"].as_bool() == Some(true) {
        writeln!(
            out,
            "more series than can be told apart: counts of series are too low"
        )?;
    }
    let share = |part: u64, of: &str| match sum(of) {
        0 => String::new(),
        all => format!("{:.1}%", 100.0 * part as f64 / all as f64),
    };
    let heads = [
        (
            "metricsBySeries",
            "Metrics by series (what dropping one would save)",
        ),
        ("metricsByBytes", "Metrics by bytes of their values on disk"),
        (
            "metricsByChurn",
            "Metrics by series created and ended in the window",
        ),
    ];
    for (key, head) in heads {
        let mut rows = vec![row([
            "series", "share", "samples", "bytes", "B/sample", "created", "ended", "metric",
        ])];
        for m in analysis[key].as_array().into_iter().flatten() {
            let bytes = number(&m["bytes"]);
            rows.push(vec![
                number(&m["series"]).to_string(),
                share(number(&m["series"]), "series"),
                number(&m["samples"]).to_string(),
                size(bytes),
                ratio(bytes, number(&m["samplesOnDisk"])),
                number(&m["created"]).to_string(),
                number(&m["ended"]).to_string(),
                m["name"].as_str().unwrap_or("").to_owned(),
            ]);
        }
        table(out, head, &rows)?;
    }
    let mut rows = vec![row(["values", "bytes", "series", "without it", "label"])];
    for l in analysis["labelsByValues"].as_array().into_iter().flatten() {
        rows.push(vec![
            number(&l["values"]).to_string(),
            size(number(&l["valueBytes"])),
            number(&l["series"]).to_string(),
            format!("~{}", number(&l["seriesWithout"])),
            l["name"].as_str().unwrap_or("").to_owned(),
        ]);
    }
    table(
        out,
        "Labels by values (series left if the label were dropped)",
        &rows,
    )?;
    let mut rows = vec![row(["series", "pair"])];
    for p in analysis["pairsBySeries"].as_array().into_iter().flatten() {
        let pair = format!(
            "{}={}",
            p["name"].as_str().unwrap_or(""),
            model::labels::Quoted(p["value"].as_str().unwrap_or(""))
        );
        rows.push(vec![number(&p["series"]).to_string(), pair]);
    }
    table(out, "Pairs of label and value by series", &rows)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|c| (*c).to_owned()).collect()
}

/// Right-aligned columns, the last one as it is. Nothing when there is only the heading.
fn table(out: &mut dyn Write, head: &str, rows: &[Vec<String>]) -> std::io::Result<()> {
    if rows.len() < 2 {
        return Ok(());
    }
    writeln!(out, "\n{head}")?;
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(columns.saturating_sub(1)) {
            write!(out, "{cell:>width$}  ")?;
        }
        writeln!(out, "{}", row.last().map_or("", String::as_str))?;
    }
    Ok(())
}

fn ratio(bytes: u64, samples: u64) -> String {
    match samples {
        0 => "-".to_owned(),
        n => format!("{:.2}", bytes as f64 / n as f64),
    }
}
