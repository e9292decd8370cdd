//! Lines as the programs of a small server write them.

use std::fmt::Write as _;

/// What is in the lines.
pub(crate) struct Mix {
    /// Whether clients of access lines have public addresses.
    pub(crate) public_addresses: bool,
    /// Lines of a thousand that end with something personal or secret.
    pub(crate) personal_per_mille: u32,
}

/// A generator of numbers that gives the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits)
            .map(|_| char::from(b"0123456789abcdef"[self.below(16) as usize]))
            .collect()
    }

    fn uuid(&mut self) -> String {
        let (a, b, c, d, e) = (
            self.hex(8),
            self.hex(4),
            self.hex(3),
            self.hex(4),
            self.hex(12),
        );
        format!("{a}-{b}-4{c}-{d}-{e}")
    }
}

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
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "curl/8.5.0",
    "kube-probe/1.30",
    "Go-http-client/2.0",
];
const WORDS: &[&str] = &[
    "request completed",
    "cache miss",
    "job enqueued",
    "connection established",
    "retrying upstream call",
    "session refreshed",
    "order created",
    "payment intent updated",
    "webhook delivered",
    "rendered page",
];
/// One of each kind; made up, with valid check digits.
const PERSONAL: &[&str] = &[
    "user=anna.schmidt@example.com",
    "contact jo+news@mail.example.org",
    "password=hunter2-4711",
    "card 4111 1111 1111 1111",
    "iban DE89370400440532013000",
    "Authorization: Bearer a8f3k29dk20fk39fk20d",
    "postgres://app:s3cr3tpw@db:5432/app",
    "token=9f8a7b6c5d4e3f2a1b0c",
    "phone +4915112345678",
    "jwt eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
];

/// About `bytes` of lines.
pub(crate) fn text(mix: &Mix, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut out = String::with_capacity(bytes + 1024);
    let mut second = 0_u64;
    while out.len() < bytes {
        second += numbers.below(2);
        line(&mut out, mix, second, &mut numbers);
        if numbers.below(1000) < u64::from(mix.personal_per_mille) {
            out.push(' ');
            out.push_str(numbers.of(PERSONAL));
        }
        out.push('\n');
    }
    out.into_bytes()
}

fn line(out: &mut String, mix: &Mix, second: u64, numbers: &mut Numbers) {
    let (h, m, s, ms) = (
        second / 3600 % 24,
        second / 60 % 60,
        second % 60,
        numbers.below(1000),
    );
    let epoch_ms = 1_763_800_000_000 + second * 1000 + ms;
    let request = numbers.uuid();
    let word = numbers.of(WORDS);
    let path = numbers.of(PATHS);
    let took = numbers.below(900);
    // Writing to a string cannot fail.
    let _ = match numbers.below(8) {
        0 | 1 => {
            let client = if mix.public_addresses {
                let (a, b, c) = (
                    numbers.below(250) + 1,
                    numbers.below(250) + 1,
                    numbers.below(250) + 1,
                );
                format!("93.{a}.{b}.{c}")
            } else {
                format!("172.18.0.{}", numbers.below(200) + 2)
            };
            write!(
                out,
                r#"{client} - - [22/Nov/2026:{h:02}:{m:02}:{s:02} +0000] "GET {path} HTTP/1.1" 200 {} "https://shop.example.com/" "{}" rt=0.{took:03}"#,
                numbers.below(90_000),
                numbers.of(AGENTS)
            )
        }
        2 | 3 => write!(
            out,
            r#"{{"level":30,"time":{epoch_ms},"pid":{},"hostname":"{}","reqId":"{request}","req":{{"method":"GET","url":"{path}"}},"res":{{"statusCode":200}},"responseTime":{took},"msg":"{word}"}}"#,
            numbers.below(40_000),
            numbers.hex(12)
        ),
        4 => write!(
            out,
            r#"time=2026-11-22T{h:02}:{m:02}:{s:02}.{ms:03}Z level=info component=auth request_id={request} path={path} duration={took}ns status=200 msg="{word}""#
        ),
        5 => write!(
            out,
            "2026-11-22 {h:02}:{m:02}:{s:02}.{ms:03} UTC [{}] app@shop LOG:  duration: {took}.{ms:03} ms  statement: SELECT o.id, o.total FROM orders o WHERE o.customer_id = {} AND o.created_at > now() - interval '7 days'",
            numbers.below(40_000),
            numbers.below(1_000_000)
        ),
        6 => write!(
            out,
            "2026-11-22T{h:02}:{m:02}:{s:02}.{ms:03}Z  INFO 1 --- [nio-8080-exec-{}] c.e.shop.orders.OrderController          : {word} id={request} version=3.14.{} items={}",
            numbers.below(20),
            numbers.below(30),
            numbers.below(9)
        ),
        _ => write!(
            out,
            "[2026-11-22 {h:02}:{m:02}:{s:02},{ms:03}: INFO/ForkPoolWorker-{}] Task shop.tasks.send_invoice[{request}] succeeded in 0.{took:03}{}s: None",
            numbers.below(8),
            numbers.below(1_000_000_000)
        ),
    };
}
