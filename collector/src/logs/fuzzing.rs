//! What reads containers' output, for the fuzz target.

use super::assemble::{Assembler, Line};
use super::frame::{Decoder, Stream};
use super::group::{Joiner, Joining};
use super::{json_record, level, stamp, when};

/// Kept of a line.
const LINE_BYTES_MAX: usize = 256;

/// A log stream cut into pieces as long as its first byte says: its lines are the same however it
/// is cut, and joining neither loses nor adds a byte.
///
/// # Panics
/// When it is otherwise.
pub fn logs(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else {
        return;
    };
    let lines = read(bytes, usize::MAX);
    assert_eq!(
        lines,
        read(bytes, usize::from(*cut) + 1),
        "cut at each {cut}"
    );
    for stream in Stream::ALL {
        let of_stream = lines.iter().filter(|(of, _)| *of == stream);
        join(of_stream.map(|(_, line)| line));
    }
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(record) = json_record::parse(line) {
            assert_eq!(
                stamp::parse_short(&stamp::short(record.at_ns)),
                Some(record.at_ns)
            );
        }
        let text = String::from_utf8_lossy(line);
        let _ = (level::of(&text), when::of(&text));
    }
}

/// Lines up to where the stream cannot be read on.
fn read(bytes: &[u8], piece: usize) -> Vec<(Stream, Line)> {
    let mut decoder = Decoder::new();
    let mut assemblers = Stream::ALL.map(|_| Assembler::new(LINE_BYTES_MAX));
    let mut lines = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(chunk)) => {
                    assemblers[chunk.stream as usize].push(&chunk.bytes, 7, |line| {
                        lines.push((chunk.stream, line));
                    });
                }
                Ok(None) => break,
                Err(_) => return lines,
            }
        }
    }
    if let Some(chunk) = decoder.finish() {
        assemblers[chunk.stream as usize].push(&chunk.bytes, 7, |line| {
            lines.push((chunk.stream, line));
        });
    }
    for stream in Stream::ALL {
        let last = assemblers[stream as usize].finish();
        lines.extend(last.map(|line| (stream, line)));
    }
    for (_, line) in &lines {
        assert!(line.text.len() <= LINE_BYTES_MAX && line.text.len() <= line.length);
    }
    lines
}

fn join<'a>(lines: impl Iterator<Item = &'a Line>) {
    let mut joiner = Joiner::new(Joining::Traces, 2 * LINE_BYTES_MAX);
    let (mut texts, mut joined) = (Vec::new(), Vec::new());
    for line in lines {
        texts.push(line.text.clone());
        joined.extend(joiner.push(line.clone()).map(|group| group.text));
    }
    joined.extend(joiner.finish().map(|group| group.text));
    assert_eq!(joined.join(&b'\n'), texts.join(&b'\n'));
}
