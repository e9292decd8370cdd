//! `cargo xtask bench logs [MEGABYTES]`: log lines in, on disk and out again.
//!
//! The measuring stands beside the code, in `storage/examples/logs`, and compiles without the rest.
//! What Loki and VictoriaLogs took is printed with it, as it was once measured elsewhere.

use anyhow::{Result, bail};
use stackwatch_tests::cargo;

const OTHERS: &str = "\
Loki (development version of 2026, defaults) and VictoriaLogs (July 2025), measured earlier on another
machine with other lines of the same seven kinds (250 MB, 1,422,224 lines of 176 bytes, ratio 5.2 with
zstd -3; these lines: 5.3):

| | Loki | VictoriaLogs |
|---|---|---|
| in, per core | 25 MB/s | 30 MB/s |
| on disk, a line | 43.1 bytes | 41.4 bytes |
| on disk, ratio | 4.08 | 4.25 |
| resident, idle and peak | 142 and 424 MB | 10.6 and 260 MB |
| rare needle | 2870 ms, CPU 1300 ms | 70 ms, CPU 10 ms |
| regex without a hit | 2850 ms, CPU 1260 ms | 830 to 1200 ms, CPU 270 to 500 ms |
| count of lines with `error` | 2500 ms, CPU 1200 ms | 180 ms, CPU 70 ms |
";

pub(super) fn run(args: &[String]) -> Result<()> {
    let mut command = cargo::command();
    command.args(["run", "--release", "--locked", "-q", "-p", "storage"]);
    command.args(["--example", "logs", "--"]).args(args);
    if !command.status()?.success() {
        bail!("the measurement of logs failed");
    }
    println!("\n{OTHERS}");
    Ok(())
}
