//! Every kind of container and of line.

use std::io::Write;

use super::*;

/// Long lines in pieces on one stream, short ones on the other; `$x` has 5120 bytes.
const INTERLEAVED: &str = "x=0123456789; for i in 1 2 3 4 5 6 7 8 9; do x=$x$x; done; \
    (i=0; while [ $i -lt 300 ]; do echo err $i >&2; i=$((i+1)); sleep 0.005; done) & \
    i=0; while [ $i -lt 40 ]; do printf %s $i-$x$x$x$x; sleep 0.02; printf '%s\\n' $x; i=$((i+1)); done; wait";

fn stored(stackwatch: &Stackwatch, container: &str, stream: &str, lines: usize) -> Vec<Entry> {
    let selector = format!("{{container=\"{container}\",stream=\"{stream}\"}}");
    eventually(&format!("{lines} lines of {selector}"), LIMIT, || {
        let found = entries(stackwatch, &selector);
        assert!(
            found.len() <= lines,
            "{selector}: {} of {lines}",
            found.len()
        );
        (found.len() == lines).then_some(found)
    })
}

fn start(logs: &str) -> Option<(PrivateEngine, tempfile::TempDir, Stackwatch)> {
    let engine = PrivateEngine::start(&[])?;
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), &config(&engine, logs));
    Some((engine, dir, stackwatch))
}

#[test]
fn split_lines_on_both_streams_come_back_whole() {
    for read in ["auto", "api"] {
        let Some((engine, _dir, stackwatch)) = start(&format!("read: {read}")) else {
            return skipped("no Docker engine of its own");
        };
        run(&engine, "plain", &[], INTERLEAVED);
        run(&engine, "local", &["--log-driver=local"], INTERLEAVED);
        run(
            &engine,
            "terminal",
            &["-t"],
            "x=0123456789; for i in 1 2 3 4 5 6 7 8 9 10 11; do x=$x$x; done; echo $x; echo $x; echo short",
        );
        for container in ["plain", "local"] {
            let out = stored(&stackwatch, container, "stdout", 40);
            let text = "0123456789".repeat(512 * 5);
            for (at, entry) in out.iter().enumerate() {
                assert_eq!(entry.line, format!("{at}-{text}"), "{container}");
            }
            let err = stored(&stackwatch, container, "stderr", 300);
            for (at, entry) in err.iter().enumerate() {
                assert_eq!(entry.line, format!("err {at}"));
            }
        }
        let lines = stored(&stackwatch, "terminal", "stdout", 3);
        let text = "0123456789".repeat(2048);
        let lines: Vec<&str> = lines.iter().map(|e| e.line.as_str()).collect();
        assert!(
            lines == [&text, &text, "short"],
            "{:?}",
            lines.iter().map(|l| l.len()).collect::<Vec<_>>()
        );
    }
}

/// One engine and one stackwatch for all that is short.
#[test]
fn every_kind_of_container() {
    let Some((engine, _dir, stackwatch)) = start("exclude: [left-out], quota: 3KB") else {
        return skipped("no Docker engine of its own");
    };
    let settle = "sleep 1; ";
    run(&engine, "left-out", &[], "echo no");
    run(
        &engine,
        "unlabelled",
        &["--label=stackwatch.logs=false"],
        "echo no",
    );
    run(&engine, "mute", &["--log-driver=none"], "sleep 10000");
    run(
        &engine,
        "dies",
        &[],
        &format!("{settle}echo $'\\xff'bad; exit 3"),
    );
    run(
        &engine,
        "trace",
        &["--label=stackwatch.logs.quota=1MB"],
        &format!(
            "{settle}cat <<'END'\nstart\nException in thread \"main\" java.lang.Error: x\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)\n{{\"level\":\"error\",\"msg\":\"x\"}}\nmail to a.person@example.org\nEND\nsleep 10000"
        ),
    );
    run(
        &engine,
        "first-line",
        &["--label=stackwatch.logs.first_line=^[0-9]"],
        "printf '1 a\\nb\\nc\\n2 d\\n'; sleep 10000",
    );
    run(&engine, "loud", &[], "seq 1000 3000; sleep 10000");
    run(
        &engine,
        "long",
        &["--label=stackwatch.logs.quota=10MB"],
        "x=0123456789; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do x=$x$x; done; echo $x; echo after; sleep 10000",
    );
    for number in 0..20 {
        let name = format!("short-{number}");
        run(
            &engine,
            &name,
            &["--rm"],
            // One that is gone at once is read only if the engine is asked while it still has it.
            "for i in 0 1 2 3 4 5 6 7 8 9; do echo line $i; done; sleep 0.5",
        );
    }

    for number in 0..20 {
        let lines = stored(&stackwatch, &format!("short-{number}"), "stdout", 10);
        let lines: Vec<&str> = lines.iter().map(|e| e.line.as_str()).collect();
        let expect: Vec<String> = (0..10).map(|i| format!("line {i}")).collect();
        assert_eq!(lines, expect);
    }
    let lines = stored(&stackwatch, "dies", "stdout", 1);
    assert!(lines[0].line.ends_with("bad"), "{lines:?}");
    let events = stored(&stackwatch, "dies", "events", 2);
    let told = |at: usize, label: &str| events[at].labels[label].as_str().unwrap_or("").to_owned();
    assert_eq!(
        (told(0, "event"), told(1, "event")),
        ("start".to_owned(), "die".to_owned())
    );
    assert_eq!(told(1, "exit_code"), "3");
    assert!(events[1].line.contains("exit code 3"));

    let lines = stored(&stackwatch, "trace", "stdout", 4);
    assert_eq!(
        lines[1].line,
        "Exception in thread \"main\" java.lang.Error: x\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)"
    );
    let levels: Vec<&str> = lines
        .iter()
        .map(|e| e.labels["detected_level"].as_str().unwrap())
        .collect();
    assert_eq!(levels, ["unknown", "error", "error", "unknown"]);
    assert!(!lines[3].line.contains("a.person"), "{lines:?}");
    let lines = stored(&stackwatch, "first-line", "stdout", 2);
    assert_eq!(lines[0].line, "1 a\nb\nc");

    // 4 bytes each: 768 within the quota, then one in 100, and the notice.
    let lines = stored(&stackwatch, "loud", "stdout", 768 + 12 + 1);
    let notices = lines.iter().filter(|e| e.labels["quota"] == "true").count();
    let sampled = lines
        .iter()
        .filter(|e| e.labels["sampled"] == "100")
        .count();
    assert_eq!((notices, sampled), (1, 12));
    let lines = stored(&stackwatch, "long", "stdout", 2);
    assert_eq!(
        (lines[0].line.len(), &lines[0].labels["truncated"]),
        (256 * 1024, &"true".into())
    );

    assert!(entries(&stackwatch, "{container=~\"left-out|unlabelled\"}").is_empty());
    let streams = stackwatch.get("/api/v1/logs/streams").json();
    let of = |name: &str| {
        let all = streams["data"]["streams"].as_array().unwrap();
        all.iter().find(|s| s["container"] == name).unwrap().clone()
    };
    assert_eq!(of("mute")["state"], "unreadable");
    assert!(
        of("mute")["notes"][0]
            .as_str()
            .unwrap()
            .contains("driver: local")
    );
    assert_eq!(of("loud")["linesDropped"], 2001 - 768 - 12);
    assert_eq!(of("trace")["linesScrubbed"], 1);
    assert_eq!(of("trace")["readFrom"], "file");
}

#[test]
fn lines_behind_damage_are_read_and_the_damage_is_marked() {
    let Some((engine, _dir, mut stackwatch)) = start("") else {
        return skipped("no Docker engine of its own");
    };
    run(
        &engine,
        "counter-1",
        &[],
        "i=1; while :; do echo $i; i=$((i+1)); sleep 0.02; done",
    );
    until_stored(&stackwatch, 50);
    let path = engine
        .docker(&["inspect", "-f", "{{.LogPath}}", "counter-1"])
        .unwrap();
    let write = |bytes: &[u8]| {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(bytes).unwrap();
    };
    write(&[0; 5000]);
    write(b"{\"log\":\"torn");
    stackwatch.kill();
    std::thread::sleep(Duration::from_millis(500));
    let _ = stackwatch.restart();
    until_stored(&stackwatch, 150);
    let all = entries(&stackwatch, "{service_name=\"counter\",stream=\"stdout\"}");
    let gaps = all.iter().filter(|e| e.labels["gap"] == "damaged").count();
    assert!((1..=2).contains(&gaps), "{gaps} gaps");
    let found = numbers(&all);
    let expect: Vec<u32> = (1..=found.len() as u32).collect();
    assert!(found == expect, "{found:?}");
}
