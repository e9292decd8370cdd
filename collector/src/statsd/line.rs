//! Lines of StatsD with the tags of DogStatsD, InfluxDB, Librato and SignalFx. Pure.
//!
//! What is understood, and what counts as which error, is statsd_exporter's (pkg/line).

use super::config::TagStyles;
use super::counts::Counts;
use super::name::escape;

/// Parts of a sample between its bars: value, type, and what may follow.
const PARTS_MAX: usize = 8;

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    Counter,
    Gauge,
    /// Timers, histograms, distributions.
    Observer,
}

impl Type {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Observer => "observer",
        }
    }
}

/// One sample of a line.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// As written, without tags.
    pub(super) name: &'a str,
    pub(super) of: Type,
    /// Timers are in seconds; counters that were sampled are scaled up.
    pub(super) value: f64,
    /// Whether a gauge changes by `value` instead of becoming it.
    pub(super) relative: bool,
    /// How many observations one stands for.
    pub(super) times: u64,
    /// Label and value; a label that comes again wins.
    pub(super) tags: &'a [(String, String)],
}

/// Reads a line; `on` hears of each sample in it.
pub(super) fn parse(
    line: &str,
    styles: TagStyles,
    counts: &mut Counts,
    on: &mut dyn FnMut(&mut Counts, &Event<'_>),
) {
    let Some((head, samples)) = line.split_once(':').filter(|(head, _)| !head.is_empty()) else {
        return counts.bad_sample("malformed_line");
    };
    let mut tags = Tags::default();
    let name = tags.of_name(head, styles);
    if name.is_empty() {
        return counts.bad_sample("malformed_line");
    }
    let dog_tags = samples.contains("|#");
    if dog_tags && !tags.all.is_empty() {
        counts.tag_errors += tags.errors;
        return counts.bad_sample("mixed_tagging_styles");
    }
    let mut reader = Reader {
        name: &name,
        styles,
        tags,
        counts,
        on,
    };
    reader.samples(samples, dog_tags);
    reader.counts.tag_errors += reader.tags.errors;
}

struct Reader<'a> {
    name: &'a str,
    styles: TagStyles,
    tags: Tags,
    counts: &'a mut Counts,
    on: &'a mut dyn FnMut(&mut Counts, &Event<'_>),
}

impl Reader<'_> {
    fn samples(&mut self, samples: &str, dog_tags: bool) {
        let Some((values, rest)) = samples.split_once('|') else {
            return self.counts.bad_sample("not_enough_parts_after_colon");
        };
        if values.contains(':') {
            // Several values, all of one type: DogStatsD's client side aggregation.
            let of = rest.split('|').next().unwrap_or_default();
            if !matches!(of, "ms" | "h" | "d") {
                return self.counts.bad_sample("invalid_extended_aggregate_type");
            }
            for value in values.split(':') {
                self.sample(value, rest);
            }
        } else if dog_tags {
            // Tags may contain colons.
            self.sample(values, rest);
        } else {
            for sample in samples.split(':') {
                match sample.split_once('|') {
                    Some((value, rest)) => self.sample(value, rest),
                    None => {
                        self.counts.samples += 1;
                        self.counts.bad_sample("malformed_component");
                    }
                }
            }
        }
    }

    /// `rest` is what follows the first bar.
    fn sample(&mut self, text: &str, rest: &str) {
        self.counts.samples += 1;
        if let Err(reason) = self.read(text, rest) {
            self.counts.bad_sample(reason);
        }
    }

    fn read(&mut self, text: &str, rest: &str) -> Result<(), &'static str> {
        let mut parts = rest.split('|');
        let of = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        if parts.len() > PARTS_MAX - 2 {
            return Err("malformed_component");
        }
        let mut value = number(text).ok_or("malformed_value")?;
        if parts.iter().any(|part| part.is_empty()) {
            return Err("malformed_component");
        }
        let of = match of {
            "c" => Type::Counter,
            "g" => Type::Gauge,
            "ms" => {
                value /= 1000.0;
                Type::Observer
            }
            "h" | "d" => Type::Observer,
            // Sets ("s") too: how many different values there were is no metric of Prometheus.
            _ => return Err("illegal_event"),
        };
        let mut times = 1;
        for part in parts {
            match part.split_at_checked(1) {
                Some(("@", rate)) => {
                    let rate = number(rate).unwrap_or_else(|| {
                        self.counts.bad_sample("invalid_sample_factor");
                        1.0
                    });
                    let rate = if rate == 0.0 { 1.0 } else { rate };
                    match of {
                        Type::Gauge => {}
                        Type::Counter => value /= rate,
                        Type::Observer => times = observations(rate),
                    }
                }
                Some(("#", tags)) if self.styles.dogstatsd => self.tags.of_dog(tags),
                Some(("#", _)) => {}
                Some(("c", id)) => match id.strip_prefix(':').filter(|id| !id.is_empty()) {
                    Some(id) => self.tags.set("container_id".to_owned(), id),
                    None => return Err("malformed_container_id"),
                },
                // When it was is not told on: samples are of the time of the collection.
                Some(("T", at)) if at.parse::<i64>().is_ok() => {}
                Some(("T", _)) => return Err("malformed_timestamp"),
                _ => return Err("invalid_sample_factor"),
            }
        }
        // One sum that is not a number stays so for ever.
        if of != Type::Gauge && !value.is_finite() {
            return Err("malformed_value");
        }
        self.counts.tags += u64::from(!self.tags.all.is_empty());
        let event = Event {
            name: self.name,
            of,
            value,
            relative: of == Type::Gauge && text.starts_with(['+', '-']),
            times,
            tags: &self.tags.all,
        };
        if times > 0 {
            (self.on)(self.counts, &event);
        }
        Ok(())
    }
}

/// For how many observations one stands that was sampled: as many as fit, none for odd rates.
fn observations(rate: f64) -> u64 {
    let times = (1.0 / rate).trunc();
    // Beyond this Go's conversion is negative.
    if times >= 1.0 && times < i64::MAX as f64 {
        times as u64
    } else {
        0
    }
}

/// A number as Go reads it, of those that are sent: no hexadecimal ones.
fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    // Digits that are too large are an error in Go; the word is none.
    let is_word = text.ends_with(['f', 'F', 'y', 'Y']);
    (value.is_finite() || value.is_nan() || is_word).then_some(value)
}

/// Labels of a line.
#[derive(Default)]
struct Tags {
    all: Vec<(String, String)>,
    errors: u64,
}

impl Tags {
    fn set(&mut self, label: String, value: &str) {
        match self.all.iter_mut().find(|(known, _)| *known == label) {
            Some((_, known)) => value.clone_into(known),
            None => self.all.push((label, value.to_owned())),
        }
    }

    /// Takes the tags out of a name.
    fn of_name(&mut self, head: &str, styles: TagStyles) -> String {
        if styles.signalfx {
            match (head.find('['), head.find(']')) {
                (Some(open), Some(close)) if open < close => {
                    self.list(&head[open + 1..close], '=');
                    return format!("{}{}", &head[..open], &head[close + 1..]);
                }
                (None, None) => {}
                _ => {
                    self.errors += 1;
                    return head.to_owned();
                }
            }
        }
        let begins = |c: char| c == '#' && styles.librato || c == ',' && styles.influxdb;
        match head.find(begins) {
            Some(at) => {
                self.list(&head[at + 1..], '=');
                head[..at].to_owned()
            }
            None => head.to_owned(),
        }
    }

    /// `a:b,#c:d`; some clients write a hash before each.
    fn of_dog(&mut self, list: &str) {
        self.list(list, ':');
    }

    fn list(&mut self, list: &str, separator: char) {
        if list.is_empty() {
            return;
        }
        // A comma at the end closes the last one.
        for tag in list.strip_suffix(',').unwrap_or(list).split(',') {
            let tag = match separator {
                ':' => tag.strip_prefix('#').unwrap_or(tag),
                _ => tag,
            };
            match tag.split_once(separator) {
                Some((label, value)) if !label.is_empty() && !value.is_empty() => {
                    self.set(escape(label).into_owned(), value);
                }
                _ => self.errors += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as text, then the errors.
    fn read(line: &str) -> Vec<String> {
        let mut counts = Counts::default();
        let mut out = Vec::new();
        parse(line, TagStyles::ALL, &mut counts, &mut |_, event| {
            let tags: Vec<String> = event.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let sign = if event.relative { "by " } else { "" };
            let of = event.of.as_str();
            let times = event.times;
            let (name, value, tags) = (event.name, event.value, tags.join(","));
            out.push(format!("{of} {name} {sign}{value} x{times} {tags}"));
        });
        out.extend(counts.sample_errors.keys().map(|r| format!("! {r}")));
        if counts.tag_errors > 0 {
            out.push(format!("! {} tags", counts.tag_errors));
        }
        out
    }

    #[track_caller]
    fn check(line: &str, expect: &[&str]) {
        assert_eq!(read(line), expect, "{line}");
    }

    #[test]
    fn each_type_is_read_in_its_unit() {
        check("a.b:2|c", &["counter a.b 2 x1 "]);
        check("a:3|g", &["gauge a 3 x1 "]);
        check("a:+3|g", &["gauge a by 3 x1 "]);
        check("a:-3.5|g", &["gauge a by -3.5 x1 "]);
        check("a:200|ms", &["observer a 0.2 x1 "]);
        check("a:200|h", &["observer a 200 x1 "]);
        check("a:0.5|d", &["observer a 0.5 x1 "]);
        check("a:1|c:2|g", &["counter a 1 x1 ", "gauge a 2 x1 "]);
        check("a:1|s", &["! illegal_event"]);
        check("a:1|x", &["! illegal_event"]);
    }

    #[test]
    fn what_was_sampled_is_scaled_up() {
        check("a:2|c|@0.1", &["counter a 20 x1 "]);
        check("a:2|g|@0.1", &["gauge a 2 x1 "]);
        check("a:200|ms|@0.5", &["observer a 0.2 x2 "]);
        check("a:1|h|@0.3", &["observer a 1 x3 "]);
        check("a:1|c|@0", &["counter a 1 x1 "]);
        check("a:1|c|@x", &["counter a 1 x1 ", "! invalid_sample_factor"]);
        // A rate no client sends: statsd_exporter would observe it ten million times over.
        check("a:1|h|@0.0000001", &["observer a 1 x10000000 "]);
        check("a:1|h|@1e-300", &[]);
        check("a:1|h|@-1", &[]);
        check("a:1|h|@nan", &[]);
    }

    #[test]
    fn tags_come_in_four_styles_that_do_not_mix() {
        let both = ["counter a 1 x1 b=c,d=e"];
        check("a:1|c|#b:c,d:e", &both);
        check("a:1|c|#b:c,#d:e", &both);
        check("a,b=c,d=e:1|c", &both);
        check("a#b=c,d=e:1|c", &both);
        check("a[b=c,d=e]:1|c", &both);
        check("x.[b=c]y:1|c", &["counter x.y 1 x1 b=c"]);
        check("a:1|c|#b:c:d", &["counter a 1 x1 b=c:d"]);
        check("a:1|c|#0b:c,d.e:f", &["counter a 1 x1 _0b=c,d_e=f"]);
        check("a:1|c|#b:c,b:d", &["counter a 1 x1 b=d"]);
        check("a#b=c:1|c|#d:e", &["! mixed_tagging_styles"]);
        check("a:1|c|#bare,b:c", &["counter a 1 x1 b=c", "! 1 tags"]);
        check("a:1|c|#b:c,,", &["counter a 1 x1 b=c", "! 1 tags"]);
        check("a]b=c[:1|c", &["counter a]b=c[ 1 x1 ", "! 1 tags"]);
        check("a[b=c:1|c", &["counter a[b=c 1 x1 ", "! 1 tags"]);
        check("a:1|c|@0.5|#b:c", &["counter a 2 x1 b=c"]);
        check(
            "a:1|c|#b:c|c:f00|T1656581400",
            &["counter a 1 x1 b=c,container_id=f00"],
        );
        check("a:1|c|T12x", &["! malformed_timestamp"]);
    }

    #[test]
    fn several_values_of_one_timer_may_share_a_line() {
        let values = ["observer a 0.001 x1 b=c", "observer a 2 x1 b=c"];
        check("a:1:2000|ms|#b:c", &values);
        check("a:1:2|c", &["! invalid_extended_aggregate_type"]);
        check(
            "a:1:x:3|h",
            &["observer a 1 x1 ", "observer a 3 x1 ", "! malformed_value"],
        );
    }

    #[test]
    fn what_is_not_understood_is_counted_by_reason() {
        check("a", &["! malformed_line"]);
        check(":1|c", &["! malformed_line"]);
        // Nothing but tags.
        check(",b=c:1|c", &["! malformed_line"]);
        check("[b=c]:1|c", &["! malformed_line"]);
        check("a:1", &["! not_enough_parts_after_colon"]);
        check("a:|c", &["! malformed_value"]);
        check("a:x|c", &["! malformed_value"]);
        check("a:1e400|c", &["! malformed_value"]);
        check("a:NaN|c", &["! malformed_value"]);
        check("a:inf|ms", &["! malformed_value"]);
        check("a:NaN|g", &["gauge a NaN x1 "]);
        check("a:1|c||", &["! malformed_component"]);
        check("a:1|c|@1|@1|@1|@1|@1|@1|@1", &["! malformed_component"]);
        check("a:1|c|z", &["! invalid_sample_factor"]);
        // An event of DogStatsD, with what looks like a tag in its name.
        check("_e{5,4}:title|text", &["! malformed_value", "! 1 tags"]);
    }

    #[test]
    fn styles_can_be_turned_off() {
        let none = TagStyles {
            dogstatsd: false,
            influxdb: false,
            librato: false,
            signalfx: false,
        };
        let mut names = Vec::new();
        for line in ["a,b=c:1|c", "a#b=c:1|c", "a[b=c]:1|c", "a:1|c|#b:c"] {
            parse(line, none, &mut Counts::default(), &mut |_, event| {
                names.push(format!("{} {}", event.name, event.tags.len()));
            });
        }
        assert_eq!(names, ["a,b=c 0", "a#b=c 0", "a[b=c] 0", "a 0"]);
    }
}
