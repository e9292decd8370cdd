//! Runs the scripts in `tests/logql/`: lines to load, queries and what they give.
//!
//! ```text
//! clear
//! load
//!   {app="web"} | level="info"          stream labels, and metadata of the lines below
//!     10s  "a line"                     or `a line`
//! eval instant at 1m QUERY
//!   {app="web"} 5                       or `scalar 5`; the order counts under `ordered`
//! eval range from 0s to 1m step 10s QUERY
//!   {app="web"} 1 2 _ 4
//! eval logs from 0s to 1m [forward] [limit 5] [interval 5s] [categorize] QUERY
//!   {app="web"}
//!     10s "a line" [{metadata} {parsed}]
//! fail instant at 1m QUERY              also `fail range …`, `fail logs …`
//!   a part of the message
//! ```
//!
//! A line that begins with `#` says what follows is about. A query may go on in lines that begin
//! with `…`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a script that cannot be read is a mistake of its author"
)]

mod support;

use std::path::Path;

use support::script;

#[test]
fn scripts_give_what_they_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logql");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", dir.display());
    let mut failures = Vec::new();
    let mut passed = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (line, outcome) in script::run(&text) {
            match outcome {
                Ok(()) => passed += 1,
                Err(why) => failures.push(format!("{name}:{line}: {why}")),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{passed} passed, {} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
