//! What a scraper says it can read. Source: prometheus/common, expfmt `Negotiate`.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text(Names),
    Protobuf(Names),
}

/// How names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*` are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// As they are, for scrapers that say they can read it.
    Utf8,
    /// With `_` for each character that does not fit.
    Underscores,
}

impl Format {
    /// The one with the highest `q`, the first of equals; text for those who ask for neither.
    pub(super) fn accepted(headers: &HeaderMap) -> Format {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let mut best = (0.0, Format::Text(Names::Underscores));
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let (mut q, mut names, mut is_delimited) = (1.0, Names::Underscores, false);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => q = value.parse().unwrap_or(0.0),
                    Some(("escaping", "allow-utf-8")) => names = Names::Utf8,
                    Some(("encoding", value)) => is_delimited = value == "delimited",
                    _ => {}
                }
            }
            let format = match media_type {
                "text/plain" => Format::Text(names),
                "application/vnd.google.protobuf" if is_delimited => Format::Protobuf(names),
                _ => continue,
            };
            if q > best.0 {
                best = (q, format);
            }
        }
        best.1
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Text(Names::Utf8) => {
                "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            Format::Text(Names::Underscores) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
            }
            Format::Protobuf(Names::Utf8) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8"
            }
            Format::Protobuf(Names::Underscores) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
            }
        }
    }
}

impl Names {
    /// The name as this reader has it.
    pub(super) fn escaped(self, name: &str, label: bool) -> Cow<'_, str> {
        if self == Names::Utf8 || super::is_plain(name, !label) {
            return Cow::Borrowed(name);
        }
        let fits = |(i, c): (usize, char)| {
            let fits = c.is_ascii_alphabetic()
                || c == '_'
                || (c == ':' && !label)
                || (c.is_ascii_digit() && i > 0);
            if fits { c } else { '_' }
        };
        Cow::Owned(name.chars().enumerate().map(fits).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_asked_for_first_is_chosen() {
        let check = |accept: &str, expect: Format| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::accepted(&headers), expect, "{accept}");
        };
        let none = Format::accepted(&HeaderMap::new());
        assert_eq!(none, Format::Text(Names::Underscores));
        check("*/*", none);
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            Format::Text(Names::Utf8),
        );
        // Prometheus 2.42 with native histograms.
        let protobuf = "application/vnd.google.protobuf;\
                        proto=io.prometheus.client.MetricFamily;encoding=delimited";
        check(
            &format!(
                "{protobuf},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
            ),
            Format::Protobuf(Names::Underscores),
        );
        check(
            &format!("text/plain;version=1.0.0;q=0.5,{protobuf};q=0.4"),
            Format::Text(Names::Underscores),
        );
        check(&protobuf.replace("delimited", "text"), none);
    }
}
