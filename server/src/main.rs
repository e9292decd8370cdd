//! The binary `stackwatch`.

use std::process::ExitCode;

fn main() -> ExitCode {
    stackwatch::cli::main()
}
