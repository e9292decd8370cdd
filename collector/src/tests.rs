//! The collector as a whole, with a target on the loopback interface.

use std::collections::BTreeSet;

use model::is_stale;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

struct NoPositions;

struct NoSeries;

impl LogSeries for NoSeries {
    fn families(&self) -> Vec<FamilyMetadata> {
        Vec::new()
    }

    fn tell(&self, _: model::Timestamp, _: &mut dyn FnMut(&Told<'_>)) -> Vec<String> {
        Vec::new()
    }
}

impl Positions for NoPositions {
    fn get(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn sources(&self) -> Vec<String> {
        Vec::new()
    }

    fn forget(&self, _: &str) {}
}

/// A target that always answers the same.
async fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = io.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n";
            let _ = io.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn config(jobs: &str) -> Arc<Config> {
    let yaml = format!(
        "interval: 200ms\ntimeout: 200ms\nhost: false\ndocker: false\nscrape_configs: [{jobs}]"
    );
    let config: Config = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(config.check(), Ok(()));
    Arc::new(config)
}

/// A job, a metric, and whether a staleness marker or a value.
type Wanted = (&'static str, &'static str, bool);

/// Waits until each of `wanted` has come, in any order; gives the batches they came in.
async fn wait_for<const N: usize>(
    samples: &mut mpsc::Receiver<SampleBatch>,
    wanted: [Wanted; N],
) -> [SampleBatch; N] {
    let mut found: [Option<SampleBatch>; N] = std::array::from_fn(|_| None);
    let all = async {
        while found.iter().any(Option::is_none) {
            let batch = samples.recv().await.unwrap();
            for ((job, name, stale), found) in wanted.iter().zip(&mut found) {
                let hit = batch.samples.iter().any(|s| {
                    s.labels.get("job") == Some(job)
                        && s.labels.metric_name() == *name
                        && is_stale(s.value) == *stale
                });
                if hit && found.is_none() {
                    *found = Some(batch.clone());
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("all that was wanted");
    found.map(Option::unwrap)
}

#[tokio::test]
async fn a_new_configuration_restarts_only_what_it_changes() {
    let address = target().await;
    let job = |name: &str, rest: &str| {
        format!("{{ job_name: {name}, static_configs: [{{ targets: ['{address}'] }}] {rest} }}")
    };
    let (change, receiver) =
        watch::channel(config(&format!("{}, {}", job("one", ""), job("two", ""))));
    let (samples, mut received) = mpsc::channel(1);
    let (logs, _lines) = mpsc::channel(1);
    let status = Status::default();
    let collector = tokio::spawn(run(
        receiver,
        Arc::new(Scrubber::default()),
        Arc::new(NoPositions),
        Inbox {
            heartbeats: Heartbeats::open(
                Arc::new(model::control::MemoryControlStore::default()),
                &[],
                clock::now(),
            )
            .unwrap(),
            pushes: Pushes::default(),
            log_series: Arc::new(NoSeries),
        },
        Arc::new(|| "own 1\n".to_owned()),
        Outputs { samples, logs },
        status.clone(),
    ));
    let wanted = [
        ("one", "a", false),
        ("two", "a", false),
        ("stackwatch", "own", false),
    ];
    wait_for(&mut received, wanted).await;
    let pools = |status: &Status| {
        let targets = status.targets();
        targets.into_iter().map(|t| t.pool).collect::<BTreeSet<_>>()
    };
    assert_eq!(pools(&status).len(), 4);

    // One changes its labels, two goes.
    let renamed = ", metric_relabel_configs: [{ target_label: new, replacement: x }]";
    change.send(config(&job("one", renamed))).unwrap();
    let wanted = [("two", "up", true), ("one", "a", true)];
    let [_, batch] = wait_for(&mut received, wanted).await;
    let a: Vec<String> = batch
        .samples
        .iter()
        .filter(|s| s.labels.metric_name() == "a")
        .map(|s| format!("{:?} {}", s.labels.get("new"), is_stale(s.value)))
        .collect();
    // In one batch: the series under its new labels, the end of the old one.
    assert_eq!(a, ["Some(\"x\") false", "None true"]);
    assert_eq!(pools(&status).len(), 3);
    collector.abort();
}
