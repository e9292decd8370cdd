//! Acknowledged samples and `kill -9`. The long form of this is `cargo xtask crash 200`.

use stackwatch_tests::crash;
use stackwatch_tests::stackwatch::binary;

#[test]
fn every_acknowledged_sample_survives_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let seed = std::process::id().into();
    let report = crash::run(binary(), dir.path(), 20, seed);
    assert_eq!(report.kills, 20);
    assert!(report.acknowledged > 0, "nothing was written");
    assert_eq!(report.refused, 0, "samples within the bounds were refused");
}
