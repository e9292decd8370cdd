//! One line in, one item out.

use super::{Format, Item, Kind, SampleLine};

fn blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// Reads a line of Prometheus text; `None` for blank lines and comments.
pub(super) fn prometheus(line: &str) -> Result<Option<Item<'_>>, String> {
    let line = line.trim_matches(blank);
    if line.is_empty() {
        return Ok(None);
    }
    if let Some(comment) = line.strip_prefix('#') {
        return prometheus_comment(comment);
    }
    let (series, rest) = split_series(line)?;
    let mut words = rest.split(blank).filter(|w| !w.is_empty());
    let value = words.next().ok_or("expected a value after the series")?;
    let value = parse_value(value)?;
    let timestamp_text = words.next().unwrap_or("");
    if let Some(word) = words.next() {
        return Err(format!("unexpected {word:?} after the timestamp"));
    }
    let timestamp_ms = match timestamp_text {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| format!("{text:?} is not a timestamp"))?,
        ),
    };
    Ok(Some(Item::Sample(SampleLine {
        series: series.trim_end_matches(blank),
        value,
        timestamp_ms,
        timestamp_text,
        exemplar: None,
    })))
}

fn prometheus_comment(comment: &str) -> Result<Option<Item<'_>>, String> {
    let comment = comment.trim_start_matches(blank);
    let (word, rest) = comment.split_once(blank).unwrap_or((comment, ""));
    if !matches!(word, "TYPE" | "HELP") {
        return Ok(None);
    }
    let (family, rest) = split_family(rest.trim_start_matches(blank))?;
    if family.is_empty() {
        return Err(format!("expected a metric name after {word}"));
    }
    let text = rest.trim_start_matches(blank);
    Ok(Some(match word {
        "HELP" => Item::Help { family, text },
        _ => Item::Type {
            family,
            kind: Kind::parse(text, Format::Prometheus)?,
        },
    }))
}

/// Reads a line of OpenMetrics, which has exactly one blank where one is due.
pub(super) fn open_metrics(line: &str) -> Result<Item<'_>, String> {
    if let Some(comment) = line.strip_prefix('#') {
        return open_metrics_comment(comment);
    }
    let (series, rest) = split_series(line)?;
    let rest = rest
        .strip_prefix(' ')
        .ok_or("expected a value after the series")?;
    let (numbers, exemplar) = match rest.split_once(" # ") {
        Some((numbers, exemplar)) => (numbers, Some(exemplar)),
        None => (rest, None),
    };
    let (value, timestamp_text) = match numbers.split_once(' ') {
        Some((_, "")) => return Err("blank at the end of the line".to_owned()),
        Some((value, timestamp)) => (value, timestamp),
        None => (numbers, ""),
    };
    let timestamp_ms = match timestamp_text {
        "" => None,
        text => Some(seconds_to_millis(text)?),
    };
    Ok(Item::Sample(SampleLine {
        series,
        value: parse_value(value)?,
        timestamp_ms,
        timestamp_text,
        exemplar,
    }))
}

fn open_metrics_comment(comment: &str) -> Result<Item<'_>, String> {
    let mut parts = comment.splitn(3, ' ');
    let (first, word, rest) = (parts.next(), parts.next(), parts.next());
    let (Some(""), Some(word), Some(rest)) = (first, word, rest) else {
        return Err(format!("invalid comment \"#{comment}\""));
    };
    let (family, rest) = split_family(rest)?;
    let Some(text) = rest.strip_prefix(' ') else {
        return Err(format!("expected text after # {word} {family}"));
    };
    if family.is_empty() {
        return Err(format!("expected a metric name after # {word}"));
    }
    match word {
        "TYPE" => Ok(Item::Type {
            family,
            kind: Kind::parse(text, Format::OpenMetrics)?,
        }),
        "HELP" => Ok(Item::Help { family, text }),
        "UNIT" => Ok(Item::Unit { family, unit: text }),
        _ => Err(format!("invalid comment \"#{comment}\"")),
    }
}

/// Splits off a family name, which may be quoted; its quotes go, its escapes stay.
fn split_family(text: &str) -> Result<(&str, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(blank).unwrap_or(text.len());
        return Ok(text.split_at(end));
    };
    let end = quote_end(quoted).ok_or("metric name is not closed")?;
    Ok((&quoted[..end], &quoted[end + 1..]))
}

/// Splits a line behind name and labels without reading them.
fn split_series(line: &str) -> Result<(&str, &str), String> {
    let bytes = line.as_bytes();
    let mut at = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
        .count();
    let blanks = bytes[at..]
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    if bytes.get(at + blanks) != Some(&b'{') {
        if at == 0 || (blanks == 0 && at < bytes.len()) {
            let c = line[at..].chars().next().map(String::from);
            let c = c.unwrap_or_default();
            return Err(format!("unexpected {c:?} after the name"));
        }
        return Ok(line.split_at(at));
    }
    at += blanks + 1;
    loop {
        match bytes.get(at) {
            None => return Err("labels are not closed".to_owned()),
            Some(b'}') => return Ok(line.split_at(at + 1)),
            Some(b'"') => {
                let end = quote_end(&line[at + 1..]).ok_or("label value is not closed")?;
                at += end + 2;
            }
            Some(_) => at += 1,
        }
    }
}

/// Where the quote closes that was opened before `text`.
pub(super) fn quote_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// As Go's ParseFloat in Prometheus: decimal, `Inf` and `NaN` in any case, no hex, no `_`; what is
/// out of range, or `NaN` with a sign, is no number.
pub(super) fn parse_value(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a number");
    let value: f64 = text.parse().map_err(|_| wrong())?;
    let fine = value.is_finite()
        || value.is_infinite() && text.contains(['i', 'I'])
        || value.is_nan() && !text.starts_with(['+', '-']);
    fine.then_some(value).ok_or_else(wrong)
}

/// Seconds, with a fraction, to milliseconds.
pub(super) fn seconds_to_millis(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a timestamp");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if !seconds.is_finite() {
        return Err(wrong());
    }
    Ok((seconds * 1000.0) as i64)
}
