//! A container's log stream, whatever is in it: its lines do not depend on how it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| collector::fuzzing::logs(input));
