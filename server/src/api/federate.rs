//! `GET /federate?match[]=…`: the newest sample of each matching series, for another Prometheus
//! to scrape.
//!
//! As upstream does it: samples keep their timestamps, series that ended are left out, external
//! labels are added, and a series without `instance` says so with an empty one, so that
//! `honor_labels` does not fill in ours. Native histograms have no text form and are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::labels::Quoted;
use model::number::format_sprint;
use model::{FPoint, Hints, Labels, Matcher, ReadError, Samples, Selection, TimeRange, is_stale};

use super::Api;
use super::metric_metadata::MetadataTable;
use super::params::Params;
use super::prometheus::SELECTORS_MAX;
use super::reading::Reading;
use super::receive::error;
use super::workshop::Client;

/// How old the newest sample may be: the lookback of a query.
const LOOKBACK: std::time::Duration = std::time::Duration::from_secs(300);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/federate", get(federate))
}

async fn federate(
    State(api): State<Api>,
    client: Client,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let sets = match federated(&params) {
        Ok(sets) => sets,
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    let names = Names::accepted(&headers);
    let now = api.now();
    let range = TimeRange::new(now.minus(LOOKBACK), now);
    let config = api.config();
    let (api_for_work, timeout) = (api.clone(), config.query.timeout.0);
    let worked = api.read(&client, timeout, move |reading| {
        let mut newest = BTreeMap::new();
        for matchers in &sets {
            collect(reading, matchers, range, &mut newest)?;
        }
        let external = &config.rules.external_labels;
        let written = text(&newest, external, api_for_work.metadata(), names);
        if written.len() > reading.answer_max {
            return Err(ReadError::Limit("the answer exceeds query.bytes_max".to_owned()).into());
        }
        Ok(written)
    });
    match worked.await {
        Ok((body, share)) => {
            let response = ([(header::CONTENT_TYPE, names.content_type())], body).into_response();
            match share {
                Some(share) => response.map(|body| share.held_by(body)),
                None => response,
            }
        }
        Err(failure) => error(failure.status(), failure.message),
    }
}

/// The selectors, each once.
fn federated(params: &Params) -> Result<Vec<Vec<Matcher>>, String> {
    let distinct: BTreeSet<&str> = params.all("match[]").collect();
    if distinct.len() > SELECTORS_MAX {
        return Err(format!("more than {SELECTORS_MAX} selectors in match[]"));
    }
    let parse = |text| query::parse_matchers(text).map_err(|e| e.to_string());
    distinct.into_iter().map(parse).collect()
}

/// By metric name and labels, each series once.
type Newest = BTreeMap<(String, Labels), FPoint>;

fn collect(
    reading: &Reading,
    matchers: &[Matcher],
    range: TimeRange,
    newest: &mut Newest,
) -> Result<(), ReadError> {
    let selection = Selection {
        range,
        matchers,
        hints: Hints::default(),
    };
    let mut run = Samples::default();
    for mut series in reading.series().select(&selection)? {
        if reading.cancel.load(Ordering::Relaxed) {
            return Err(ReadError::Canceled);
        }
        let name = series.labels.metric_name();
        if name.is_empty() {
            continue;
        }
        let mut last: Option<FPoint> = None;
        let mut last_histogram = i64::MIN;
        loop {
            run.clear();
            if !series.cursor.next_run(&mut run)? {
                break;
            }
            let (start, end) = (range.start.millis(), range.end.millis());
            let inside = |t: i64| start <= t && t <= end;
            last = run.floats.iter().rfind(|p| inside(p.t)).copied().or(last);
            let histogram = run.histograms.iter().rfind(|p| inside(p.t));
            last_histogram = histogram.map_or(last_histogram, |p| p.t);
        }
        if let Some(point) = last
            && point.t >= last_histogram
            && !is_stale(point.v)
        {
            newest.insert((name.to_owned(), series.labels), point);
        }
    }
    Ok(())
}

/// How names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*` are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Between quotes, for scrapers that say they can read it.
    Utf8,
    /// With `_` for each character that does not fit.
    Underscores,
}

impl Names {
    fn accepted(headers: &HeaderMap) -> Names {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let utf8 = accept.unwrap_or_default().split(',').any(|format| {
            let mut parts = format.split(';').map(str::trim);
            let text = parts.next() == Some("text/plain");
            text && parts.any(|p| p == "escaping=allow-utf-8")
        });
        if utf8 {
            Names::Utf8
        } else {
            Names::Underscores
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Names::Utf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Names::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }
}

fn text(newest: &Newest, external: &Labels, metadata: &MetadataTable, names: Names) -> String {
    let mut extra: BTreeMap<&str, &str> = external.iter().collect();
    extra.entry("instance").or_default();
    let mut out = String::new();
    let mut family = "";
    for ((name, labels), point) in newest {
        if name != family {
            // The parts of a histogram or summary are families of their own here.
            let kind = metadata.get(name).map(|m| m.kind);
            let kind = kind.filter(|k| matches!(*k, "counter" | "gauge"));
            out.push_str("# TYPE ");
            put_name(&mut out, name, names, false);
            out.push(' ');
            out.push_str(kind.unwrap_or("untyped"));
            out.push('\n');
            family = name;
        }
        let quoted = names == Names::Utf8 && !is_plain(name, true);
        if !quoted {
            put_name(&mut out, name, names, false);
        }
        out.push('{');
        if quoted {
            let _ = write!(out, "{},", Quoted(name));
        }
        let own = labels
            .iter()
            .filter(|(n, _)| *n != model::labels::METRIC_NAME);
        let added = extra
            .iter()
            .map(|(n, v)| (*n, *v))
            .filter(|(n, _)| labels.get(n).is_none());
        for (i, (label, value)) in own.chain(added).enumerate() {
            if i > 0 {
                out.push(',');
            }
            put_name(&mut out, label, names, true);
            // Writing to a string does not fail.
            let _ = write!(out, "={}", Quoted(value));
        }
        let _ = writeln!(out, "}} {} {}", format_sprint(point.v), point.t);
    }
    out
}

fn put_name(out: &mut String, name: &str, names: Names, label: bool) {
    if is_plain(name, !label) {
        out.push_str(name);
    } else if names == Names::Utf8 {
        let _ = write!(out, "{}", Quoted(name));
    } else {
        for (i, c) in name.chars().enumerate() {
            let fits = c.is_ascii_alphabetic()
                || c == '_'
                || (c == ':' && !label)
                || (c.is_ascii_digit() && i > 0);
            out.push(if fits { c } else { '_' });
        }
    }
}

fn is_plain(name: &str, colon: bool) -> bool {
    name.bytes().enumerate().all(|(i, b)| {
        b.is_ascii_alphabetic()
            || b == b'_'
            || (b == b':' && colon)
            || (b.is_ascii_digit() && i > 0)
    }) && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: Names) -> String {
        let mut newest = Newest::new();
        for (labels, v) in [
            (&[("__name__", "up"), ("job", "b")][..], 1.0),
            (
                &[("__name__", "up"), ("instance", "i"), ("job", "a\"\n")],
                f64::INFINITY,
            ),
            (
                &[("__name__", "http.requests"), ("a.b", "c"), ("site", "own")],
                12345678.5,
            ),
        ] {
            let labels = Labels::from_pairs(labels.iter().copied());
            let name = labels.metric_name().to_owned();
            newest.insert((name, labels), FPoint { t: 1500, v });
        }
        let metadata = MetadataTable::default();
        metadata.put("up", "gauge", "", "");
        let external = Labels::from_pairs([("site", "here")]);
        text(&newest, &external, &metadata, names)
    }

    #[test]
    fn families_have_types_and_samples_have_external_labels_and_timestamps() {
        assert_eq!(
            written(Names::Underscores),
            "# TYPE http_requests untyped\n\
             http_requests{a_b=\"c\",site=\"own\",instance=\"\"} 1.23456785e+07 1500\n\
             # TYPE up gauge\n\
             up{instance=\"i\",job=\"a\\\"\\n\",site=\"here\"} +Inf 1500\n\
             up{job=\"b\",instance=\"\",site=\"here\"} 1 1500\n"
        );
    }

    #[test]
    fn names_of_any_kind_are_quoted_for_those_who_can_read_them() {
        assert!(written(Names::Utf8).starts_with(
            "# TYPE \"http.requests\" untyped\n{\"http.requests\",\"a.b\"=\"c\",site=\"own\","
        ));
        let mut headers = HeaderMap::new();
        assert_eq!(Names::accepted(&headers), Names::Underscores);
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2";
        headers.insert(header::ACCEPT, prometheus_3.parse().unwrap());
        assert_eq!(Names::accepted(&headers), Names::Utf8);
    }
}
