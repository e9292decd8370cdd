//! The source against servers that lie, hang, flood or hang up, on the loopback interface.

use model::is_stale;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Status;

/// For servers that answer, however slow this machine is.
const LONG: Duration = Duration::from_secs(60);
/// For servers that never will.
const SHORT: Duration = Duration::from_millis(300);

/// A protocol message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

/// What a server says to let somebody in who asks for no TLS.
fn welcome() -> Vec<u8> {
    [
        message(b'R', &0u32.to_be_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// Columns `a` and so on of type text, and rows of them.
fn answer(columns: &[&str], row: &[&str], rows: usize) -> Vec<u8> {
    let count = u16::try_from(columns.len()).unwrap().to_be_bytes();
    let mut description = count.to_vec();
    for column in columns {
        description.extend(column.as_bytes());
        description.push(0);
        description.extend([0; 18]);
    }
    let mut data = count.to_vec();
    for cell in row {
        data.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        data.extend(cell.as_bytes());
    }
    let mut out = message(b'T', &description);
    for _ in 0..rows {
        out.extend(message(b'D', &data));
    }
    out.extend(message(b'C', b"SELECT\0"));
    out.extend(message(b'Z', b"I"));
    out
}

/// A refusal.
fn refusal(state: &str, text: &str) -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C{state}\0M{text}\0\0");
    message(b'E', body.as_bytes())
}

/// A server: what it does with each connection.
async fn served<F, T>(serve: F) -> String
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(io));
        }
    });
    format!("postgresql://mon:hunter2@{address}/app?sslmode=disable")
}

/// Collects once: the error of the target, and the samples as text.
async fn collect(dsn: &str, timeout: Duration) -> (String, Vec<String>) {
    let config = PostgresConfig {
        dsn: Some(crate::scrape::Secret(dsn.to_owned())),
        ..PostgresConfig::default()
    };
    let (labels, url) = target(&config);
    let status = Status::default();
    let timing = (LONG, timeout);
    let mut target = Target::new(
        "postgres",
        &url,
        labels.clone(),
        labels,
        timing,
        status.clone(),
    );
    let mut source = Postgres::new(&config, timeout).unwrap();
    let batch = source
        .collect(&mut target, Timestamp::from_millis(1000))
        .await;
    let samples = batch
        .samples
        .iter()
        .filter(|s| !is_stale(s.value))
        .map(|s| format!("{} {}", s.labels.metric_name(), s.value))
        .collect();
    let shown = &status.targets()[0];
    assert!(!format!("{shown:?}").contains("hunter2"));
    (shown.last_error.clone(), samples)
}

async fn check(dsn: &str, expect: &str) {
    check_within(LONG, dsn, expect).await;
}

async fn check_within(timeout: Duration, dsn: &str, expect: &str) {
    let (error, samples) = collect(dsn, timeout).await;
    assert!(error.contains(expect), "{error}");
    for sample in ["pg_up 0", "up 0", "pg_exporter_last_scrape_error 1"] {
        assert!(samples.iter().any(|s| s == sample), "{sample}: {samples:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    check(
        "postgresql://mon:hunter2@127.0.0.1:1/app",
        "cannot connect to 127.0.0.1:1",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_timeout() {
    let dsn = served(|io| async move {
        std::future::pending::<()>().await;
        drop(io);
    });
    check_within(SHORT, &dsn.await, "context deadline exceeded").await;
}

#[tokio::test]
async fn a_server_that_hangs_after_the_welcome_costs_the_timeout() {
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 1024];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
        std::future::pending::<()>().await;
    });
    check_within(SHORT, &dsn.await, "context deadline exceeded").await;
}

#[tokio::test]
async fn a_server_that_hangs_up_is_down() {
    check(&served(|io| async move { drop(io) }).await, "").await;
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 1024];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
    });
    check(&dsn.await, "the connection broke").await;
}

#[tokio::test]
async fn something_else_that_listens_there_is_no_server() {
    let dsn = served(|mut io| async move {
        let _ = io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    check(&dsn.await, "").await;
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 4096];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
        while io.read(&mut buffer).await.is_ok_and(|n| n > 0) {
            let _ = io.write_all(&answer(&["b"], &["x"], 1)).await;
        }
    });
    check(&dsn.await, "no server_version_num").await;
}

#[tokio::test]
async fn a_message_without_end_is_not_read_to_its_end() {
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 4096];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
        let _ = io.read(&mut buffer).await;
        // A row of a gigabyte, as its length says.
        let _ = io.write_all(b"D\x3f\xff\xff\xff").await;
        let flood = vec![b'x'; 1 << 20];
        while io.write_all(&flood).await.is_ok() {}
    });
    check(&dsn.await, "more bytes in one collection").await;
}

#[tokio::test]
async fn the_metre_stops_the_connection() {
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 4096];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&answer(&["a"], &["0123456789"], 100)).await;
    });
    let dsn = dsn::Dsn::parse(&dsn.await).unwrap();
    let from = Surroundings::default();
    let session = Session::open(&dsn, "app", Purpose::Settings, &from);
    let session = session.await.unwrap();
    session.allow(500);
    let error = session.ask("SELECT", ROWS_MAX).await.unwrap_err();
    assert!(matches!(error, Trouble::Broken(_)), "{error}");
}

#[tokio::test]
async fn rows_beyond_the_bound_are_left_out() {
    let dsn = served(|mut io| async move {
        let mut buffer = [0; 4096];
        let _ = io.read(&mut buffer).await;
        let _ = io.write_all(&welcome()).await;
        while io.read(&mut buffer).await.is_ok_and(|n| n > 0) {
            let _ = io.write_all(&answer(&["a"], &["1"], 5)).await;
        }
    });
    let dsn = dsn::Dsn::parse(&dsn.await).unwrap();
    let from = Surroundings::default();
    let session = Session::open(&dsn, "app", Purpose::Settings, &from);
    let session = session.await.unwrap();
    for (bound, expect) in [(3, (3, true)), (5, (5, false)), (0, (0, true))] {
        let table = session.ask("SELECT", bound).await.unwrap();
        assert_eq!((table.len(), table.cut), expect);
    }
}

#[tokio::test]
async fn refusals_come_with_the_line_that_helps() {
    for (state, text, expect) in [
        (
            "28P01",
            "password authentication failed for user \"mon\"",
            "ALTER ROLE \"mon\" PASSWORD",
        ),
        (
            "28000",
            "no pg_hba.conf entry for host \"1.2.3.4\"",
            "add to pg_hba.conf: host all \"mon\"",
        ),
        (
            "28000",
            "role \"mon\" does not exist",
            "GRANT pg_monitor TO \"mon\";",
        ),
        (
            "42501",
            "permission denied for database \"app\"",
            "GRANT CONNECT ON DATABASE \"app\" TO \"mon\";",
        ),
        (
            "08P01",
            "unsupported startup parameter: options",
            "connect to the server behind it",
        ),
        (
            "53300",
            "sorry, too many clients already",
            "too many clients",
        ),
    ] {
        let dsn = served(move |mut io| async move {
            let mut buffer = [0; 1024];
            let _ = io.read(&mut buffer).await;
            let _ = io.write_all(&refusal(state, text)).await;
        });
        check(&dsn.await, expect).await;
    }
}

#[test]
fn databases_are_chosen_own_first_and_bounded() {
    let all = ["a", "b", "own", "c", "d"];
    let check = |yaml: &str, expect: &[&str], left: usize| {
        let config: PostgresConfig = serde_saphyr::from_str(yaml).unwrap();
        let (chosen, left_out) = choose(all.into_iter(), "own", &config);
        assert_eq!(
            (chosen, left_out),
            (expect.iter().map(|s| (*s).to_owned()).collect(), left)
        );
    };
    check("dsn: x", &["own", "a", "b", "c", "d"], 0);
    check("databases_max: 2", &["own", "a"], 3);
    check("databases: [c, zzz]", &["c"], 0);
    check("databases_exclude: [own, a]", &["b", "c", "d"], 0);
}

#[test]
fn two_entries_with_the_same_labels_are_refused() {
    let entries: Vec<PostgresConfig> = serde_saphyr::from_str(
        "[{ dsn: postgresql://a@db/x }, { dsn: postgresql://b@db/y }, \
         { dsn: postgresql://b@db/y, labels: { instance: other, team: shop } }]",
    )
    .unwrap();
    let problems = super::check(&entries, Duration::from_secs(15));
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].item, problems[0].path.clone()),
        (Some(1), vec!["collect", "postgres"])
    );
    let (labels, url) = target(&entries[2]);
    assert_eq!(labels.get("instance"), Some("other"));
    assert_eq!(labels.get("job"), Some("postgres"));
    assert_eq!(url, "postgresql://db:5432/y");
}

/// What one collection costs us, on the server that `PG_DSN` names:
/// `PG_DSN=… cargo test --release -p collector --lib cost_of_a_collection -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_collection() {
    const ROUNDS: u32 = 100;
    let dsn = std::env::var("PG_DSN").unwrap();
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        let ticks = |n: usize| -> f64 {
            let field = fields.split_ascii_whitespace().nth(n);
            field.unwrap().parse().unwrap()
        };
        (ticks(11) + ticks(12)) * 10.0
    };
    for (what, all) in [("all", true), ("fast alone", false)] {
        let config = PostgresConfig {
            dsn: Some(crate::scrape::Secret(dsn.clone())),
            slow_interval: Duration::from_secs(3600),
            ..PostgresConfig::default()
        };
        let (labels, url) = target(&config);
        let status = Status::default();
        let mut target = Target::new(
            "postgres",
            &url,
            labels.clone(),
            labels,
            (LONG, LONG),
            status,
        );
        let mut source = Postgres::new(&config, LONG).unwrap();
        // The first round connects and does everything.
        source.collect(&mut target, Timestamp::from_millis(0)).await;
        let (started, before, mut samples) = (Instant::now(), cpu(), 0);
        for round in 1..=ROUNDS {
            if all {
                source.due.fill(Instant::now());
                source.visits_due = Instant::now();
            }
            let at = Timestamp::from_millis(i64::from(round) * 1000);
            samples = source.collect(&mut target, at).await.samples.len();
        }
        let (wall, cpu) = (started.elapsed().as_secs_f64() * 1e3, cpu() - before);
        let each = f64::from(ROUNDS);
        println!(
            "{what}: {samples} samples, {:.2} ms, {:.2} ms of CPU",
            wall / each,
            cpu / each
        );
    }
}
