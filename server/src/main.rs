//! The binary `stackwatch`.

use std::process::ExitCode;

/// glibc keeps what was freed in an arena per thread. After seven `count` over 220,000 series, six
/// of them at once, a process that held 116 MB stayed at 778 MB, though told to trim from 128 KB
/// on (`MALLOC_TRIM_THRESHOLD_`); with Debian's jemalloc preloaded
/// and the options of `.cargo/config.toml` at 263 MB, and later at 132.
#[cfg(not(target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stackwatch::cli::main()
}
