//! Requests of remote write 1.0 (`prometheus.WriteRequest`) and 2.0
//! (`io.prometheus.write.v2.Request`), one series at a time.
//! Source: prometheus/prompb/remote.proto, types.proto and io/prometheus/write/v2/types.proto.

use model::Labels;
use model::labels::METRIC_NAME;

use super::protobuf::{Fields, Malformed, Value, push_bounded};

/// Labels of one series. People have twenty; a sender with hundreds is broken or hostile.
pub(crate) const LABELS_MAX: usize = 256;
/// Bytes of all names and values of one series; also keeps 2.0's symbols, which many series
/// may share, from becoming gigabytes when they are written out.
pub(crate) const LABEL_BYTES_MAX: usize = 32 << 10;
/// Samples of one series in one request.
const SAMPLES_MAX: usize = 1 << 20;
/// Symbols of one 2.0 request, 16 bytes of table each.
const SYMBOLS_MAX: usize = 1 << 20;

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Why a series is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSeries {
    #[error("invalid metric name or labels: no metric name")]
    NoMetricName,
    #[error("invalid metric name or labels: a label without a name")]
    EmptyName,
    #[error("invalid metric name or labels: not UTF-8")]
    NotUtf8,
    #[error("invalid labels for series: duplicated label")]
    Duplicate,
    #[error("invalid labels for series: a reference to a symbol that does not exist")]
    Reference,
    #[error("invalid labels for series: more than {LABELS_MAX} labels")]
    TooMany,
    #[error("invalid labels for series: more than {LABEL_BYTES_MAX} bytes of labels")]
    TooLong,
    #[error("TimeSeries must contain at least one sample or histogram")]
    Nothing,
    #[error("TimeSeries must contain either samples or histograms, not both")]
    Mixed,
}

/// One series of a request. The buffers are used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Series<'a> {
    labels: Vec<(&'a [u8], &'a [u8])>,
    packed: Vec<u8>,
    references: Vec<u32>,
    labels_seen: usize,
    bad: Option<BadSeries>,
    /// Time in milliseconds and value.
    pub(crate) samples: Vec<(i64, f64)>,
    /// For [`super::histogram::decode`], one at a time: decoded they are many times larger.
    pub(crate) histograms: Vec<&'a [u8]>,
    /// How many exemplars there were; they are not kept.
    pub(crate) exemplars: u64,
    /// Of 2.0.
    pub(crate) metadata: Option<Metadata<'a>>,
}

/// Type, help and unit of a metric; what is not UTF-8 is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    /// Of 1.0; 2.0 puts metadata beside their series.
    pub(crate) family: &'a str,
    /// As Prometheus' API prints it.
    pub(crate) kind: &'static str,
    pub(crate) help: &'a str,
    pub(crate) unit: &'a str,
}

/// What comes next in a request.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// It is in the buffer that was handed in.
    Series,
    Metadata(Metadata<'a>),
}

/// A request as it is being read.
pub(crate) struct Request<'a> {
    version: Version,
    fields: Fields<'a>,
    symbols: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads 2.0's symbols, which may stand anywhere.
    ///
    /// # Errors
    /// When they are malformed or too many.
    pub(crate) fn new(version: Version, bytes: &'a [u8]) -> Result<Self, String> {
        let mut symbols = Vec::new();
        if version == Version::Two {
            let mut fields = Fields::of(bytes);
            while let Some((number, value)) = fields.next().map_err(|e| e.to_string())? {
                if number == 4 {
                    symbols.push(value.bytes().map_err(|e| e.to_string())?);
                    if symbols.len() > SYMBOLS_MAX {
                        return Err(format!("more than {SYMBOLS_MAX} symbols"));
                    }
                }
            }
            if symbols.first().is_some_and(|s| !s.is_empty()) {
                return Err("the first symbol must be the empty string".to_owned());
            }
        }
        Ok(Request {
            version,
            fields: Fields::of(bytes),
            symbols,
        })
    }

    /// The next item; a series goes to `into`.
    pub(crate) fn next(&mut self, into: &mut Series<'a>) -> Result<Option<Item<'a>>, Malformed> {
        while let Some((number, value)) = self.fields.next()? {
            match (self.version, number) {
                (Version::One, 1) => {
                    into.clear();
                    series_one(value.bytes()?, into)?;
                    return Ok(Some(Item::Series));
                }
                (Version::One, 3) => {
                    return metadata_one(value.bytes()?).map(|m| Some(Item::Metadata(m)));
                }
                (Version::Two, 5) => {
                    into.clear();
                    self.series_two(value.bytes()?, into)?;
                    return Ok(Some(Item::Series));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn series_two(&self, message: &'a [u8], into: &mut Series<'a>) -> Result<(), Malformed> {
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => value.varints_into(&mut into.references, |v| {
                    u32::try_from(v).unwrap_or(u32::MAX)
                })?,
                2 => push_bounded(&mut into.samples, sample(value)?, SAMPLES_MAX)?,
                3 => push_bounded(&mut into.histograms, value.bytes()?, SAMPLES_MAX)?,
                4 => into.exemplars += 1,
                5 => into.metadata = Some(self.metadata_two(value.bytes()?)?),
                _ => {}
            }
        }
        let (pairs, odd) = into.references.as_chunks::<2>();
        if !odd.is_empty() {
            into.bad = Some(BadSeries::Reference);
        }
        into.labels_seen = pairs.len();
        for [name, value] in pairs.iter().take(LABELS_MAX + 1) {
            match (self.symbol(*name), self.symbol(*value)) {
                (Some(name), Some(value)) => into.labels.push((name, value)),
                _ => into.bad = Some(BadSeries::Reference),
            }
        }
        // 2.0's specification asks for one of the two.
        match (into.samples.is_empty(), into.histograms.is_empty()) {
            (true, true) => into.bad = into.bad.or(Some(BadSeries::Nothing)),
            (false, false) => into.bad = into.bad.or(Some(BadSeries::Mixed)),
            _ => {}
        }
        Ok(())
    }

    fn symbol(&self, reference: u32) -> Option<&'a [u8]> {
        self.symbols.get(reference as usize).copied()
    }

    fn metadata_two(&self, message: &'a [u8]) -> Result<Metadata<'a>, Malformed> {
        let mut metadata = Metadata::default();
        let text = |value: Value<'a>| -> Result<&'a str, Malformed> {
            let reference = u32::try_from(value.varint()?).unwrap_or(u32::MAX);
            Ok(utf8(self.symbol(reference).unwrap_or_default()))
        };
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => metadata.kind = kind(value.varint()?),
                3 => metadata.help = text(value)?,
                4 => metadata.unit = text(value)?,
                _ => {}
            }
        }
        Ok(metadata)
    }
}

impl<'a> Series<'a> {
    fn clear(&mut self) {
        self.labels.clear();
        self.references.clear();
        self.labels_seen = 0;
        self.bad = None;
        self.samples.clear();
        self.histograms.clear();
        self.exemplars = 0;
        self.metadata = None;
    }

    /// The label set. Labels with empty values are left out.
    ///
    /// # Errors
    /// When it is no label set, or a larger one than we take.
    pub(crate) fn labels(&mut self) -> Result<Labels, BadSeries> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        if self.labels_seen > LABELS_MAX {
            return Err(BadSeries::TooMany);
        }
        let (mut bytes, mut before) = (0, &[][..]);
        let (mut sorted, mut named) = (true, false);
        for (name, value) in &self.labels {
            bytes += name.len() + value.len();
            if name.is_empty() {
                return Err(BadSeries::EmptyName);
            }
            sorted &= before < *name;
            named |= *name == METRIC_NAME.as_bytes() && !value.is_empty();
            before = name;
        }
        if bytes > LABEL_BYTES_MAX {
            return Err(BadSeries::TooLong);
        }
        if !sorted {
            self.labels.sort_unstable();
            if self.labels.windows(2).any(|w| w[0].0 == w[1].0) {
                return Err(BadSeries::Duplicate);
            }
        }
        if !named {
            return Err(BadSeries::NoMetricName);
        }
        let given = self.labels.iter().copied();
        let given = given.filter(|(_, value)| !value.is_empty());
        Labels::from_sorted_utf8(given, &mut self.packed).map_err(|_| BadSeries::NotUtf8)
    }
}

fn series_one<'a>(message: &'a [u8], into: &mut Series<'a>) -> Result<(), Malformed> {
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                into.labels_seen += 1;
                let label = label(value)?;
                if into.labels_seen <= LABELS_MAX {
                    into.labels.push(label);
                }
            }
            2 => push_bounded(&mut into.samples, sample(value)?, SAMPLES_MAX)?,
            3 => into.exemplars += 1,
            4 => push_bounded(&mut into.histograms, value.bytes()?, SAMPLES_MAX)?,
            _ => {}
        }
    }
    Ok(())
}

/// Name and value of `prometheus.Label`.
#[inline]
fn label<'a>(value: Value<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let message = value.bytes()?;
    // As everybody writes it: the name, then the value, both shorter than 128 bytes.
    if let [0x0a, length @ ..0x80, rest @ ..] = message
        && let Some((name, [0x12, length @ ..0x80, value @ ..])) =
            rest.split_at_checked(usize::from(*length))
        && value.len() == usize::from(*length)
    {
        return Ok((name, value));
    }
    let (mut label, mut fields) = ((&[][..], &[][..]), Fields::of(message));
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => label.0 = value.bytes()?,
            2 => label.1 = value.bytes()?,
            _ => {}
        }
    }
    Ok(label)
}

/// Time and value; 2.0's start timestamp is not kept.
#[inline]
fn sample(value: Value<'_>) -> Result<(i64, f64), Malformed> {
    let (mut sample, mut fields) = ((0, 0.0), Fields::of(value.bytes()?));
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sample.1 = value.double()?,
            2 => sample.0 = value.int64()?,
            _ => {}
        }
    }
    Ok(sample)
}

fn metadata_one(message: &[u8]) -> Result<Metadata<'_>, Malformed> {
    let mut metadata = Metadata {
        kind: kind(0),
        ..Metadata::default()
    };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.kind = kind(value.varint()?),
            2 => metadata.family = utf8(value.bytes()?),
            4 => metadata.help = utf8(value.bytes()?),
            5 => metadata.unit = utf8(value.bytes()?),
            _ => {}
        }
    }
    Ok(metadata)
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The numbers are the same in 1.0 and 2.0.
fn kind(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::write;
    use super::*;
    use proptest::prelude::*;

    fn one(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> Vec<u8> {
        let mut out = Vec::new();
        write::message(&mut out, 1, |out| {
            for (name, value) in labels {
                write::message(out, 1, |out| {
                    write::bytes(out, 1, name);
                    write::bytes(out, 2, value);
                });
            }
            for (t, v) in samples {
                write::message(out, 2, |out| {
                    write::double(out, 1, *v);
                    write::varint(out, 2, *t as u64);
                });
            }
        });
        out
    }

    /// All series of a request, as text.
    fn read(version: Version, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut request = Request::new(version, bytes)?;
        let mut series = Series::default();
        let mut out = Vec::new();
        while let Some(item) = request.next(&mut series).map_err(|e| e.to_string())? {
            out.push(match item {
                Item::Series => {
                    let labels = series
                        .labels()
                        .map_or_else(|e| e.to_string(), |l| l.to_string());
                    format!("{labels} {:?}", series.samples)
                }
                Item::Metadata(m) => format!("{} {}", m.family, m.kind),
            });
        }
        Ok(out)
    }

    #[test]
    fn a_series_of_1_0_is_read() {
        let mut bytes = one(
            &[(b"job", b"a"), (b"__name__", b"up"), (b"empty", b"")],
            &[(-5, 1.5), (10, 2.0)],
        );
        write::message(&mut bytes, 3, |out| {
            write::varint(out, 1, 1);
            write::bytes(out, 2, b"requests");
        });
        assert_eq!(
            read(Version::One, &bytes).unwrap(),
            [r#"up{job="a"} [(-5, 1.5), (10, 2.0)]"#, "requests counter"]
        );
    }

    #[test]
    fn bad_labels_are_named() {
        let many: Vec<(Vec<u8>, Vec<u8>)> = (0..10_000)
            .map(|i| (format!("l{i:05}").into_bytes(), b"v".to_vec()))
            .collect();
        let many: Vec<(&[u8], &[u8])> = many.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        let long = vec![b'x'; LABEL_BYTES_MAX];
        for (labels, expect) in [
            (&[(&b"job"[..], &b"a"[..])][..], BadSeries::NoMetricName),
            (&[(b"__name__", b"")], BadSeries::NoMetricName),
            (&[(b"__name__", b"a"), (b"", b"x")], BadSeries::EmptyName),
            (&[(b"__name__", b"a\xff")], BadSeries::NotUtf8),
            (
                &[(b"__name__", b"a"), (b"b", b"1"), (b"b", b"1")],
                BadSeries::Duplicate,
            ),
            (&many, BadSeries::TooMany),
            (&[(b"__name__", &long)], BadSeries::TooLong),
        ] {
            let bytes = one(labels, &[]);
            assert_eq!(
                read(Version::One, &bytes).unwrap(),
                [format!("{expect} []")]
            );
        }
        // However long a label is, it is read alike.
        for length in [0, 1, 127, 128, 129, 10_000] {
            let (name, value) = ("n".repeat(length.max(1)), "v".repeat(length));
            let labels = [
                (&b"__name__"[..], &b"a"[..]),
                (name.as_bytes(), value.as_bytes()),
            ];
            let bytes = one(&labels, &[]);
            let mut request = Request::new(Version::One, &bytes).unwrap();
            let mut series = Series::default();
            request.next(&mut series).unwrap();
            let read = series.labels().unwrap();
            assert_eq!(read.get(&name).unwrap_or_default(), value);
        }
        let nul = one(&[(b"__name__", b"a\0b")], &[]);
        assert_eq!(read(Version::One, &nul).unwrap(), ["a\0b []"]);
    }

    fn two(symbols: &[&str], references: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        write::message(&mut out, 5, |out| {
            write::message(out, 1, |out| {
                for r in references {
                    write::raw_varint(out, *r);
                }
            });
            write::message(out, 2, |out| {
                write::double(out, 1, 7.0);
                write::varint(out, 2, 1000);
                write::varint(out, 3, 900);
            });
            write::message(out, 5, |out| {
                write::varint(out, 1, 2);
                write::varint(out, 3, 2);
            });
        });
        for symbol in symbols {
            write::bytes(&mut out, 4, symbol.as_bytes());
        }
        out
    }

    #[test]
    fn a_series_of_2_0_is_read_wherever_its_symbols_stand() {
        let bytes = two(&["", "__name__", "up"], &[1, 2]);
        assert_eq!(read(Version::Two, &bytes).unwrap(), ["up [(1000, 7.0)]"]);
        let mut request = Request::new(Version::Two, &bytes).unwrap();
        let mut series = Series::default();
        request.next(&mut series).unwrap();
        let metadata = series.metadata.unwrap();
        assert_eq!((metadata.kind, metadata.help), ("gauge", "up"));
        for references in [&[1, 3][..], &[1], &[1, u64::MAX]] {
            let bytes = two(&["", "__name__", "up"], references);
            let expect = format!("{} [(1000, 7.0)]", BadSeries::Reference);
            assert_eq!(read(Version::Two, &bytes).unwrap(), [expect]);
        }
        assert!(read(Version::Two, &two(&["a"], &[])).is_err());
    }

    #[test]
    fn a_request_cut_off_anywhere_is_malformed_or_ends_between_two_fields() {
        let mut bytes = one(&[(b"__name__", b"up"), (b"a", b"b")], &[(1, 2.0)]);
        let first = bytes.len();
        bytes.extend(one(&[(b"__name__", b"down")], &[(1, 2.0)]));
        for end in 0..bytes.len() {
            let read = read(Version::One, &bytes[..end]);
            assert_eq!(read.is_ok(), end == 0 || end == first, "{end}");
        }
        let bytes = two(&["", "__name__", "up"], &[1, 2]);
        let series = usize::from(bytes[1]) + 2;
        for end in 1..series {
            assert!(read(Version::Two, &bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_series_of_2_0_has_samples_or_histograms() {
        let symbols = ["", "__name__", "up"];
        for (fields, expect) in [
            (&[][..], Err(BadSeries::Nothing)),
            (&[2], Ok(())),
            (&[3], Ok(())),
            (&[2, 3], Err(BadSeries::Mixed)),
        ] {
            let mut bytes = Vec::new();
            write::message(&mut bytes, 5, |out| {
                write::bytes(out, 1, &[1, 2]);
                fields.iter().for_each(|f| write::bytes(out, *f, &[]));
            });
            symbols
                .iter()
                .for_each(|s| write::bytes(&mut bytes, 4, s.as_bytes()));
            let mut request = Request::new(Version::Two, &bytes).unwrap();
            let mut series = Series::default();
            request.next(&mut series).unwrap();
            assert_eq!(series.labels().map(drop), expect, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Version::One, &bytes);
            let _ = read(Version::Two, &bytes);
        }

        #[test]
        fn damaged_requests_never_panic(
            cut in 0_usize..200,
            flip in 0_usize..200,
            to in any::<u8>(),
        ) {
            for (version, mut bytes) in [
                (Version::One, one(&[(b"__name__", b"up"), (b"a", b"b")], &[(1, 2.0)])),
                (Version::Two, two(&["", "__name__", "up"], &[1, 2])),
            ] {
                let at = flip % bytes.len();
                bytes[at] = to;
                bytes.truncate(bytes.len().saturating_sub(cut % 40));
                let _ = read(version, &bytes);
            }
        }
    }
}
