//! The reader of scripts.

use model::{Direction, Labels, Timestamp};
use query::logql::{self, Expr, Limits, LogQuery, Value};

use super::store::Lines;

const SECOND: i64 = 1_000_000_000;

/// The outcome of each evaluation with its line.
pub(crate) fn run(text: &str) -> Vec<(usize, Result<(), String>)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match (trimmed.strip_prefix('…'), lines.last_mut()) {
            (Some(more), Some((_, before))) => {
                before.push('\n');
                before.push_str(more);
            }
            _ => lines.push((i + 1, line.trim_end().to_owned())),
        }
    }
    let mut store = Lines::default();
    let mut outcomes = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (number, head) = lines[at].clone();
        let mut body = Vec::new();
        at += 1;
        while at < lines.len() && lines[at].1.starts_with(' ') {
            body.push(lines[at].1.clone());
            at += 1;
        }
        match head.split_once(' ').map_or(head.as_str(), |(word, _)| word) {
            "clear" => store = Lines::default(),
            "load" => load(&mut store, &body),
            "eval" => outcomes.push((number, eval(&store, &head[5..], &body))),
            "fail" => outcomes.push((number, fail(&store, &head[5..], &body))),
            other => panic!("line {number}: what is {other}?"),
        }
    }
    outcomes
}

fn load(store: &mut Lines, body: &[String]) {
    let (mut stream, mut metadata) = (Labels::empty(), Labels::empty());
    for line in body {
        let line = line.trim();
        if line.starts_with('{') {
            let (labels, more) = line.split_once(" | ").unwrap_or((line, ""));
            stream = labels_of(labels);
            metadata = labels_of(&format!("{{{more}}}"));
        } else {
            let (at, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            store.push(&stream, &metadata, nanos(at), &string_of(text.trim()).0);
        }
    }
}

fn labels_of(text: &str) -> Labels {
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
    let mut pairs = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').expect("name=");
        let (value, next) = string_of(after);
        pairs.push((name.trim().to_owned(), value));
        rest = next.trim_start().trim_start_matches(',').trim_start();
    }
    pairs.sort();
    Labels::from_sorted(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
}

/// The quoted text at the start, and the rest.
fn string_of(text: &str) -> (String, &str) {
    let quote = text.chars().next().unwrap_or(' ');
    let mut escaped = false;
    let end = text[1..]
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && *c == quote;
            escaped = quote == '"' && *c == '\\' && !escaped;
            ends
        })
        .map_or_else(|| panic!("no text: {text}"), |(i, _)| i + 2);
    let bytes = query::promql::quote::unquote(&text[..end]).expect("escapes");
    (String::from_utf8(bytes).expect("text"), &text[end..])
}

fn nanos(text: &str) -> i64 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |t| (-1, t));
    if let Some(ns) = text.strip_suffix("ns") {
        return sign * ns.parse::<i64>().expect("nanoseconds");
    }
    let duration = model::number::parse_duration(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    sign * duration.as_nanos() as i64
}

/// What a command says before its query.
struct Command {
    kind: String,
    at: i64,
    from: i64,
    to: i64,
    step: i64,
    log: LogQuery,
    is_ordered: bool,
    query: String,
}

/// Takes the next word off `rest`.
fn word<'t>(rest: &mut &'t str) -> &'t str {
    let trimmed = rest.trim_start();
    let (word, after) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
    *rest = after;
    word
}

fn command(text: &str) -> Command {
    let mut rest = text;
    let mut command = Command {
        kind: word(&mut rest).to_owned(),
        at: 0,
        from: 0,
        to: 0,
        step: 0,
        log: LogQuery {
            start_ns: 0,
            end_ns: 0,
            limit: 100,
            direction: Direction::Backward,
            interval_ns: 0,
            categorize: false,
        },
        is_ordered: false,
        query: String::new(),
    };
    loop {
        command.query = rest.trim().to_owned();
        match word(&mut rest) {
            "at" => command.at = nanos(word(&mut rest)),
            "from" => command.from = nanos(word(&mut rest)),
            "to" => command.to = nanos(word(&mut rest)),
            "step" => command.step = nanos(word(&mut rest)),
            "interval" => command.log.interval_ns = nanos(word(&mut rest)),
            "limit" => command.log.limit = word(&mut rest).parse().expect("limit"),
            "forward" => command.log.direction = Direction::Forward,
            "categorize" => command.log.categorize = true,
            "ordered" => command.is_ordered = true,
            _ => break,
        }
    }
    command.log.start_ns = command.from;
    command.log.end_ns = command.to;
    command
}

fn evaluate(store: &Lines, command: &Command) -> Result<Value, String> {
    let expr = logql::parse(&command.query).map_err(|e| e.to_string())?;
    // What is printed must be understood as the same.
    let printed = expr.to_string();
    for shown in [printed.clone(), logql::pretty(&expr)] {
        let again = logql::parse(&shown).map_err(|e| format!("printed as {shown}: {e}"))?;
        if again.to_string() != printed {
            return Err(format!("{printed} printed again as {again}"));
        }
    }
    let limits = Limits::default();
    let done = match (&expr, command.kind.as_str()) {
        (Expr::Metric(e), "instant") => logql::eval::instant(e, store, command.at, &limits),
        (Expr::Metric(e), "range") => {
            let window = (command.from, command.to);
            logql::eval::range(e, store, window, command.step, &limits)
        }
        (Expr::Log(e), "logs") => {
            let now = Timestamp::from_millis(command.to / 1_000_000);
            logql::eval::log_query(e, store, &command.log, now, &limits)
        }
        _ => return Err(format!("{} cannot be evaluated as {}", expr, command.kind)),
    };
    let done = done.map_err(|e| e.to_string())?;
    if !done.warnings.is_empty() {
        return Err(done.warnings.join("; "));
    }
    Ok(done.value)
}

fn fail(store: &Lines, head: &str, body: &[String]) -> Result<(), String> {
    let command = command(head);
    match evaluate(store, &command) {
        Ok(value) => Err(format!("{} gave {value:?}", command.query)),
        Err(error) => {
            let missing: Vec<&str> = body
                .iter()
                .map(|line| line.trim())
                .filter(|part| !error.contains(part))
                .collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!(
                    "{}\n  failed with {error}\n  not {missing:?}",
                    command.query
                ))
            }
        }
    }
}

fn eval(store: &Lines, head: &str, body: &[String]) -> Result<(), String> {
    let command = command(head);
    let value = evaluate(store, &command).map_err(|e| format!("{}: {e}", command.query))?;
    let mut got = shown(&value, &command);
    let mut wanted: Vec<String> = body.iter().map(|line| expected(line)).collect();
    if !command.is_ordered && command.kind != "logs" {
        got.sort();
        wanted.sort();
    }
    if got == wanted {
        return Ok(());
    }
    Err(format!(
        "{}\n  got:\n    {}\n  wanted:\n    {}",
        command.query,
        got.join("\n    "),
        wanted.join("\n    ")
    ))
}

/// Numbers to eleven digits.
fn number(value: f64) -> String {
    let text = format!("{value:.10e}");
    if value == 0.0 { "0".to_owned() } else { text }
}

fn shown(value: &Value, command: &Command) -> Vec<String> {
    match value {
        Value::Scalar(v) => vec![format!("scalar {}", number(*v))],
        Value::Vector(list) => list
            .iter()
            .map(|(labels, v)| format!("{labels} {}", number(*v)))
            .collect(),
        Value::Matrix(list) => list
            .iter()
            .map(|series| {
                let mut out = series.labels.to_string();
                let mut at = command.from;
                while at <= command.to {
                    let point = series
                        .points
                        .iter()
                        .find(|(t, _)| t.millis() == at / 1_000_000);
                    let text = point.map_or_else(|| "_".to_owned(), |(_, v)| number(*v));
                    out.push(' ');
                    out.push_str(&text);
                    at += command.step;
                }
                out
            })
            .collect(),
        Value::Streams(list) => list
            .iter()
            .flat_map(|stream| {
                let entries = stream.entries.iter().map(|e| {
                    let mut text =
                        format!("{}.{:09} {:?}", e.at_ns / SECOND, e.at_ns % SECOND, e.line);
                    if command.log.categorize {
                        text.push_str(&format!(" {} {}", e.metadata, e.parsed));
                    }
                    text
                });
                std::iter::once(stream.labels.to_string()).chain(entries)
            })
            .collect(),
    }
}

/// A line of the script as [`shown`] prints it.
fn expected(line: &str) -> String {
    let line = line.trim();
    if let Some(value) = line.strip_prefix("scalar ") {
        return format!("scalar {}", number(value.parse().expect("number")));
    }
    if line.starts_with('{') {
        let end = closing_brace(line);
        let labels = labels_of(&line[..end]);
        let values: Vec<String> = line[end..]
            .split_whitespace()
            .map(|v| match v {
                "_" => "_".to_owned(),
                v => number(v.parse().unwrap_or_else(|_| panic!("no number: {v}"))),
            })
            .collect();
        return [&[labels.to_string()], values.as_slice()]
            .concat()
            .join(" ");
    }
    let (at, text) = line.split_once(' ').expect("time and text");
    let at = nanos(at);
    let (text, rest) = string_of(text.trim_start());
    let mut out = format!("{}.{:09} {text:?}", at / SECOND, at % SECOND);
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let end = closing_brace(rest);
        out.push_str(&format!(" {}", labels_of(&rest[..end])));
        rest = rest[end..].trim();
    }
    out
}

/// One past the brace that ends the labels.
fn closing_brace(text: &str) -> usize {
    let mut rest = text;
    loop {
        let at = rest.find(['"', '`', '}']).expect("closing brace");
        let offset = text.len() - rest.len() + at;
        if rest[at..].starts_with('}') {
            return offset + 1;
        }
        rest = string_of(&rest[at..]).1;
    }
}
