//! A target with every kind of metric, native histograms included for those who ask for them.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stackwatch_tests::http::read_head;
use stackwatch_tests::protobuf::Message;

/// Answers until it is dropped.
pub(crate) struct Exporter {
    address: String,
    stopped: Arc<AtomicBool>,
}

impl Exporter {
    pub(crate) fn start() -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stopped = Arc::new(AtomicBool::new(false));
        let (over, scrapes) = (Arc::clone(&stopped), AtomicU64::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let Ok(clone) = stream.try_clone() else {
                    continue;
                };
                let Ok((_, headers)) = read_head(&mut BufReader::new(clone)) else {
                    continue;
                };
                let wants = headers.iter().any(|(name, value)| {
                    name == "accept" && value.starts_with("application/vnd.google.protobuf")
                });
                let n = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
                let (content_type, body) = match wants {
                    true => (
                        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                        protobuf(n),
                    ),
                    false => ("text/plain; version=0.0.4", text(n).into_bytes()),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Exporter { address, stopped }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(&self.address);
    }
}

fn text(n: u64) -> String {
    format!(
        "# HELP wire_scrapes_total How often.\n# TYPE wire_scrapes_total counter\n\
         wire_scrapes_total{{path=\"a\\\\b\\\"c\"}} {n}\n\
         # TYPE wire_level gauge\nwire_level -{n}.1\nwire_level{{kind=\"none\"}} NaN\n"
    )
}

fn protobuf(n: u64) -> Vec<u8> {
    let family = |name: &str, kind: u64, metrics: Vec<Message>| {
        let family = Message::new().bytes(1, name).varint(3, kind);
        metrics
            .into_iter()
            .fold(family, |family, metric| family.message(4, metric))
            .delimited()
    };
    let label = |name: &str, value: &str| {
        let pair = Message::new().bytes(1, name).bytes(2, value);
        Message::new().message(1, pair)
    };
    let value = |v: f64| Message::new().double(1, v);
    let span = |offset, length: u64| Message::new().sint(1, offset).varint(2, length);
    let whole = Message::new()
        .varint(1, 3 * n + 2)
        .double(2, 1.5 * n as f64)
        .sint(5, 2)
        .double(6, 0.25)
        .varint(7, 2_u64)
        .message(12, span(-1, 2))
        .sints(13, &[2 * n as i64, -(n as i64)]);
    let float = Message::new()
        .double(4, 1.5 * n as f64)
        .double(2, -0.5)
        .sint(5, 0)
        .double(6, 1e-9)
        .double(8, 0.5 * n as f64)
        .message(9, span(3, 1))
        .doubles(11, &[n as f64]);
    [
        family(
            "wire_scrapes_total",
            0,
            vec![label("path", "a\\b\"c").message(3, value(n as f64))],
        ),
        family(
            "wire_level",
            1,
            vec![
                Message::new().message(2, value(-(n as f64) - 0.1)),
                label("kind", "none").message(2, value(f64::NAN)),
            ],
        ),
        family("wire_whole", 4, vec![Message::new().message(7, whole)]),
        family("wire_float", 4, vec![label("zone", "é").message(7, float)]),
    ]
    .concat()
}
