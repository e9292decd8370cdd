//! Frames read back: as much of one as is asked for.

use std::ops::Range;

use model::{Labels, LogEntry, Sieve};
use zstd::bulk::Decompressor;

use super::frame::{Header, Part, RAW_BYTES_MAX};
use super::merge::Window;
use super::tokens;
use crate::bytes::{Malformed, Reader};

/// What is wanted of a frame.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) window: Window,
    pub(super) sieve: Option<&'a Sieve>,
    /// Texts only of frames with two lines of one instant.
    pub(super) no_texts: bool,
}

/// Memory that is used again for one frame after another.
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    columns: Vec<u8>,
    texts: Vec<u8>,
    zstd: Decompressor<'static>,
}

/// Lines of a frame.
pub(crate) struct Frame {
    texts: Vec<u8>,
    metadata: Vec<Labels>,
    pub(crate) rows: Vec<Row>,
    /// Lines that were left out for the sieve, and bytes of texts that were not read or left out.
    pub(super) passed_lines: u64,
    pub(super) passed_bytes: u64,
    /// Its filter is damaged and was not asked.
    pub(super) has_bad_filter: bool,
}

/// Where a line of a [`Frame`] is.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) at_ns: i64,
    pub(crate) seq: u64,
    pub(super) metadata: u32,
    start: u32,
    end: u32,
}

impl Row {
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Scratch {
    pub(super) fn new() -> std::io::Result<Scratch> {
        Ok(Scratch {
            bytes: Vec::new(),
            columns: Vec::new(),
            texts: Vec::new(),
            zstd: Decompressor::new()?,
        })
    }
}

fn unpack(
    zstd: &mut Decompressor<'_>,
    packed: &[u8],
    raw_bytes: u32,
    into: &mut Vec<u8>,
) -> Result<(), Malformed> {
    if raw_bytes > RAW_BYTES_MAX {
        return Err(Malformed);
    }
    into.clear();
    into.reserve(raw_bytes as usize);
    let unpacked = zstd.decompress_to_buffer(packed, into);
    match unpacked.is_ok_and(|n| n == raw_bytes as usize) {
        true => Ok(()),
        false => Err(Malformed),
    }
}

impl Frame {
    /// Whether a line may be wanted, by the filter of the frame that begins with `bytes`.
    pub(super) fn may_have(
        header: &Header,
        bytes: &[u8],
        sieve: &Sieve,
    ) -> Result<bool, Malformed> {
        let filter = header.part(bytes, Part::Filter)?;
        if filter.is_empty() {
            return Ok(true);
        }
        // Which labels lines have as metadata is not known here.
        let mask = sieve.mask(&|_| true);
        Ok(sieve.may_pass(mask, &|text| tokens::may_have(filter, text)))
    }

    /// The lines of the frame in `scratch.bytes` that are wanted, in the order of reception. The
    /// texts may be missing in the bytes where they are not wanted; whether they are needed after
    /// all is then told by `None`.
    pub(super) fn decode(
        header: &Header,
        scratch: &mut Scratch,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Frame>, Malformed> {
        let columns = header.part(&scratch.bytes, Part::Columns)?;
        let zstd = &mut scratch.zstd;
        let sieve = wanted.sieve.filter(|s| !s.is_empty());
        let mut frame = Frame {
            texts: Vec::new(),
            metadata: Vec::new(),
            rows: Vec::new(),
            passed_lines: 0,
            passed_bytes: 0,
            has_bad_filter: false,
        };
        unpack(
            zstd,
            columns,
            header.raw_columns_bytes,
            &mut scratch.columns,
        )?;
        let mut r = Reader::new(&scratch.columns);
        frame.metadata = metadata_sets(&mut r)?;
        if wanted.no_texts && sieve.is_none() {
            frame.rows = rows(header, r, frame.metadata.len())?;
            frame.rows.retain(|row| wanted.window.contains(row.at_ns));
            if !has_ties(&mut frame.rows) {
                frame.passed_bytes = header.raw_texts_bytes.into();
                return Ok(Some(frame));
            }
            let is_there = scratch.bytes.len() as u64 >= header.lengths.total();
            if !is_there {
                return Ok(None);
            }
        }
        let texts = header.part(&scratch.bytes, Part::Texts)?;
        unpack(zstd, texts, header.raw_texts_bytes, &mut scratch.texts)?;
        let texts = &mut scratch.texts;
        let Some(sieve) = sieve else {
            frame.rows = rows(header, r, frame.metadata.len())?;
            frame.rows.retain(|row| wanted.window.contains(row.at_ns));
            match frame.rows.len() == header.lines as usize {
                true => frame.texts = std::mem::take(texts),
                false => frame.keep(texts),
            }
            return Ok(Some(frame));
        };
        let mask = sieve.mask(&|name| {
            let of_lines = || frame.metadata.iter().any(|set| set.get(name).is_some());
            header.labels.get(name).is_some() || of_lines()
        });
        if sieve.may_be_in(mask, texts) {
            frame.rows = rows(header, r, frame.metadata.len())?;
            sieve.retain(mask, texts, &mut frame.rows, Row::range);
        }
        frame.passed_lines = u64::from(header.lines) - frame.rows.len() as u64;
        frame.rows.retain(|row| wanted.window.contains(row.at_ns));
        frame.keep(texts);
        frame.passed_bytes = (texts.len() - frame.texts.len()) as u64;
        Ok(Some(frame))
    }

    /// Takes the texts of the rows out of those of all lines.
    fn keep(&mut self, texts: &[u8]) {
        let kept = self.rows.iter().map(|row| row.range().len()).sum();
        self.texts.reserve_exact(kept);
        for row in &mut self.rows {
            let begin = self.texts.len() as u32;
            let text = texts.get(row.range()).unwrap_or_default();
            self.texts.extend_from_slice(text);
            (row.start, row.end) = (begin, begin + text.len() as u32);
        }
        self.rows.shrink_to_fit();
    }

    /// The text of a line.
    pub(super) fn text(&self, row: &Row) -> &[u8] {
        self.texts.get(row.range()).unwrap_or_default()
    }

    /// The metadata of a line.
    pub(super) fn metadata(&self, row: &Row) -> Option<&Labels> {
        self.metadata.get(row.metadata as usize)
    }

    /// Puts a line into `entry`, whose buffer is used again.
    pub(crate) fn fill(&self, row: &Row, entry: &mut LogEntry) {
        entry.at_ns = row.at_ns;
        entry.line.clear();
        let text = self.text(row);
        match std::str::from_utf8(text) {
            Ok(text) => entry.line.push_str(text),
            Err(_) => entry.line.push_str(&String::from_utf8_lossy(text)),
        }
        if let Some(metadata) = self.metadata(row)
            && !metadata.is_same(&entry.metadata)
        {
            entry.metadata = metadata.clone();
        }
    }
}

fn metadata_sets(r: &mut Reader<'_>) -> Result<Vec<Labels>, Malformed> {
    let sets = r.count(1)?;
    let mut metadata = Vec::with_capacity(sets);
    for _ in 0..sets {
        metadata.push(r.labels()?);
    }
    Ok(metadata)
}

/// The columns behind the metadata.
fn rows(header: &Header, mut r: Reader<'_>, sets: usize) -> Result<Vec<Row>, Malformed> {
    let count = header.lines as usize;
    // Each line takes at least four bytes of columns.
    if count > r.remaining() / 4 {
        return Err(Malformed);
    }
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let number = r.varint()?;
        if number >= sets as u64 {
            return Err(Malformed);
        }
        rows.push(Row {
            at_ns: 0,
            seq: 0,
            metadata: number as u32,
            start: 0,
            end: 0,
        });
    }
    let (mut seq, mut at_ns) = (0_u64, 0_i64);
    for row in &mut rows {
        seq = seq.wrapping_add(r.varint()?);
        row.seq = seq;
    }
    for row in &mut rows {
        at_ns = at_ns.wrapping_add(r.signed()?);
        row.at_ns = at_ns;
    }
    let mut end = 0_u64;
    for row in &mut rows {
        row.start = end as u32;
        end = end.checked_add(r.varint()?).ok_or(Malformed)?;
        row.end = u32::try_from(end).map_err(|_| Malformed)?;
    }
    match r.is_empty() && end == u64::from(header.raw_texts_bytes) {
        true => Ok(rows),
        false => Err(Malformed),
    }
}

/// Whether two rows have the same instant; rows may change their order.
fn has_ties(rows: &mut [Row]) -> bool {
    if !rows.is_sorted_by_key(|r| r.at_ns) {
        rows.sort_by_key(|r| r.at_ns);
    }
    rows.windows(2).any(|pair| pair[0].at_ns == pair[1].at_ns)
}

#[cfg(test)]
mod tests {
    use model::Direction;
    use proptest::prelude::*;
    use zstd::bulk::Compressor;

    use super::super::frame::{FrameBuilder, Line, ZSTD_LEVEL};
    use super::*;

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        let line = (any::<i64>(), ".{0,60}", 0..3_u8, 1..1000_u64);
        prop::collection::vec(line, 1..60).prop_map(|lines| {
            let mut seq = 0;
            lines
                .into_iter()
                .map(|(at_ns, line, meta, step)| {
                    seq += step;
                    let metadata = Labels::from_pairs([("level", "x".repeat(meta.into()))]);
                    let entry = LogEntry {
                        at_ns,
                        line,
                        metadata,
                    };
                    Line {
                        seq,
                        weight: 0,
                        entry,
                    }
                })
                .collect()
        })
    }

    fn encode(labels: &Labels, lines: &[Line], filter: bool) -> Vec<u8> {
        let mut builder = match filter {
            true => FrameBuilder::with_filter(),
            false => FrameBuilder::default(),
        };
        for Line { seq, entry, .. } in lines {
            let LogEntry {
                at_ns,
                line,
                metadata,
            } = entry;
            builder.push(*seq, *at_ns, metadata, line.as_bytes());
        }
        let mut out = Vec::new();
        let mut zstd = Compressor::new(ZSTD_LEVEL).unwrap();
        builder.finish(labels, &mut zstd, &mut out).unwrap();
        out
    }

    const ALL: Wanted<'_> = Wanted {
        window: Window {
            start_ns: i64::MIN,
            end_ns: i64::MAX,
            direction: Direction::Forward,
        },
        sieve: None,
        no_texts: false,
    };

    fn decode(bytes: &[u8], wanted: &Wanted<'_>) -> Result<(Header, Vec<Line>), Malformed> {
        let header = Header::decode(bytes)?;
        if !header.holds_for(bytes) {
            return Err(Malformed);
        }
        let mut scratch = Scratch::new().unwrap();
        scratch.bytes = bytes.to_vec();
        let frame = Frame::decode(&header, &mut scratch, wanted)?.unwrap();
        let mut back = Vec::new();
        for row in &frame.rows {
            let mut entry = LogEntry {
                at_ns: 0,
                line: String::new(),
                metadata: Labels::empty(),
            };
            frame.fill(row, &mut entry);
            back.push(Line {
                seq: row.seq,
                weight: 0,
                entry,
            });
        }
        Ok((header, back))
    }

    proptest! {
        #[test]
        fn lines_come_back(mut lines in lines(), filter in any::<bool>()) {
            // The end of the window is outside.
            lines.iter_mut().for_each(|l| l.entry.at_ns = l.entry.at_ns.min(i64::MAX - 1));
            let labels = Labels::from_pairs([("service_name", "db")]);
            let bytes = encode(&labels, &lines, filter);
            let (header, back) = decode(&bytes, &ALL).unwrap();
            prop_assert_eq!(&back, &lines);
            prop_assert_eq!(header.labels, labels);
            prop_assert_eq!(header.min_ns, lines.iter().map(|l| l.entry.at_ns).min().unwrap());
            prop_assert_eq!(header.last_seq, lines.last().unwrap().seq);
        }

        #[test]
        fn a_sieve_keeps_what_passes(lines in lines(), text in "[a-z]{1,2}", filter in any::<bool>()) {
            let bytes = encode(&Labels::empty(), &lines, filter);
            let mut sieve = Sieve::new();
            sieve.require_any(&[&text]);
            let wanted = Wanted { sieve: Some(&sieve), ..ALL };
            let (header, back) = decode(&bytes, &wanted).unwrap();
            let mut expect = lines;
            expect.retain(|l| l.entry.line.contains(&text) && l.entry.at_ns < i64::MAX);
            prop_assert!(expect.is_empty() || Frame::may_have(&header, &bytes, &sieve).unwrap());
            prop_assert_eq!(back, expect);
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_always_noticed(lines in lines(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&Labels::empty(), &lines, true);
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= 1;
            prop_assert!(decode(&damaged, &ALL).is_err());
            prop_assert!(decode(&bytes[..at.index(bytes.len())], &ALL).is_err());
        }
    }

    #[test]
    fn texts_are_left_out_where_no_two_lines_have_one_instant() {
        let wanted = Wanted {
            no_texts: true,
            ..ALL
        };
        let line = |at_ns, text: &str| Line {
            seq: at_ns as u64,
            weight: 0,
            entry: LogEntry {
                at_ns,
                line: text.to_owned(),
                metadata: Labels::empty(),
            },
        };
        let apart = encode(&Labels::empty(), &[line(1, "a"), line(2, "b")], false);
        let (_, seen) = decode(&apart, &wanted).unwrap();
        assert_eq!(seen, [line(1, ""), line(2, "")]);
        let together = [line(1, "a"), line(1, "b"), line(2, "c")];
        let (_, seen) = decode(&encode(&Labels::empty(), &together, false), &wanted).unwrap();
        assert_eq!(seen, together);
    }

    #[test]
    fn a_filter_knows_which_words_are_absent() {
        let line = Line {
            seq: 1,
            weight: 0,
            entry: LogEntry {
                at_ns: 1,
                line: "user 4711 left".to_owned(),
                metadata: Labels::empty(),
            },
        };
        let bytes = encode(&Labels::empty(), &[line], true);
        let header = Header::decode(&bytes).unwrap();
        for (text, expect) in [(" 4711 ", true), (" 4712 ", false), ("471", true)] {
            let mut sieve = Sieve::new();
            sieve.require_any(&[text]);
            assert_eq!(
                Frame::may_have(&header, &bytes, &sieve),
                Ok(expect),
                "{text}"
            );
        }
    }
}
