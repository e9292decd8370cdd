//! What a reader leaves out shows in no result.

use model::{Direction, LogReader, ReadError, Skim};
use query::logql::{self, Expr, Limits, LogQuery, eval};
use scrub::{LogBatch, ScrubbedEntry, Scrubber};

use super::tests::{cut_all, open};
use super::*;
use crate::disk::faulty::FaultyDisk;

const QUERIES: &[&str] = &[
    r#"{app=~".+"} |= "err""#,
    r#"{app=~".+"} |= "id=17 " or "id=23 " != "warn""#,
    r#"{app=~".+"} |~ "id=1[0-9]+ .*err""#,
    r#"{app=~".+"} |~ "(?i)ERR[^x]*id" !~ "9""#,
    r#"{app=~".+"} |> "<_>id=<_> err<_>""#,
    r#"{app=~".+"} |= """#,
    r#"{app=~".+"} | json | level="error""#,
    r#"{app=~".+"} | json | level="error" | level_extracted="warn""#,
    r#"{app=~".+"} | json | code="7" and level!="x""#,
    r#"{app=~".+"} | logfmt | id="17""#,
    r#"{app=~".+"} | logfmt | detected="error""#,
    r#"{app=~".+"} | regexp "id=(?P<n>[0-9]+)" | n="5""#,
    r#"{app=~".+"} | json | line_format "{{.level}}" |= "error""#,
    r#"count_over_time({app=~".+"}[1h])"#,
    r#"sum by (detected) (count_over_time({app=~".+"}[1h]))"#,
    r#"sum(count_over_time({app=~".+"} |= "err" [1h]))"#,
    r#"sum by (level) (bytes_over_time({app=~".+"} | json | level="error" [1h]))"#,
    r#"sum(sum_over_time({app=~".+"} | json | unwrap code | __error__="" [1h]))"#,
];

struct Reader<'a> {
    store: &'a LogStore,
    skims: bool,
}

impl LogReader for Reader<'_> {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut selection = selection.clone();
        if !self.skims {
            selection.skim = Skim::default();
        }
        self.store.read(&selection, visit)
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }
}

/// Lines that differ in few things, some of them twice at one instant; three streams, one of which
/// has a label that lines have too, as others have as metadata.
fn fill(store: &LogStore) {
    let scrubber = Scrubber::default();
    let streams = [
        Labels::from_pairs([("app", "a")]),
        Labels::from_pairs([("app", "b"), ("level", "error")]),
        Labels::from_pairs([("app", "c")]),
    ];
    for n in 0..240_i64 {
        let level = ["info", "warn", "error"][n as usize % 3];
        let line = match n % 4 {
            0 => format!(r#"{{"level":"{level}","code":{}}}"#, n % 9),
            1 => format!(r#"{{"level":"\u0065rror","code":"{}"}}"#, n % 9),
            2 => format!("id={} err={level}", n % 25),
            _ => format!("level={level} id={} erroneous warn", n % 25),
        };
        let metadata = match n % 5 {
            0 => Labels::from_pairs([("level", level)]),
            _ => Labels::from_pairs([("detected", level)]),
        };
        let entry = ScrubbedEntry {
            at_ns: n / 2 * 2,
            line: scrubber.line(line.as_bytes()),
            metadata: scrubber.labels(&metadata),
        };
        let batch = LogBatch {
            stream: scrubber.labels(&streams[(n / 2 % 3) as usize]),
            entries: vec![entry.clone(), entry],
            position: None,
        };
        store.append(&batch).unwrap();
        if n % 11 == 0 {
            cut_all(store);
        }
    }
}

#[test]
fn results_are_the_same_whether_a_reader_leaves_out_what_it_may_or_not() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    for stage in ["cut", "packed"] {
        let ask = |skims, text: &str, direction| {
            let reader = Reader {
                store: &store,
                skims,
            };
            let limits = Limits::default();
            let done = match logql::parse(text).unwrap() {
                Expr::Log(e) => {
                    let query = LogQuery {
                        start_ns: 10,
                        end_ns: 230,
                        limit: 50,
                        direction,
                        interval_ns: 0,
                        categorize: true,
                    };
                    eval::log_query(&e, &reader, &query, Timestamp::from_millis(0), &limits)
                }
                Expr::Metric(e) => eval::instant(&e, &reader, 220, &limits),
            };
            // Errors of a pipeline are results too.
            done.map(|d| format!("{:?}", d.value))
                .map_err(|e| e.to_string())
        };
        for text in QUERIES {
            for direction in [Direction::Forward, Direction::Backward] {
                let (skimmed, plain) = (ask(true, text, direction), ask(false, text, direction));
                assert_eq!(skimmed, plain, "{stage}: {text}");
            }
        }
        // The write-ahead log has those in memory, and all others of their segment with them.
        cut_all(&store);
        for _ in 0..10 {
            store.pack(Timestamp::from_millis(3 * 86_400_000));
        }
    }
    assert!(store.lock().files.iter().all(|f| f.file.is_packed));
}
