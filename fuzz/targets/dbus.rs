//! What a message bus and systemd say, whatever it is: nothing panics, and what must hold is said in `collector`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| collector::fuzzing::dbus(input));
