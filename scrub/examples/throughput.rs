//! Scrubs generated log lines and prints MB/s of CPU time per kind of line and in all.
//! `cargo run --release -p scrub --example throughput [MEGABYTES]`

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::time::Instant;

use scrub::Scrubber;

/// Forms of lines as common services write them; `#` becomes a digit, `%` a hexadecimal digit.
const FORMS: [(&str, &str); 8] = [
    (
        "nginx",
        r#"10.0.#.## - - [21/Nov/2026:09:1#:#3 +0000] "GET /api/v1/items/#####?page=#&sort=desc HTTP/1.1" 200 ####5 "https://app.example.org/items" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36""#,
    ),
    (
        "pino",
        r#"{"level":30,"time":17########123,"pid":1#,"hostname":"%%%%%%%%%%%%","reqId":"%%%%%%%%-%%%%-4%%%-a%%%-%%%%%%%%%%%%","res":{"statusCode":200},"responseTime":#.########,"msg":"request completed"}"#,
    ),
    (
        "logfmt",
        r#"ts=2026-11-21T09:1#:##.###Z level=info caller=handler.go:1## msg="handled request" method=GET path=/v1/users/##### status=200 duration=#.###ms trace_id=%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"#,
    ),
    (
        "postgres",
        r"2026-11-21 09:1#:##.### UTC [1###] LOG:  duration: ##.### ms  execute <unnamed>: SELECT id, name FROM items WHERE owner_id = $1 ORDER BY created_at LIMIT 50",
    ),
    (
        "spring",
        r"2026-11-21T09:1#:##.###Z  INFO 1 --- [nio-8080-exec-#] c.e.shop.order.OrderController          : Order ###### accepted, total ##.## EUR",
    ),
    (
        "celery",
        r"[2026-11-21 09:1#:##,###: INFO/ForkPoolWorker-#] Task app.tasks.refresh[%%%%%%%%-%%%%-4%%%-b%%%-%%%%%%%%%%%%] succeeded in 0.0#########s: None",
    ),
    (
        "redis",
        r"1:M 21 Nov 2026 09:1#:##.### * Background saving started by pid ####",
    ),
    (
        "finds",
        r#"level=warn msg="login failed" user=bob#@example.com password=hunter### ip=10.0.#.# token=%%%%%%%%%%%%%%%%"#,
    ),
];

fn main() {
    let megabytes: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(64);
    let scrubber = Scrubber::default();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut mixed = Vec::new();
    for (name, form) in FORMS {
        let lines = lines(form, megabytes * 1_000_000 / 16, &mut seed);
        report(name, &scrubber, &lines);
        // One line in a hundred has finds.
        let keep = if name == "finds" {
            lines.len() / 12
        } else {
            lines.len()
        };
        mixed.extend(lines.into_iter().take(keep));
    }
    report("mixed", &scrubber, &mixed);
    for (detector, count) in scrubber.counts() {
        println!("{detector}: {count}");
    }
}

fn report(name: &str, scrubber: &Scrubber, lines: &[String]) {
    let bytes: usize = lines.iter().map(String::len).sum();
    let begin = Instant::now();
    let kept: usize = lines
        .iter()
        .map(|line| scrubber.line(line.as_bytes()).len())
        .sum();
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{name}: {:.0} MB/s ({} lines, {bytes} -> {kept} bytes)",
        bytes as f64 / 1e6 / seconds,
        lines.len()
    );
}

fn lines(form: &str, bytes: usize, seed: &mut u64) -> Vec<String> {
    let mut random = |below: u64| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % below
    };
    (0..bytes / form.len())
        .map(|_| {
            form.chars()
                .map(|c| match c {
                    '#' => char::from_digit(random(10) as u32, 10).unwrap_or(c),
                    '%' => char::from_digit(random(16) as u32, 16).unwrap_or(c),
                    _ => c,
                })
                .collect()
        })
        .collect()
}
