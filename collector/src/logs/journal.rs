//! Reads systemd's journal by its own program `journalctl`, which knows every version of its files:
//! compressed, sealed, of several machines. Its cursor is the position.

mod config;
mod export;
mod runs;

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

pub use config::JournalConfig;
use export::{Export, FIELDS};
use runs::Runs;

use super::sources::Context;
use crate::clock;

/// In the status and in metrics, and the source in the store.
pub(super) const NAME: &str = "journal";
/// The source in the store.
const SOURCE: &str = "journal";
/// A line waits at most this long for company in its batch.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// Batches are due at this size, whatever their age.
const BATCH_BYTES: usize = 256 * 1024;
/// Read at once of the program's output.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait; beyond, the program waits, and the journal keeps the rest.
const PIECES_MAX: usize = 4;
/// Waits before the program is started again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Follows the journal until dropped, which may happen at any time: the next run continues behind
/// the last batch.
pub(super) async fn run(context: Context, config: JournalConfig) {
    let lines = context.lines(NAME);
    let mut runs = Runs::new(config.clone(), context.host.clone(), lines);
    loop {
        let stored = context.sent.all(SOURCE, context.positions.as_ref());
        let cursor = stored
            .get(SOURCE)
            .and_then(|position| runs::decode(position));
        let problem = match Journalctl::start(&config, cursor.as_deref()) {
            Ok((program, pieces)) => match follow(&context, &mut runs, pieces).await {
                Ok(()) => program.why().await,
                // Nobody takes the batches any more.
                Err(()) => return,
            },
            Err(e) => format!("journalctl: {e}"),
        };
        // What it says may repeat what it was given.
        let problem = context
            .scrubber
            .line(problem.as_bytes())
            .as_str()
            .to_owned();
        if context.status.set_source(NAME, Err(problem.clone())) {
            tracing::warn!(problem, "the journal cannot be read");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Hands lines on until the program's output ends.
async fn follow(
    context: &Context,
    runs: &mut Runs,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<(), ()> {
    let mut export = Export::default();
    let mut flush_at: Option<Instant> = None;
    loop {
        let wake = flush_at.unwrap_or_else(Instant::now);
        let piece = tokio::select! {
            piece = pieces.recv() => Some(piece),
            () = tokio::time::sleep_until(wake), if flush_at.is_some() => None,
        };
        if let Some(Some(piece)) = &piece {
            if context.status.set_source(NAME, Ok(())) {
                tracing::info!("following the journal");
            }
            export.push(piece, |entry| runs.push(entry));
        }
        let ended = matches!(piece, Some(None));
        let due = ended || flush_at.is_some_and(|at| at <= Instant::now());
        if due || runs.bytes() >= BATCH_BYTES {
            flush_at = None;
            for batch in runs.take() {
                // A place first: from taking to sending nothing can be dropped in between.
                let place = context.out.reserve().await.map_err(|_| ())?;
                if let Some(position) = &batch.position {
                    context.sent.set(position);
                }
                place.send(batch);
            }
        }
        if ended {
            return Ok(());
        }
        if runs.bytes() > 0 {
            flush_at.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
        }
    }
}

/// The program; killed when dropped.
struct Journalctl(Child);

impl Journalctl {
    /// Starts it, and a thread that reads what it prints.
    fn start(
        config: &JournalConfig,
        cursor: Option<&str>,
    ) -> io::Result<(Journalctl, mpsc::Receiver<Vec<u8>>)> {
        let mut command = Command::new("journalctl");
        command
            .args([
                "--output=export",
                "--follow",
                "--no-tail",
                "--quiet",
                "--no-pager",
            ])
            .arg(format!("--output-fields={FIELDS}"));
        if let Some(path) = &config.path {
            command.arg("--directory").arg(path);
        }
        match cursor {
            Some(cursor) => command.arg(format!("--after-cursor={cursor}")),
            None => {
                let now = clock::now().millis() / 1000;
                let age = i64::try_from(config.max_age.as_secs()).unwrap_or(i64::MAX);
                command.arg(format!("--since=@{}", now.saturating_sub(age).max(0)))
            }
        };
        command
            .args(&config.matches)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut program = Journalctl(command.spawn()?);
        let (send, pieces) = mpsc::channel(PIECES_MAX);
        let Some(output) = program.0.stdout.take() else {
            return Err(io::Error::other("no output"));
        };
        // Not of the runtime's: it reads as long as the program runs.
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || read(output, &send))?;
        Ok((program, pieces))
    }

    /// What it said at its end.
    async fn why(mut self) -> String {
        let said = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            // Its output has ended, so it has said what it had to.
            let _ = self.0.kill();
            if let Some(errors) = &mut self.0.stderr {
                let _ = errors.take(4096).read_to_string(&mut text);
            }
            text
        });
        let said = said.await.unwrap_or_default();
        match said.trim().lines().next() {
            Some(line) => format!("journalctl: {line}"),
            None => "journalctl ended".to_owned(),
        }
    }
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends with the program, or when nobody wants the pieces any more.
fn read(mut output: ChildStdout, pieces: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
            return;
        }
    }
}
