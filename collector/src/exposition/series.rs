//! Name and labels of a series, from the text a target wrote.

use std::borrow::Cow;

use model::LabelsBuilder;
use model::labels::METRIC_NAME;

use super::Kind;

/// Most labels of one series. Exporters have a dozen, Kubernetes' some dozens; what is gone through
/// for each label is all the others.
pub(crate) const LABELS_MAX: usize = 512;

/// Reads `name{label="value", …}` or `{"quoted name", …}`. Label values keep any UTF-8.
/// The result may lack a name; an empty value means that the label is absent.
///
/// # Errors
/// What is wrong, without a line number.
pub fn parse(text: &str) -> Result<LabelsBuilder, String> {
    let mut labels = LabelsBuilder::default();
    let mut count = 0;
    walk(text, |name, value| {
        count += 1;
        if count > LABELS_MAX {
            return Err(format!("more than {LABELS_MAX} labels"));
        }
        // Prometheus counts an empty label as absent, so it can not repeat one.
        if labels.get(name).is_some() {
            return Err(format!("label {name:?} is repeated"));
        }
        labels.set(name, value);
        Ok(())
    })?;
    Ok(labels)
}

/// Calls `visit(name, value)` for each label as written, `__name__` included.
pub(super) fn walk(
    text: &str,
    mut visit: impl FnMut(&str, Cow<'_, str>) -> Result<(), String>,
) -> Result<(), String> {
    let Some(open) = text.find('{') else {
        return visit(METRIC_NAME, Cow::Borrowed(text));
    };
    let name = text[..open].trim_end_matches([' ', '\t']);
    if !name.is_empty() {
        visit(METRIC_NAME, Cow::Borrowed(name))?;
    }
    let mut rest = trim(&text[open + 1..]);
    while !rest.starts_with('}') {
        let (label, after, quoted) = label_name(rest)?;
        rest = trim(after);
        if let Some(after) = rest.strip_prefix('=') {
            let Some(body) = trim(after).strip_prefix('"') else {
                return Err("label value must be quoted".to_owned());
            };
            let end = super::line::quote_end(body).ok_or("label value is not closed")?;
            visit(&label, unescape(&body[..end])?)?;
            rest = trim(&body[end + 1..]);
        } else if quoted {
            visit(METRIC_NAME, label)?;
        } else {
            return Err(format!("expected = after label {label:?}"));
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = trim(after),
            None if rest.starts_with('}') => {}
            None => return Err("expected , or } after a label".to_owned()),
        }
    }
    Ok(())
}

fn trim(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn label_name(text: &str) -> Result<(Cow<'_, str>, &str, bool), String> {
    if let Some(body) = text.strip_prefix('"') {
        let end = super::line::quote_end(body).ok_or("label name is not closed")?;
        let name = unescape(&body[..end])?;
        if name.is_empty() {
            return Err("label name is empty".to_owned());
        }
        return Ok((name, &body[end + 1..], true));
    }
    let bytes = text.as_bytes();
    let end = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count();
    if end == 0 || bytes[0].is_ascii_digit() {
        let c = text.chars().next().map(String::from).unwrap_or_default();
        return Err(format!("unexpected {c:?} where a label name should be"));
    }
    Ok((Cow::Borrowed(&text[..end]), &text[end..], false))
}

/// Undoes `\\`, `\"` and `\n`; other backslashes stand for themselves, as in Prometheus.
fn unescape(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some(c @ ('\\' | '"')) => out.push(c),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => return Err("backslash at the end of a label value".to_owned()),
        }
    }
    Ok(Cow::Owned(out))
}

/// Writes `le` of histograms and `quantile` of summaries as Prometheus 3 stores them (`1` becomes
/// `1.0`), so that one bucket is one series whoever exposes it.
pub fn normalise(kind: Kind, labels: &mut LabelsBuilder) {
    let label = match kind {
        Kind::Histogram | Kind::GaugeHistogram => "le",
        Kind::Summary => "quantile",
        _ => return,
    };
    if let Some(number) = labels.get(label).and_then(|v| v.parse::<f64>().ok()) {
        let text = format_bound(number);
        if labels.get(label) != Some(text.as_str()) {
            labels.set(label, text);
        }
    }
}

/// Go's `FormatFloat(v, 'g', -1, 64)`, with `.0` behind what would look like an integer.
pub(crate) fn format_bound(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{v:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{v}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_endless_labels_is_refused() {
        let text = |n: usize| {
            let labels: Vec<String> = (0..n).map(|i| format!("l{i}=\"v\"")).collect();
            format!("{{{}}}", labels.join(","))
        };
        assert!(parse(&text(LABELS_MAX)).is_ok());
        let refused = parse(&text(50_000)).err();
        assert_eq!(refused.as_deref(), Some("more than 512 labels"));
    }

    #[test]
    fn bounds_are_written_as_prometheus_3_stores_them() {
        let check = |text: &str, expect: &str| {
            let mut labels = parse(&format!("a_bucket{{le=\"{text}\"}}")).unwrap();
            normalise(Kind::Histogram, &mut labels);
            assert_eq!(labels.get("le"), Some(expect));
        };
        check("1", "1.0");
        check("0.005", "0.005");
        check("1.0", "1.0");
        check("+Inf", "+Inf");
        check("1000000", "1e+06");
        check("1e-05", "1e-05");
        check("250", "250.0");
        check("odd", "odd");
    }

    #[test]
    fn broken_labels_are_refused() {
        for bad in [
            "a{1=\"x\"}",
            "a{b=\"x\"c=\"y\"}",
            "a{b=\"x\",b=\"y\"}",
            "a{b}",
            "a{,}",
            "a{\"\"=\"x\"}",
        ] {
            assert!(parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
