//! What a scrape forgives and `check metrics` does not: OpenMetrics' rules about families,
//! order, values and exemplars. Source: the OpenMetrics 1.0 specification.

use std::collections::BTreeSet;

use model::Labels;
use model::labels::METRIC_NAME;

use super::line::{parse_value, quote_end, seconds_to_millis};
use super::{Format, Item, Kind, ParseError, Parser, SampleLine, series};

/// Names and values of an exemplar's labels together, in characters.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Checks an exposition in full. Of Prometheus text only the syntax is checked.
///
/// # Errors
/// The first violation.
pub fn check(body: &[u8], format: Format) -> Result<(), ParseError> {
    let mut parser = Parser::new(body, format)?;
    let mut checker = Checker::default();
    while let Some(item) = parser.next() {
        let item = item?;
        let checked = match (format, item) {
            (Format::OpenMetrics, item) => checker.item(item),
            (Format::Prometheus, Item::Sample(sample)) => series::parse(sample.series).map(|_| ()),
            (Format::Prometheus, _) => Ok(()),
        };
        checked.map_err(|message| parser.error(message))?;
    }
    checker
        .end_family()
        .map_err(|message| parser.error(message))
}

#[derive(Default)]
struct Checker {
    family: Option<Family>,
    /// Every name a family so far may have used.
    names: BTreeSet<String>,
}

/// The family whose lines are being read.
#[derive(Default)]
struct Family {
    name: String,
    kind: Kind,
    said: BTreeSet<&'static str>,
    has_samples: bool,
    unit: String,
    /// Groups of samples that are complete.
    groups: BTreeSet<Labels>,
    group: Option<Group>,
}

/// Samples that differ only in bucket, quantile or state.
struct Group {
    labels: Labels,
    /// Seconds, as far as the line said.
    time: Option<f64>,
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Checker {
    fn item(&mut self, item: Item<'_>) -> Result<(), String> {
        match item {
            Item::Type { family, kind } => {
                self.metadata(family, "TYPE")?.kind = kind;
                Ok(())
            }
            Item::Help { family, .. } => self.metadata(family, "HELP").map(|_| ()),
            Item::Unit { family, unit } => {
                unit.clone_into(&mut self.metadata(family, "UNIT")?.unit);
                Ok(())
            }
            Item::Sample(sample) => self.sample(&sample),
        }
    }

    fn metadata(&mut self, name: &str, what: &'static str) -> Result<&mut Family, String> {
        if self.family.as_ref().is_none_or(|f| f.name != name) {
            self.start_family(name)?;
        }
        let family = self.family.get_or_insert_default();
        if family.has_samples {
            return Err(format!("{what} of {name} after its samples"));
        }
        if !family.said.insert(what) {
            return Err(format!("{what} of {name} is repeated"));
        }
        Ok(family)
    }

    fn start_family(&mut self, name: &str) -> Result<(), String> {
        self.end_family()?;
        if self.names.contains(name) {
            return Err(split_family(name));
        }
        self.family = Some(Family {
            name: name.to_owned(),
            ..Family::default()
        });
        Ok(())
    }

    fn end_family(&mut self) -> Result<(), String> {
        let Some(mut family) = self.family.take() else {
            return Ok(());
        };
        family.end_group()?;
        if !family.unit.is_empty() {
            if matches!(family.kind, Kind::Info | Kind::StateSet) {
                return Err(format!(
                    "{} may not have a unit: {}",
                    family.kind, family.name
                ));
            }
            if !family.name.ends_with(&format!("_{}", family.unit)) {
                return Err(format!(
                    "{} does not end with its unit {}",
                    family.name, family.unit
                ));
            }
        }
        let with_suffix = suffixes(family.kind)
            .iter()
            .map(|s| format!("{}{s}", family.name));
        let names: BTreeSet<String> = with_suffix.chain([family.name.clone()]).collect();
        for name in names {
            if !self.names.insert(name.clone()) {
                return Err(split_family(&name));
            }
        }
        Ok(())
    }

    fn sample(&mut self, sample: &SampleLine<'_>) -> Result<(), String> {
        check_blanks(sample.series)?;
        let labels = series::parse(sample.series)?.build();
        let name = labels.metric_name().to_owned();
        if name.is_empty() {
            return Err("sample without a metric name".to_owned());
        }
        let fits = |f: &Family| {
            name.strip_prefix(&f.name)
                .is_some_and(|s| suffixes(f.kind).contains(&s))
        };
        if !self.family.as_ref().is_some_and(fits) {
            self.start_family(&name)?;
        }
        let family = self.family.get_or_insert_default();
        family.has_samples = true;
        family.sample(sample, &name, &labels)
    }
}

impl Family {
    fn sample(
        &mut self,
        sample: &SampleLine<'_>,
        name: &str,
        labels: &Labels,
    ) -> Result<(), String> {
        let suffix = name.strip_prefix(&self.name).unwrap_or("").to_owned();
        let own_label = match (self.kind, suffix.as_str()) {
            (Kind::Histogram | Kind::GaugeHistogram, "_bucket") => Some("le"),
            (Kind::Summary, "") => Some("quantile"),
            (Kind::StateSet, _) => Some(self.name.as_str()),
            _ => None,
        };
        let mut own_value = None;
        if let Some(label) = own_label {
            let value = labels.get(label);
            let value = value.ok_or_else(|| format!("{name} without label {label}"))?;
            own_value = Some(value.to_owned());
        }
        let value = sample.value;
        check_value(self.kind, &suffix, value).map_err(|e| format!("{name} {e}"))?;
        if let Some(exemplar) = sample.exemplar {
            let allowed = matches!(
                (self.kind, suffix.as_str()),
                (Kind::Counter, "_total") | (Kind::Histogram | Kind::GaugeHistogram, "_bucket")
            );
            if !allowed {
                return Err(format!("{name} may not have an exemplar"));
            }
            check_exemplar(exemplar)?;
        }
        let mut rest = labels.to_builder();
        rest.remove(METRIC_NAME);
        if let Some(label) = own_label {
            rest.remove(label);
        }
        let time = match sample.timestamp_text {
            "" => None,
            text => text.parse().ok(),
        };
        let kind = self.kind;
        let group = self.group(rest.build(), time)?;
        match (kind, suffix.as_str()) {
            (Kind::Histogram | Kind::GaugeHistogram, "_bucket") => {
                let bound = own_value.unwrap_or_default();
                let le = parse_bound(&bound)?;
                group.buckets.push((le, value));
            }
            (Kind::Histogram, "_count") | (Kind::GaugeHistogram, "_gcount") => {
                group.count = Some(value);
            }
            (Kind::Histogram, "_sum") | (Kind::GaugeHistogram, "_gsum") => group.sum = Some(value),
            (Kind::Summary, "") => {
                let quantile: f64 = own_value.unwrap_or_default().parse().unwrap_or(-1.0);
                if !(0.0..=1.0).contains(&quantile) {
                    return Err(format!("{name} with a quantile outside 0 to 1"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The group of a sample: the one being read, or a new one.
    fn group(&mut self, labels: Labels, time: Option<f64>) -> Result<&mut Group, String> {
        if let Some(group) = &self.group {
            if group.labels == labels {
                match (group.time, time) {
                    (None, None) => {}
                    (Some(before), Some(now)) if self.kind == Kind::Info || before <= now => {}
                    (Some(_), Some(_)) => {
                        return Err("timestamps go back within a group".to_owned());
                    }
                    _ => return Err("only some samples of a group have timestamps".to_owned()),
                }
            } else {
                self.end_group()?;
            }
        }
        if self.group.is_none() && self.groups.contains(&labels) {
            return Err(format!("samples of {labels} are not together"));
        }
        let group = self.group.get_or_insert_with(|| Group {
            labels,
            time,
            buckets: Vec::new(),
            count: None,
            sum: None,
        });
        if group.time != time {
            // A further point of the same group: its own buckets follow.
            group.check(self.kind)?;
            group.buckets.clear();
            (group.count, group.sum, group.time) = (None, None, time);
        }
        Ok(group)
    }

    fn end_group(&mut self) -> Result<(), String> {
        if let Some(group) = self.group.take() {
            group.check(self.kind)?;
            self.groups.insert(group.labels);
        }
        Ok(())
    }
}

impl Group {
    /// Checks a histogram as a whole.
    fn check(&self, kind: Kind) -> Result<(), String> {
        if !matches!(kind, Kind::Histogram | Kind::GaugeHistogram) {
            return Ok(());
        }
        let Some((last, total)) = self.buckets.last() else {
            return Err("histogram without buckets".to_owned());
        };
        if *last != f64::INFINITY {
            return Err("histogram without a last bucket +Inf".to_owned());
        }
        for pair in self.buckets.windows(2) {
            if pair[0].0 >= pair[1].0 {
                return Err("buckets out of order".to_owned());
            }
            if pair[0].1 > pair[1].1 {
                return Err("buckets do not grow".to_owned());
            }
        }
        if self.count.is_some() != self.sum.is_some() {
            return Err("histogram with only one of count and sum".to_owned());
        }
        if self.count.is_some_and(|c| c != *total) {
            return Err("count differs from the bucket +Inf".to_owned());
        }
        let negative = self.buckets.first().is_some_and(|b| b.0 < 0.0);
        match (kind, self.sum) {
            (Kind::Histogram, Some(_)) if negative => {
                Err("sum of a histogram with negative buckets".to_owned())
            }
            (Kind::GaugeHistogram, Some(sum)) if !negative && sum < 0.0 => {
                Err("negative sum without negative buckets".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn split_family(name: &str) -> String {
    format!("{name} belongs to two families, or its lines are not together")
}

fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Counter => &["_total", "_created"],
        Kind::Summary => &["", "_count", "_sum", "_created"],
        Kind::Histogram => &["_bucket", "_count", "_sum", "_created"],
        Kind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        Kind::Info => &["_info"],
        Kind::Gauge | Kind::StateSet | Kind::Unknown => &[""],
    }
}

fn check_value(kind: Kind, suffix: &str, value: f64) -> Result<(), &'static str> {
    let counts = match kind {
        Kind::Counter => suffix == "_total",
        Kind::Histogram | Kind::Summary => matches!(suffix, "_bucket" | "_count" | "_sum"),
        Kind::GaugeHistogram => matches!(suffix, "_bucket" | "_gcount"),
        _ => false,
    };
    if (counts || suffix == "_gsum") && value.is_nan() {
        return Err("may not be NaN");
    }
    if (counts || kind == Kind::Summary) && value < 0.0 {
        return Err("may not be negative");
    }
    if kind == Kind::Info && value != 1.0 {
        return Err("must be 1");
    }
    if kind == Kind::StateSet && value != 0.0 && value != 1.0 {
        return Err("must be 0 or 1");
    }
    Ok(())
}

fn parse_bound(text: &str) -> Result<f64, String> {
    let bound = parse_value(text)?;
    if bound.is_nan() || (bound.is_infinite() && text != "+Inf") {
        return Err(format!("{text:?} is not a bucket's bound"));
    }
    Ok(bound)
}

fn check_exemplar(text: &str) -> Result<(), String> {
    let end = text.starts_with('{').then(|| closing(text)).flatten();
    let end = end.ok_or("exemplar without labels")?;
    let (labels, rest) = text.split_at(end + 1);
    check_blanks(labels)?;
    let mut chars = 0;
    series::walk(labels, |name, value| {
        chars += name.chars().count() + value.chars().count();
        Ok(())
    })?;
    if chars > EXEMPLAR_CHARS_MAX {
        return Err(format!(
            "exemplar labels exceed {EXEMPLAR_CHARS_MAX} characters"
        ));
    }
    let rest = rest.strip_prefix(' ').ok_or("exemplar without a value")?;
    let (value, time) = match rest.split_once(' ') {
        Some((value, time)) => (value, Some(time)),
        None => (rest, None),
    };
    parse_value(value)?;
    time.map_or(Ok(()), |t| seconds_to_millis(t).map(|_| ()))
}

/// Where the brace closes that `text` starts with.
fn closing(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.as_bytes().get(at)? {
            b'}' => return Some(at),
            b'"' => at += quote_end(&text[at + 1..])? + 2,
            _ => at += 1,
        }
    }
}

/// OpenMetrics has no blanks between labels and no comma after the last.
fn check_blanks(series: &str) -> Result<(), String> {
    let (mut at, mut last) = (0, b' ');
    while let Some(byte) = series.as_bytes().get(at).copied() {
        match byte {
            b'"' => at += quote_end(&series[at + 1..]).unwrap_or(0) + 1,
            b' ' | b'\t' => return Err("blank between labels".to_owned()),
            b'}' if last == b',' => return Err("comma after the last label".to_owned()),
            _ => {}
        }
        last = byte;
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_metrics_cases_are_told_apart() {
        let Ok(dir) = std::fs::read_dir("../../shared/conformance/openmetrics") else {
            eprintln!("SKIPPED: ../shared/conformance/openmetrics is not there");
            return;
        };
        let mut wrong = Vec::new();
        let mut cases = 0;
        for path in dir.map(|e| e.unwrap().path()) {
            let meta = std::fs::read_to_string(path.join("test.json")).unwrap();
            let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
            let body = std::fs::read(path.join("metrics")).unwrap();
            let got = check(&body, Format::OpenMetrics);
            if got.is_ok() != meta["shouldParse"].as_bool().unwrap() {
                wrong.push(format!("{}: {got:?}", path.display()));
            }
            cases += 1;
        }
        assert!(cases >= 100, "only {cases} cases");
        assert!(
            wrong.is_empty(),
            "{} of {cases}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    #[test]
    fn violations_are_named_with_their_line() {
        let check = |text: &str, expect: &str| {
            let error = check(text.as_bytes(), Format::OpenMetrics).unwrap_err();
            assert_eq!(error.to_string(), expect);
        };
        check(
            "# TYPE a counter\na_total NaN\n# EOF\n",
            "line 2: a_total may not be NaN",
        );
        check(
            "# TYPE a gauge\na 1 # {b=\"c\"} 1\n# EOF\n",
            "line 2: a may not have an exemplar",
        );
        check(
            "a 1\nb 1\na 2\n# EOF\n",
            "line 3: a belongs to two families, or its lines are not together",
        );
    }
}
