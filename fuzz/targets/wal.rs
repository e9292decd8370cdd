//! Records of a write-ahead log segment, whatever is in them: the store starts, reads, writes and
//! starts again with the same content.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storage::fuzzing::wal(input));
