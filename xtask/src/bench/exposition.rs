//! The text exposition format, as far as well-behaved exporters use it.

/// One line.
pub(crate) struct Line {
    /// With `__name__`, sorted by name.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    /// Whether its family only grows: counters, and the parts of histograms and summaries.
    pub(crate) is_counter: bool,
}

/// All samples of a scrape.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    let (mut family, mut kind) = ("", "");
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let Some((labels, value)) = series(line) else {
            continue;
        };
        let name = labels.first().map_or("", |(_, v)| v.as_str());
        let is_counter = name.starts_with(family)
            && match kind {
                "counter" => true,
                "histogram" => true,
                "summary" => name != family,
                _ => false,
            };
        lines.push(Line {
            labels,
            value,
            is_counter,
        });
    }
    lines
}

fn series(line: &str) -> Option<(Vec<(String, String)>, f64)> {
    let end = line.find(['{', ' '])?;
    let mut labels = vec![("__name__".to_owned(), line[..end].to_owned())];
    let mut rest = &line[end..];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        c => value.push(c),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((name.trim_start_matches(',').to_owned(), value));
            rest = after[close + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    labels[1..].sort();
    Some((labels, value))
}
