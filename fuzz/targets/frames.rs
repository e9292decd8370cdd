//! A genuine file of log frames with changed bytes: whatever it is, opening, reading and packing it
//! end without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storage::fuzzing::frames(input));
