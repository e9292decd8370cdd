//! Lines as seven programs of a small server write them, the same ones each time.

use std::fmt::Write as _;

/// Instants of one stream are this far apart on average, exponentially.
const GAP_NS: f64 = 24e6;
/// Lines of a thousand that end with something personal.
const PERSONAL_PER_MILLE: u64 = 10;

/// A stream's program and its name.
pub(crate) const STREAMS: [&str; 7] = [
    "nginx", "api", "auth", "postgres", "orders", "worker", "redis",
];

const PATHS: &[&str] = &[
    "/",
    "/api/v1/orders",
    "/api/v1/orders/8291/items",
    "/rest/v1/profiles?select=id,name&limit=50",
    "/_next/static/chunks/main-4f2a9c1d.js",
    "/auth/v1/user",
    "/storage/v1/object/public/img/logo.png",
    "/healthz",
    "/static/css/app.3fa85f64.css",
    "/search?q=garden+chair&page=2&sort=price",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "kube-probe/1.30",
];
const WORDS: &[&str] = &[
    "request completed",
    "cache miss, fetching from upstream",
    "job enqueued",
    "connection established",
    "session refreshed",
    "order created",
    "payment intent updated",
    "webhook delivered",
];
const FAILURES: &[&str] = &[
    "error: upstream timed out",
    "error: connection refused by peer",
    "unexpected error while reading the response",
];
const CLASSES: &[&str] = &[
    "c.e.shop.orders.OrderController",
    "c.e.shop.orders.StockService",
    "o.s.web.servlet.DispatcherServlet",
    "com.zaxxer.hikari.pool.HikariPool",
];
const TASKS: &[&str] = &[
    "shop.tasks.send_confirmation",
    "shop.tasks.resize_image",
    "shop.tasks.sync_inventory",
];
const STATEMENTS: &[&str] = &[
    r#"SELECT "id", "email", "created_at" FROM "users" WHERE "id" = $1 LIMIT 1"#,
    r#"UPDATE "orders" SET "state" = $1, "updated_at" = now() WHERE "id" = $2"#,
    r#"INSERT INTO "order_items" ("order_id", "product_id") VALUES ($1, $2)"#,
];
const REDIS: &[&str] = &[
    "10 changes in 300 seconds. Saving...",
    "Background saving started by pid",
    "DB saved on disk",
    "Background saving terminated with success",
    "Fork CoW for RDB: current 1 MB, peak 1 MB, average 0 MB",
];
/// Made up, with valid check digits.
const PERSONAL: &[&str] = &[
    "user=anna.schmidt@example.com",
    "password=hunter2-4711",
    "card 4111 1111 1111 1111",
    "iban DE89370400440532013000",
    "Authorization: Bearer a8f3k29dk20fk39fk20d",
    "postgres://app:s3cr3tpw@db:5432/app",
];

/// Makes lines of all streams in the order of time.
pub(crate) struct Lines {
    state: u64,
    next_ns: [i64; STREAMS.len()],
}

/// A line's stream, instant and level; the text is in the buffer it was written to.
pub(crate) struct Made {
    pub(crate) stream: usize,
    pub(crate) at_ns: i64,
    pub(crate) level: &'static str,
}

impl Lines {
    pub(crate) fn new(start_ns: i64) -> Lines {
        Lines {
            state: 0x9e37_79b9_7f4a_7c15,
            next_ns: [start_ns; STREAMS.len()],
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len() as u64) as usize]
    }

    fn hex(&mut self, out: &mut String, digits: usize) {
        for _ in 0..digits {
            out.push(char::from(b"0123456789abcdef"[self.below(16) as usize]));
        }
    }

    fn uuid(&mut self) -> String {
        let mut out = String::with_capacity(36);
        for (i, digits) in [8, 4, 3, 4, 12].into_iter().enumerate() {
            out.push_str(["", "-", "-4", "-", "-"][i]);
            self.hex(&mut out, digits);
        }
        out
    }

    /// Writes the next line into `out`, which is emptied first.
    pub(crate) fn next_into(&mut self, out: &mut String) -> Made {
        out.clear();
        let times = self.next_ns.iter().enumerate();
        let stream = times.min_by_key(|(_, at)| **at).map_or(0, |(i, _)| i);
        let at_ns = self.next_ns[stream];
        let uniform = (self.next() as f64 + 1.0) / (1_u64 << 53) as f64;
        self.next_ns[stream] += (-uniform.ln() * GAP_NS) as i64 + 1;
        let level = match self.below(100) {
            0..3 => "error",
            3..8 => "warn",
            _ => "info",
        };
        self.text(stream, at_ns, level, out);
        if self.below(1000) < PERSONAL_PER_MILLE {
            out.push(' ');
            out.push_str(self.of(PERSONAL));
        }
        Made {
            stream,
            at_ns,
            level,
        }
    }

    fn text(&mut self, stream: usize, at_ns: i64, level: &'static str, out: &mut String) {
        let ms = at_ns / 1_000_000;
        let (h, m, s) = (ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60);
        let epoch_ms = ms;
        let ms = ms % 1000;
        let message = match level {
            "error" => self.of(FAILURES),
            _ => self.of(WORDS),
        };
        let path = self.of(PATHS);
        let took = self.below(900);
        let upper = match level {
            "error" => "ERROR",
            "warn" => "WARN",
            _ => "INFO",
        };
        // Writing to a string cannot fail.
        let _ = match stream {
            0 => {
                let (a, b, agent) = (self.below(4), self.below(250), self.of(AGENTS));
                let (status, bytes) =
                    (if level == "error" { 502 } else { 200 }, self.below(90_000));
                let mut id = String::new();
                self.hex(&mut id, 32);
                write!(
                    out,
                    r#"10.0.{a}.{b} - - [20/Nov/2026:{h:02}:{m:02}:{s:02} +0000] "GET {path} HTTP/1.1" {status} {bytes} "-" "{agent}" rt=0.{took:03} id={id}"#
                )
            }
            1 => {
                let (id, number) = (
                    self.uuid(),
                    ["30", "40", "50"]
                        [usize::from(level == "warn") + 2 * usize::from(level == "error")],
                );
                let (status, user) = (
                    if level == "error" { 500 } else { 200 },
                    self.below(100_000),
                );
                write!(
                    out,
                    r#"{{"level":{number},"time":{epoch_ms},"pid":18,"hostname":"f3a9c1d20b7e","reqId":"{id}","req":{{"method":"GET","url":"{path}"}},"userId":{user},"res":{{"statusCode":{status}}},"responseTime":{took},"msg":"{message}"}}"#
                )
            }
            2 => {
                let id = self.uuid();
                let nanos = self.below(900_000_000);
                write!(
                    out,
                    r#"time=2026-11-20T{h:02}:{m:02}:{s:02}.{ms:03}Z level={level} component=auth request_id={id} path={path} duration={nanos}ns status=200 msg="{message}""#
                )
            }
            3 => {
                let (pid, micros, statement) =
                    (self.below(200) + 40, self.below(1000), self.of(STATEMENTS));
                let kind = if level == "error" { "ERROR" } else { "LOG" };
                let mut trace = String::new();
                self.hex(&mut trace, 26);
                write!(
                    out,
                    r#"2026-11-20 {h:02}:{m:02}:{s:02}.{ms:03} UTC [{pid}] app@shop {kind}:  duration: {took}.{micros:03} ms  execute S_{}: {statement} /* {trace} */"#,
                    pid % 7
                )
            }
            4 => {
                let (thread, class, order) =
                    (self.below(32), self.of(CLASSES), self.below(1_000_000_000));
                let mut trace = String::new();
                self.hex(&mut trace, 20);
                write!(
                    out,
                    "2026-11-20T{h:02}:{m:02}:{s:02}.{ms:03}Z {upper:>5} 1 --- [nio-8080-exec-{thread}] {class} : [trace={trace}] order {order} {message} after {took} ms"
                )
            }
            5 => {
                let (pool, task, id, micros) = (
                    self.below(8),
                    self.of(TASKS),
                    self.uuid(),
                    self.below(1_000_000),
                );
                let end = match level {
                    "error" => "raised unexpected error: TimeoutError('timed out')",
                    _ => "succeeded",
                };
                write!(
                    out,
                    "[2026-11-20 {h:02}:{m:02}:{s:02},{ms:03}: {upper}/ForkPoolWorker-{pool}] Task {task}[{id}] {end} in 0.{micros:06}s: {{'queue': 'default', 'retries': 0}}"
                )
            }
            _ => {
                let (what, number) = (self.of(REDIS), self.below(100_000));
                let mut run = String::new();
                self.hex(&mut run, 16);
                let sign = if level == "error" { "# error" } else { "*" };
                write!(
                    out,
                    "1:M 20 Nov 2026 {h:02}:{m:02}:{s:02}.{ms:03} {sign} {what} {number} run={run}"
                )
            }
        };
    }
}
