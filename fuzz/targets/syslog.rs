//! Syslog messages, whatever they are: nothing panics, and what must hold is said in `collector`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| collector::fuzzing::syslog(input));
