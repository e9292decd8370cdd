//! From rows to samples: what each column of an answer means.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings;
use super::table::{Row, Table};
use crate::exposition::Kind;

/// The longest label value kept, bytes. Names of the server have at most 63.
const LABEL_BYTES_MAX: usize = 1024;

/// Where samples go.
pub(super) trait Out {
    /// Tells about a family before its samples.
    fn family(&mut self, name: &str, kind: Kind, help: &str);
    /// One sample of the family told about last.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64);
}

/// A query whose answer becomes samples.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// The collector it belongs to, by postgres_exporter's name.
    pub(super) collector: String,
    pub(super) query: Query,
    /// Zero: at every tick.
    pub(super) every: Duration,
    /// Whether each database is asked, or any one for the whole server.
    pub(super) each_database: bool,
    pub(super) meaning: Meaning,
}

/// The text to send.
#[derive(Clone, Debug)]
pub(super) enum Query {
    /// One of ours, which depends on the server; `None`: it has nothing of the kind.
    Ours(fn(&Ask) -> Option<String>),
    /// The operator's, for servers of these versions.
    Theirs {
        text: String,
        versions: super::custom::Versions,
    },
}

impl Query {
    pub(super) fn text(&self, ask: &Ask) -> Option<String> {
        match self {
            Query::Ours(make) => make(ask),
            Query::Theirs { text, versions } => versions.has(ask.version).then(|| text.clone()),
        }
    }
}

/// What queries depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// `server_version_num`: 150018 is 15.18.
    pub(super) version: u32,
    /// Schema and version of the extension `pg_stat_statements`, where it is installed.
    pub(super) statements: Option<(String, (u32, u32))>,
    /// Most rows of user tables or indexes.
    pub(super) tables_max: usize,
    pub(super) statements_max: usize,
    /// Whether statements are wanted with their text.
    pub(super) query_text: bool,
}

/// How an answer is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Column by column.
    Columns {
        columns: Vec<Column>,
        /// Whether samples carry the label `server`, as older ones of postgres_exporter do.
        server: bool,
    },
    /// Each row is a setting and names its own family.
    Settings,
}

/// What to make of one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) column: String,
    pub(super) usage: Usage,
    /// The family; empty for labels.
    pub(super) name: String,
    pub(super) help: String,
    /// Of [`Usage::Mapped`].
    pub(super) mapping: BTreeMap<String, f64>,
}

/// The words of postgres_exporter's query files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Discard,
    Label,
    Counter,
    Gauge,
    /// Neither is known.
    Untyped,
    /// Text that stands for a number.
    Mapped,
    /// A duration with units, told in milliseconds.
    Duration,
    /// Bounds here, and columns with the endings `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Spec {
    /// Turns an answer into samples.
    pub(super) fn emit(&self, table: &Table, server: &str, out: &mut impl Out) {
        let (columns, with_server) = match &self.meaning {
            Meaning::Settings => return settings::emit(table, out),
            Meaning::Columns { columns, server } => (columns, *server),
        };
        let place = |usage: fn(Usage) -> bool| {
            columns
                .iter()
                .filter(move |c| usage(c.usage))
                .filter_map(|c| Some((c, table.column(&c.column)?)))
        };
        let labels: Vec<(&str, usize)> = place(|u| u == Usage::Label)
            .map(|(c, at)| (c.column.as_str(), at))
            .collect();
        let labels: Vec<Vec<(&str, &str)>> = table
            .rows()
            .map(|row| {
                let of_row = labels
                    .iter()
                    .map(|(name, at)| (*name, cut(row.get(*at).unwrap_or(""))));
                of_row
                    .chain(with_server.then_some(("server", server)))
                    .collect()
            })
            .collect();
        for (column, at) in place(|u| !matches!(u, Usage::Label | Usage::Discard)) {
            column.emit(at, table, &labels, out);
        }
    }

    /// Families this answer can have.
    #[cfg(test)]
    pub(super) fn columns(&self) -> &[Column] {
        match &self.meaning {
            Meaning::Columns { columns, .. } => columns,
            Meaning::Settings => &[],
        }
    }
}

impl Column {
    pub(super) fn kind(&self) -> Kind {
        match self.usage {
            Usage::Counter => Kind::Counter,
            Usage::Gauge | Usage::Mapped | Usage::Duration => Kind::Gauge,
            Usage::Histogram => Kind::Histogram,
            Usage::Untyped | Usage::Label | Usage::Discard => Kind::Unknown,
        }
    }

    fn emit(&self, at: usize, table: &Table, labels: &[Vec<(&str, &str)>], out: &mut impl Out) {
        out.family(&self.name, self.kind(), &self.help);
        for (row, labels) in table.rows().zip(labels) {
            // NULL is no number, and none is a sample that says so.
            let Some(text) = row.get(at) else { continue };
            if self.usage == Usage::Histogram {
                self.emit_histogram(text, row, labels, out);
                continue;
            }
            let value = match self.usage {
                Usage::Mapped => self.mapping.get(text).copied(),
                Usage::Duration => model::number::parse_duration(text)
                    .ok()
                    .map(|d| d.as_secs_f64() * 1e3),
                _ => number(text),
            };
            if let Some(value) = value {
                out.sample(&self.name, labels, value);
            }
        }
    }

    fn emit_histogram(
        &self,
        bounds: &str,
        row: Row<'_>,
        labels: &[(&str, &str)],
        out: &mut impl Out,
    ) {
        let other = |ending: &str| row.text(&format!("{}{ending}", self.column));
        let (Some(counts), Some(count)) = (other("_bucket"), other("_count").and_then(number))
        else {
            return;
        };
        let name = format!("{}_bucket", self.name);
        let mut bucket = |bound: &str, value: f64| {
            let mut labels = labels.to_vec();
            labels.push(("le", bound));
            out.sample(&name, &labels, value);
        };
        for (bound, value) in items(bounds).zip(items(counts)) {
            if let (Some(_), Some(value)) = (number(bound), number(value)) {
                bucket(bound, value);
            }
        }
        bucket("+Inf", count);
        if let Some(sum) = other("_sum").and_then(number) {
            out.sample(&format!("{}_sum", self.name), labels, sum);
        }
        out.sample(&format!("{}_count", self.name), labels, count);
    }
}

/// The items of an array of numbers, `{1,2}`.
fn items(array: &str) -> impl Iterator<Item = &str> {
    array
        .trim_matches(|c| c == '{' || c == '}')
        .split(',')
        .map(str::trim)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LABEL_BYTES_MAX)]
}

/// A number, a truth value (1 or 0) or a time (seconds since 1970), as the server writes them.
fn number(text: &str) -> Option<f64> {
    match text {
        "t" | "true" | "on" => return Some(1.0),
        "f" | "false" | "off" => return Some(0.0),
        _ => {}
    }
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_duration().as_secs_f64());
    }
    // Without a zone: the server's clock runs in UTC in most containers.
    let time: jiff::civil::DateTime = text.parse().ok()?;
    let utc = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(utc.timestamp().as_duration().as_secs_f64())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What was told, as an exposition.
    #[derive(Default)]
    pub(in super::super) struct Told(pub(in super::super) String);

    impl Out for Told {
        fn family(&mut self, name: &str, kind: Kind, _: &str) {
            self.0 += &format!("# {name} {}\n", kind.as_str());
        }

        fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
            let labels: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            self.0 += &format!("{name}{{{}}} {value}\n", labels.join(","));
        }
    }

    fn column(column: &str, usage: Usage) -> Column {
        Column {
            column: column.to_owned(),
            usage,
            name: format!("pg_x_{column}"),
            help: String::new(),
            mapping: BTreeMap::from([("up".to_owned(), 1.0)]),
        }
    }

    fn check(columns: &[(&str, Usage)], server: bool, answer: &str, expect: &str) {
        let columns = columns.iter().map(|(c, u)| column(c, *u)).collect();
        let spec = Spec {
            collector: "x".to_owned(),
            query: Query::Ours(|_| None),
            every: Duration::ZERO,
            each_database: false,
            meaning: Meaning::Columns { columns, server },
        };
        let mut told = Told::default();
        spec.emit(&Table::of(answer), "db:5432", &mut told);
        assert_eq!(told.0, expect);
    }

    #[test]
    fn labels_and_values_are_told_apart_and_null_is_no_sample() {
        check(
            &[
                ("a", Usage::Label),
                ("n", Usage::Counter),
                ("absent", Usage::Gauge),
                ("b", Usage::Label),
                ("x", Usage::Discard),
                ("g", Usage::Gauge),
            ],
            false,
            "n|a|b|x|g\n3|one|1|9|2.5\n~|two|~|9|t",
            "# pg_x_n counter\n\
             pg_x_n{a=one,b=1} 3\n\
             # pg_x_g gauge\n\
             pg_x_g{a=one,b=1} 2.5\n\
             pg_x_g{a=two,b=} 1\n",
        );
    }

    #[test]
    fn text_times_and_durations_become_numbers() {
        check(
            &[
                ("m", Usage::Mapped),
                ("d", Usage::Duration),
                ("t", Usage::Untyped),
            ],
            true,
            "m|d|t\nup|2s|2023-11-14 22:13:20.5+00\ndown|x|never",
            "# pg_x_m gauge\n\
             pg_x_m{server=db:5432} 1\n\
             # pg_x_d gauge\n\
             pg_x_d{server=db:5432} 2000\n\
             # pg_x_t unknown\n\
             pg_x_t{server=db:5432} 1700000000.5\n",
        );
        assert_eq!(number("2023-11-14 23:13:20+01"), Some(1_700_000_000.0));
        assert_eq!(number("2023-11-14 22:13:20"), Some(1_700_000_000.0));
        assert_eq!(number("Infinity"), Some(f64::INFINITY));
        assert_eq!(number("words"), None);
    }

    #[test]
    fn arrays_become_a_histogram() {
        check(
            &[("l", Usage::Label), ("s", Usage::Histogram)],
            false,
            "l|s|s_bucket|s_sum|s_count\na|{1,2}|{3,4}|17|5",
            "# pg_x_s histogram\n\
             pg_x_s_bucket{l=a,le=1} 3\n\
             pg_x_s_bucket{l=a,le=2} 4\n\
             pg_x_s_bucket{l=a,le=+Inf} 5\n\
             pg_x_s_sum{l=a} 17\n\
             pg_x_s_count{l=a} 5\n",
        );
    }
}
