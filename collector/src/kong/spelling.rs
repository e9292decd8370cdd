//! Kong 2's names offered under Kong 3's too, so that one dashboard serves both.
//!
//! What Kong 2 does not know stays away: `source`, `workspace`, `node_id` and `consumer`. Its
//! requests per consumer are a part of its requests, so they keep their own name.

use model::LabelsBuilder;
use model::labels::METRIC_NAME;

use crate::exposition::{Format, Item, Kind, ParseError, Parser, series};
use crate::metadata::Said;
use crate::scrape::SeriesRules;
use crate::target::Pass;

/// Separates a key of ours from one of the exposition, which has no control characters.
const MARK: char = '\u{1}';

/// Adds what Kong 3 would call each series of an exposition of Kong 2.
///
/// # Errors
/// The first malformed line, which the caller has met before.
pub(super) fn put(
    body: &[u8],
    format: Format,
    rules: &SeriesRules<'_>,
    pass: &mut Pass<'_>,
) -> Result<(), ParseError> {
    let mut parser = Parser::new(body, format)?;
    let mut is_old = false;
    while let Some(item) = parser.next() {
        let Item::Sample(sample) = item? else {
            continue;
        };
        if !OLD.iter().any(|old| sample.series.starts_with(old)) {
            continue;
        }
        is_old = true;
        let key = format!("{MARK}{}", sample.series);
        let make = || match modern(series::parse(sample.series)?) {
            Some(labels) => rules.resolve(labels),
            None => Ok(None),
        };
        pass.add(&key, None, false, sample.value, make)
            .map_err(|message: String| parser.error(message))?;
    }
    for name in NEW.iter().filter(|_| is_old) {
        pass.describe(&Said {
            name,
            kind: super::kind(name),
            help: super::help(name),
            plain_help: false,
            unit: "",
        });
    }
    Ok(())
}

/// Beginnings of the series that have another name in Kong 3.
const OLD: [&str; 6] = [
    "kong_http_status{",
    "kong_bandwidth{",
    "kong_latency_bucket{",
    "kong_latency_sum{",
    "kong_latency_count{",
    "kong_nginx_http_current_connections{",
];

/// The families they are in there.
const NEW: [&str; 7] = [
    "kong_bandwidth_bytes",
    "kong_http_requests_total",
    "kong_kong_latency_ms",
    "kong_nginx_connections_total",
    "kong_nginx_requests_total",
    "kong_request_latency_ms",
    "kong_upstream_latency_ms",
];

/// Name and labels in Kong 3; `None` of what it does not have.
fn modern(mut labels: LabelsBuilder) -> Option<LabelsBuilder> {
    let own = |labels: &LabelsBuilder, name: &str| labels.get(name).unwrap_or("").to_owned();
    let name = match own(&labels, METRIC_NAME).as_str() {
        "kong_http_status" => "kong_http_requests_total".to_owned(),
        "kong_bandwidth" => {
            let direction = own(&labels, "type");
            labels.set("type", "").set("direction", direction);
            "kong_bandwidth_bytes".to_owned()
        }
        "kong_nginx_http_current_connections" => {
            labels.set("subsystem", "http");
            if labels.get("state") == Some("total") {
                labels.set("state", "");
                "kong_nginx_requests_total".to_owned()
            } else {
                "kong_nginx_connections_total".to_owned()
            }
        }
        latency => {
            let part = latency.strip_prefix("kong_latency_")?.to_owned();
            let kind = own(&labels, "type");
            if !matches!(kind.as_str(), "request" | "kong" | "upstream") {
                return None;
            }
            labels.set("type", "");
            series::normalise(Kind::Histogram, &mut labels);
            format!("kong_{kind}_latency_ms_{part}")
        }
    };
    labels.set(METRIC_NAME, name);
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_kong_2_has_one_in_kong_3() {
        let check = |old: &str, expect: &str| {
            let labels = modern(series::parse(old).unwrap());
            let shown = labels.map_or("-".to_owned(), |l| l.build().to_string());
            assert_eq!(shown, expect, "{old}");
        };
        check(
            r#"kong_http_status{service="s",route="r",code="200"}"#,
            r#"kong_http_requests_total{code="200", route="r", service="s"}"#,
        );
        check(
            r#"kong_bandwidth{service="s",route="r",type="egress"}"#,
            r#"kong_bandwidth_bytes{direction="egress", route="r", service="s"}"#,
        );
        check(
            r#"kong_latency_bucket{service="s",type="upstream",le="50"}"#,
            r#"kong_upstream_latency_ms_bucket{le="50.0", service="s"}"#,
        );
        check(
            r#"kong_latency_count{service="s",type="request"}"#,
            r#"kong_request_latency_ms_count{service="s"}"#,
        );
        check(r#"kong_latency_sum{type="other"}"#, "-");
        check(
            r#"kong_nginx_http_current_connections{state="active"}"#,
            r#"kong_nginx_connections_total{state="active", subsystem="http"}"#,
        );
        check(
            r#"kong_nginx_http_current_connections{state="total"}"#,
            r#"kong_nginx_requests_total{subsystem="http"}"#,
        );
    }
}
