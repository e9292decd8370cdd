//! `stackwatch alerts`: what is pending and firing, by severity of state.

use std::io::Write as _;

use clap::Args;

use super::client::{Url, get_json};
use super::query::series;
use super::{Failure, Shared};

#[derive(Args)]
pub(super) struct AlertsArgs {
    #[command(flatten)]
    url: Url,
}

pub(super) fn alerts(args: &AlertsArgs, shared: &Shared) -> Result<(), Failure> {
    let base = args.url.base(shared)?;
    let answer = get_json(&base, "/api/v1/alerts", &[])?;
    let mut alerts: Vec<_> = answer["data"]["alerts"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    alerts.sort_by_key(|a| a["state"] != "firing");
    let mut out = std::io::stdout().lock();
    if alerts.is_empty() {
        writeln!(out, "no alerts")?;
    }
    for alert in alerts {
        let text = |v: &serde_json::Value| v.as_str().unwrap_or("").to_owned();
        writeln!(
            out,
            "{:<8} since {} {}",
            text(&alert["state"]),
            text(&alert["activeAt"]),
            series(&alert["labels"])
        )?;
        for key in ["summary", "description"] {
            if let Some(annotation) = alert["annotations"][key].as_str() {
                writeln!(out, "         {annotation}")?;
            }
        }
    }
    Ok(())
}
