//! A genuine block with changed bytes, or what one of its decoders reads: whatever it is, reading
//! ends without a panic, and samples come in order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storage::fuzzing::block(input));
