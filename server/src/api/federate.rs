//! `GET /federate?match[]=…`: the newest sample of each matching series, for another Prometheus
//! to scrape.
//!
//! As upstream does it: samples keep their timestamps, series that ended are left out, external
//! labels are added, and a series without `instance` says so with an empty one, so that
//! `honor_labels` does not fill in ours. Native histograms have no text form: they are sent to
//! those who ask for protobuf first, as Prometheus does when it is told to scrape them.

mod accept;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::labels::{METRIC_NAME, Quoted};
use model::number::format_sprint;
use model::{
    Hints, Histogram, Labels, Matcher, ReadError, Samples, Selection, TimeRange, is_stale,
};

use accept::{Format, Names};

use super::Api;
use super::metric_metadata::MetadataTable;
use super::params::Params;
use super::prometheus::SELECTORS_MAX;
use super::reading::Reading;
use super::receive::error;
use super::workshop::Client;
use crate::wire::exposition::{Family, Kind, Value};

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
    let format = Format::accepted(&headers);
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
        let metadata = api_for_work.metadata();
        let written = match format {
            Format::Text(names) => text(&newest, external, metadata, names).into_bytes(),
            Format::Protobuf(names) => protobuf(&newest, external, metadata, names),
        };
        if written.len() > reading.answer_max {
            return Err(ReadError::Limit("the answer exceeds query.bytes_max".to_owned()).into());
        }
        Ok(written)
    });
    match worked.await {
        Ok((body, share)) => {
            let response = ([(header::CONTENT_TYPE, format.content_type())], body).into_response();
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
type Newest = BTreeMap<(String, Labels), Point>;

/// A series' newest sample; its time in milliseconds.
#[derive(Clone, Debug)]
enum Point {
    Float(i64, f64),
    Histogram(i64, Arc<Histogram>),
}

impl Point {
    fn t(&self) -> i64 {
        match self {
            Point::Float(t, _) | Point::Histogram(t, _) => *t,
        }
    }

    fn is_stale(&self) -> bool {
        is_stale(match self {
            Point::Float(_, v) => *v,
            Point::Histogram(_, h) => h.sum,
        })
    }
}

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
        let mut last: Option<Point> = None;
        loop {
            run.clear();
            if !series.cursor.next_run(&mut run)? {
                break;
            }
            let (start, end) = (range.start.millis(), range.end.millis());
            let inside = |t: i64| start <= t && t <= end;
            let float = run.floats.iter().rfind(|p| inside(p.t));
            let float = float.map(|p| Point::Float(p.t, p.v));
            let histogram = run.histograms.iter().rfind(|p| inside(p.t));
            let histogram = histogram.map(|p| Point::Histogram(p.t, Arc::clone(&p.h)));
            last = [last, float, histogram]
                .into_iter()
                .flatten()
                .max_by_key(Point::t);
        }
        if let Some(point) = last
            && !point.is_stale()
        {
            newest.insert((name.to_owned(), series.labels), point);
        }
    }
    Ok(())
}

/// The labels of a series but its name, with those of `extra` it does not have.
fn labels_with<'a>(
    labels: &'a Labels,
    extra: &'a BTreeMap<&'a str, &'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let own = labels.iter().filter(|(n, _)| *n != METRIC_NAME);
    let added = extra.iter().map(|(n, v)| (*n, *v));
    own.chain(added.filter(|(n, _)| labels.get(n).is_none()))
}

/// External labels, and the empty `instance`.
fn extra_labels(external: &Labels) -> BTreeMap<&str, &str> {
    let mut extra: BTreeMap<&str, &str> = external.iter().collect();
    extra.entry("instance").or_default();
    extra
}

/// What senders said; the parts of a histogram or summary are families of their own here.
fn kind(name: &str, metadata: &MetadataTable) -> Kind {
    match metadata.get(name).map(|m| m.kind) {
        Some("counter") => Kind::Counter,
        Some("gauge") => Kind::Gauge,
        _ => Kind::Untyped,
    }
}

fn protobuf(newest: &Newest, external: &Labels, metadata: &MetadataTable, names: Names) -> Vec<u8> {
    let extra = extra_labels(external);
    let (mut out, mut open): (Vec<u8>, Option<(&str, Kind, Family)>) = (Vec::new(), None);
    for ((name, labels), point) in newest {
        let (kind, value) = match point {
            Point::Float(_, v) => (kind(name, metadata), Value::Float(*v)),
            // The format has no list of bounds.
            Point::Histogram(_, h) if h.schema == CUSTOM_BUCKETS_SCHEMA => continue,
            Point::Histogram(_, h) => (Kind::of_histogram(h), Value::Histogram(h)),
        };
        if open
            .as_ref()
            .is_none_or(|(n, k, _)| (*n, *k) != (name, kind))
        {
            if let Some((_, _, family)) = open.take() {
                family.finish(&mut out);
            }
            let written = names.escaped(name, false);
            open = Some((name, kind, Family::new(&written, kind)));
        }
        let labels: Vec<_> = labels_with(labels, &extra)
            .map(|(n, v)| (names.escaped(n, true), v))
            .collect();
        if let Some((_, _, family)) = &mut open {
            family.push(labels.iter().map(|(n, v)| (&**n, *v)), point.t(), value);
        }
    }
    if let Some((_, _, family)) = open {
        family.finish(&mut out);
    }
    out
}

fn text(newest: &Newest, external: &Labels, metadata: &MetadataTable, names: Names) -> String {
    let extra = extra_labels(external);
    let mut out = String::new();
    let mut family = "";
    for ((name, labels), point) in newest {
        let Point::Float(t, v) = point else {
            continue;
        };
        if name != family {
            let kind = match kind(name, metadata) {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                _ => "untyped",
            };
            out.push_str("# TYPE ");
            put_name(&mut out, name, names, false);
            out.push(' ');
            out.push_str(kind);
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
        for (i, (label, value)) in labels_with(labels, &extra).enumerate() {
            if i > 0 {
                out.push(',');
            }
            put_name(&mut out, label, names, true);
            // Writing to a string does not fail.
            let _ = write!(out, "={}", Quoted(value));
        }
        let _ = writeln!(out, "}} {} {t}", format_sprint(*v));
    }
    out
}

fn put_name(out: &mut String, name: &str, names: Names, label: bool) {
    if !is_plain(name, !label) && names == Names::Utf8 {
        let _ = write!(out, "{}", Quoted(name));
    } else {
        out.push_str(&names.escaped(name, label));
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
            newest.insert((name, labels), Point::Float(1500, v));
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
    }

    #[test]
    fn protobuf_has_histograms_apart_from_floats_of_the_same_name() {
        let mut newest = Newest::new();
        let histogram = Histogram {
            count: 3.0,
            ..Histogram::default()
        };
        for (instance, point) in [
            ("a", Point::Float(1500, 1.0)),
            ("b", Point::Histogram(1600, Arc::new(histogram))),
        ] {
            let labels = Labels::from_pairs([("__name__", "a.b"), ("instance", instance)]);
            newest.insert(("a.b".to_owned(), labels), point);
        }
        let (external, metadata) = (Labels::empty(), MetadataTable::default());
        let written = protobuf(&newest, &external, &metadata, Names::Underscores);
        let mut rest = &written[..];
        let mut families = Vec::new();
        while let Some((length, family)) = rest.split_first() {
            let (family, behind) = family.split_at(usize::from(*length));
            rest = behind;
            families.push(family.to_vec());
        }
        let label = |v: u8| {
            [10, 13, 10, 8]
                .into_iter()
                .chain(*b"instance")
                .chain([18, 1, v])
        };
        let float: Vec<u8> = [10, 3]
            .into_iter()
            .chain(*b"a_b")
            .chain([24, 3, 34, 29])
            .chain(label(b'a'))
            .chain([42, 9, 9])
            .chain(1.0_f64.to_le_bytes())
            .chain([48, 0xdc, 11])
            .collect();
        assert_eq!(families[0], float);
        assert_eq!(families.len(), 2);
        // Type, and the span that says that it is a native histogram.
        assert_eq!(families[1][5..7], [24, 4]);
        let span = [98, 4, 8, 0, 16, 0];
        assert!(families[1].windows(span.len()).any(|w| w == span));
        assert_eq!(
            text(&newest, &external, &metadata, Names::Underscores),
            "# TYPE a_b untyped\na_b{instance=\"a\"} 1 1500\n"
        );
    }
}
