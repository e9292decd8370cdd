//! Any points: a chunk of the head gives them back bit by bit.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storage::fuzzing::head_chunk(input));
