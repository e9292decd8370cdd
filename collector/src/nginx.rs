//! nginx's stub_status page, under the names of nginx-prometheus-exporter.
//!
//! Source: nginx.org, "Module ngx_http_stub_status_module".

use std::time::Duration;

use model::{SampleBatch, Timestamp};
use tokio::time::Instant;

use crate::exposition::Kind;
use crate::kong::HttpSourceConfig;
use crate::scrape::{Bodies, Fetcher, ScrapeConfig};
use crate::source::Source;
use crate::target::{Sink, Target};

/// Where the page is when the URL names a host only.
const PATH: &str = "/stub_status";

/// Collects from one nginx.
pub(crate) struct Nginx {
    url: String,
    timeout: Duration,
    scrape: ScrapeConfig,
    fetcher: Fetcher,
}

/// The figures of a page. Sums are since nginx was started.
#[derive(Debug, PartialEq)]
struct Page {
    active: f64,
    accepted: f64,
    handled: f64,
    requests: f64,
    reading: f64,
    writing: f64,
    waiting: f64,
}

impl Nginx {
    /// # Errors
    /// When the certificate file cannot be used.
    pub(crate) fn new(
        config: &HttpSourceConfig,
        timeout: Duration,
        bodies: &Bodies,
    ) -> Result<Nginx, String> {
        let scrape = config.scrape_config("nginx");
        Ok(Nginx {
            url: if config.url.has_no_path() {
                config.url.with_path(PATH)
            } else {
                config.url.as_str().to_owned()
            },
            timeout,
            fetcher: Fetcher::new(&scrape, bodies)?,
            scrape,
        })
    }
}

impl Source for Nginx {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let fetched = self.fetcher.fetch(&self.scrape, &self.url, self.timeout);
        let (page, reason) = match fetched.await {
            Err(e) => (Err(e.to_string()), e.reason()),
            Ok((body, _)) => {
                let page = std::str::from_utf8(&body).ok().and_then(Page::parse);
                let problem = || "the answer is not a stub_status page".to_owned();
                (page.ok_or_else(problem), "exposition")
            }
        };
        if page.is_err() {
            target.status.telemetry().scrape_failed(reason);
        }
        let mut pass = target.pass(at);
        pass.put("nginx_up", &[], f64::from(u8::from(page.is_ok())));
        if let Ok(page) = &page {
            page.put(&mut pass);
        }
        let mut collected = pass.done();
        collected.problem = page.err();
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

impl Page {
    fn parse(text: &str) -> Option<Page> {
        // Active connections: 1
        // server accepts handled requests
        //  711 711 711
        // Reading: 0 Writing: 1 Waiting: 0
        let mut lines = text.lines();
        let active = lines.next()?.strip_prefix("Active connections:")?;
        // Tengine and Angie add columns.
        lines
            .next()?
            .strip_prefix("server accepts handled requests")?;
        let mut sums = lines.next()?.split_whitespace().map(number);
        let mut states = lines.next()?.split_whitespace();
        let mut state = |name: &str| {
            states.next().filter(|word| *word == name)?;
            number(states.next()?)
        };
        Some(Page {
            active: number(active.trim())?,
            accepted: sums.next()??,
            handled: sums.next()??,
            requests: sums.next()??,
            reading: state("Reading:")?,
            writing: state("Writing:")?,
            waiting: state("Waiting:")?,
        })
    }

    fn put(&self, sink: &mut impl Sink) {
        for (name, value) in [
            ("nginx_connections_accepted", self.accepted),
            ("nginx_connections_active", self.active),
            ("nginx_connections_handled", self.handled),
            ("nginx_connections_reading", self.reading),
            ("nginx_connections_waiting", self.waiting),
            ("nginx_connections_writing", self.writing),
            ("nginx_http_requests_total", self.requests),
        ] {
            sink.put(name, &[], value);
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<u64>().ok().map(|n| n as f64)
}

/// The type of a metric whose name begins with `nginx_`.
pub(crate) fn kind(name: &str) -> Kind {
    match name {
        "nginx_connections_accepted"
        | "nginx_connections_handled"
        | "nginx_http_requests_total" => Kind::Counter,
        _ => Kind::Gauge,
    }
}

/// What a metric of nginx tells.
pub(crate) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "nginx_connections_accepted" => "Connections accepted since nginx was started.",
        "nginx_connections_active" => "Connections of clients, those that wait included.",
        "nginx_connections_handled" => {
            "Connections handled since nginx was started: those accepted, unless a limit was reached."
        }
        "nginx_connections_reading" => "Connections whose request is being read.",
        "nginx_connections_waiting" => "Idle connections that wait for a request.",
        "nginx_connections_writing" => "Connections that are being answered.",
        "nginx_http_requests_total" => "Requests since nginx was started.",
        "nginx_up" => "1 when the stub_status page could be read.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630946 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn a_page_is_read() {
        let page = Page::parse(TEXT).unwrap();
        assert_eq!(page.accepted, 16_630_948.0);
        assert_eq!(page.handled, 16_630_946.0);
        assert_eq!(page.requests, 31_070_465.0);
        let states = [page.active, page.reading, page.writing, page.waiting];
        assert_eq!(states, [291.0, 6.0, 179.0, 106.0]);
        let tengine = TEXT
            .replace("requests\n", "requests request_time\n")
            .replace("31070465 ", "31070465 99");
        assert_eq!(Page::parse(&tengine), Some(page));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "<html>",
            "Active connections: x\n",
            &TEXT[..60],
            &TEXT.replace("6 W", "-1 W"),
        ] {
            assert_eq!(Page::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_genuine_page_is_read() {
        let path = "../../shared/exporter-metrics/nginx_stub_status.txt";
        match std::fs::read_to_string(path) {
            Ok(text) => assert_eq!(Page::parse(&text).map(|p| p.requests), Some(711.0)),
            Err(_) => eprintln!("SKIPPED: {path} is not there"),
        }
    }
}
