//! Requests of Loki's push API: `logproto.PushRequest` and its JSON form.
//! Sources: grafana/loki pkg/push/push.proto, and the page "Loki HTTP API", ingest logs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::protobuf::{Fields, Malformed, Messages, push_bounded};

/// Pairs of structured metadata of one entry.
pub(crate) const METADATA_MAX: usize = 128;

/// One entry as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Nanoseconds since the epoch.
    pub(crate) at_ns: i64,
    pub(crate) line: Cow<'a, str>,
    pub(crate) metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// One stream of a protobuf request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a> {
    /// As text: `{job="x"}`.
    pub(crate) labels: &'a str,
    message: &'a [u8],
}

/// The streams of a request, one at a time.
pub(crate) fn streams(request: &[u8]) -> impl Iterator<Item = Result<Stream<'_>, Malformed>> {
    Messages::of(request, 1).map(|message| {
        let message = message?;
        let mut labels = "";
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                labels = value.text()?;
            }
        }
        Ok(Stream { labels, message })
    })
}

impl<'a> Stream<'a> {
    /// Its entries, one at a time.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, Malformed>> {
        Messages::of(self.message, 2).map(|message| entry(message?))
    }
}

fn entry(message: &[u8]) -> Result<Entry<'_>, Malformed> {
    let mut entry = Entry {
        at_ns: 0,
        line: Cow::Borrowed(""),
        metadata: Vec::new(),
    };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => entry.at_ns = timestamp(value.bytes()?)?,
            2 => entry.line = Cow::Borrowed(value.text()?),
            3 => push_bounded(&mut entry.metadata, pair(value.bytes()?)?, METADATA_MAX)?,
            _ => {}
        }
    }
    Ok(entry)
}

fn pair(message: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let (mut name, mut text) = ("", "");
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(text)))
}

/// `google.protobuf.Timestamp`; what does not fit is as far away as can be.
fn timestamp(message: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => seconds = value.varint()?.cast_signed(),
            2 => nanos = value.varint()?.cast_signed(),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// A request in JSON, read one stream and one entry at a time: of short entries it would take many
/// times its own size.
#[derive(Debug, Deserialize)]
pub(crate) struct JsonRequest<'a> {
    #[serde(borrow)]
    streams: &'a RawValue,
}

/// One stream of it.
#[derive(Debug, Deserialize)]
pub(crate) struct JsonStream<'a> {
    /// Its labels.
    #[serde(borrow)]
    pub(crate) stream: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(borrow)]
    values: &'a RawValue,
}

/// Why not all of a request was visited.
#[derive(Debug)]
pub(crate) enum Unvisited<E> {
    Malformed(serde_json::Error),
    Stopped(E),
}

impl<'a> JsonRequest<'a> {
    /// Hands over its streams.
    ///
    /// # Errors
    /// What `visit` fails with, or what is wrong with a stream.
    pub(crate) fn streams<E>(
        &self,
        visit: impl FnMut(JsonStream<'a>) -> Result<(), Unvisited<E>>,
    ) -> Result<(), Unvisited<E>> {
        each(self.streams, visit)
    }
}

impl<'a> JsonStream<'a> {
    /// Hands over its entries.
    ///
    /// # Errors
    /// What `visit` fails with, or what is wrong with an entry.
    pub(crate) fn entries<E>(
        &self,
        mut visit: impl FnMut(Entry<'a>) -> Result<(), E>,
    ) -> Result<(), Unvisited<E>> {
        each(self.values, |entry| {
            visit(entry).map_err(Unvisited::Stopped)
        })
    }
}

/// Visits the elements of an array as they are read.
fn each<'a, T: Deserialize<'a>, E>(
    array: &'a RawValue,
    visit: impl FnMut(T) -> Result<(), Unvisited<E>>,
) -> Result<(), Unvisited<E>> {
    struct Each<'s, T, E, F> {
        visit: F,
        ended: &'s mut Option<E>,
        of: PhantomData<T>,
    }
    impl<'de, T: Deserialize<'de>, E, F: FnMut(T) -> Result<(), E>> Visitor<'de> for Each<'_, T, E, F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element()? {
                if let Err(e) = (self.visit)(element) {
                    *self.ended = Some(e);
                    return Err(A::Error::custom("ended"));
                }
            }
            Ok(())
        }
    }
    let mut ended = None;
    let each = Each {
        visit,
        ended: &mut ended,
        of: PhantomData,
    };
    let read = serde_json::Deserializer::from_str(array.get()).deserialize_seq(each);
    match (ended, read) {
        (Some(why), _) => Err(why),
        (None, read) => read.map_err(Unvisited::Malformed),
    }
}

/// A string, borrowed where it holds no escapes.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Triple;
        impl<'de> Visitor<'de> for Triple {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array [\"<nanoseconds>\", \"<line>\", {<structured metadata>}]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry<'de>, A::Error> {
                let missing = |what| A::Error::custom(format!("an entry has no {what}"));
                let at: Text<'de> = seq.next_element()?.ok_or_else(|| missing("timestamp"))?;
                let at_ns = at.0.parse().map_err(|_| {
                    A::Error::custom(format!("{:?} is no time in nanoseconds", at.0))
                })?;
                let line: Text<'de> = seq.next_element()?.ok_or_else(|| missing("line"))?;
                let metadata: Option<BTreeMap<Text<'de>, Text<'de>>> = seq.next_element()?;
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("an entry has more than three elements"));
                }
                let metadata = metadata.unwrap_or_default();
                if metadata.len() > METADATA_MAX {
                    return Err(A::Error::custom(format!(
                        "an entry has more than {METADATA_MAX} pairs of structured metadata"
                    )));
                }
                Ok(Entry {
                    at_ns,
                    line: line.0,
                    metadata: metadata.into_iter().map(|(n, v)| (n.0, v.0)).collect(),
                })
            }
        }
        from.deserialize_seq(Triple)
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::write;
    use super::*;

    /// `{a="b"}` with one entry.
    fn request() -> Vec<u8> {
        let mut out = Vec::new();
        write::message(&mut out, 1, |out| {
            write::message(out, 2, |out| {
                write::message(out, 1, |out| {
                    write::varint(out, 1, 1_700_000_000);
                    write::varint(out, 2, 7);
                });
                write::bytes(out, 2, b"hello");
                write::message(out, 3, |out| {
                    write::bytes(out, 1, b"trace");
                    write::bytes(out, 2, b"t1");
                });
            });
            write::bytes(out, 1, b"{a=\"b\"}");
        });
        out
    }

    fn all_entries(json: &str) -> Result<Vec<Entry<'_>>, String> {
        let request: JsonRequest = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        let visited = request.streams::<()>(|stream| {
            stream.entries(|entry| {
                all.push(entry);
                Ok(())
            })
        });
        match visited {
            Ok(()) => Ok(all),
            Err(Unvisited::Malformed(e)) => Err(e.to_string()),
            Err(Unvisited::Stopped(())) => Err("stopped".to_owned()),
        }
    }

    #[test]
    fn who_has_enough_is_obeyed() {
        let json = r#"{"streams":[{"stream":{},"values":[["1","a"],["2","b"],["3"]]}]}"#;
        let request: JsonRequest = serde_json::from_str(json).unwrap();
        let mut seen = Vec::new();
        let visited = request.streams(|stream| {
            stream.entries(|entry| {
                seen.push(entry.at_ns);
                if entry.at_ns == 2 {
                    Err("full")
                } else {
                    Ok(())
                }
            })
        });
        assert!(matches!(visited, Err(Unvisited::Stopped("full"))));
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn both_forms_say_the_same() {
        let request = request();
        let all: Vec<Stream> = streams(&request).collect::<Result<_, _>>().unwrap();
        let entries: Vec<Entry> = all[0].entries().collect::<Result<_, _>>().unwrap();
        assert_eq!(all[0].labels, "{a=\"b\"}");
        let json = r#"{"streams":[{"stream":{"a":"b"},
            "values":[["1700000000000000007","hello",{"trace":"t1"}]]}]}"#;
        assert_eq!(all_entries(json).unwrap(), entries);
        assert_eq!(entries[0].at_ns, 1_700_000_000_000_000_007);
    }

    #[test]
    fn a_torn_request_ends_with_an_error() {
        let request = request();
        for end in 1..request.len() {
            let failed = streams(&request[..end]).any(|stream| match stream {
                Ok(stream) => stream.entries().any(|entry| entry.is_err()),
                Err(_) => true,
            });
            assert!(failed, "{end}");
        }
    }

    #[test]
    fn odd_json_is_refused() {
        for (entry, why) in [
            ("[1700000000000000007, \"x\"]", "invalid type: integer"),
            ("[\"now\", \"x\"]", "is no time in nanoseconds"),
            ("[\"1\"]", "has no line"),
            ("[\"1\", \"x\", {\"a\": 1}]", "invalid type: integer"),
            ("[\"1\", \"x\", {}, 7]", "more than three elements"),
        ] {
            let text = format!("{{\"streams\":[{{\"stream\":{{}},\"values\":[{entry}]}}]}}");
            let error = all_entries(&text).unwrap_err();
            assert!(error.contains(why), "{entry}: {error}");
        }
    }
}
