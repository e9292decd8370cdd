//! Prometheus' own PromQL scripts, where they are at hand (`../shared/conformance/promqltest`).

use std::path::Path;

#[test]
fn prometheus_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/promqltest");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!(
            "SKIPPED Prometheus' scripts: {} is not there",
            folder.display()
        );
        return;
    };
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let (mut passed, mut failures) = (0, Vec::new());
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "test"))
    {
        let report = query::promqltest::run(&std::fs::read_to_string(file).unwrap());
        passed += report.passed;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        failures.extend(
            report
                .failures
                .iter()
                .map(|f| format!("{name}:{}: {}: {}", f.line, f.query, f.reason)),
        );
    }
    println!(
        "Prometheus' scripts: {passed} passed, {} failed",
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 0, "the folder holds no scripts");
}
