//! Text files, each line once as long as a file still holds it: over restarts and over rotation,
//! by renaming as by copying and emptying.

mod config;
mod position;
mod tailed;
mod tailer;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use config::LogFilesConfig;
use tailer::Tailer;

use super::sources::Context;
use crate::clock;

/// In the status and in metrics.
pub(super) const NAME: &str = "log files";
/// How names of sources begin.
const PREFIX: &str = "files/";
/// Time between two looks. A line waits so long; a file that is rotated twice within it is missed.
const ROUND: Duration = Duration::from_secs(1);

/// Follows files until dropped, which may happen at any time: the next run continues where the last
/// batch ended.
pub(super) async fn run(context: Context, configs: Vec<LogFilesConfig>) {
    let stored = context.sent.all(PREFIX, context.positions.as_ref());
    let lines = context.lines("files");
    let mut tailer = Tailer::new(configs, context.host.clone(), lines, stored);
    loop {
        let work = tokio::task::spawn_blocking(move || {
            let round = tailer.round(clock::now().millis().saturating_mul(1_000_000));
            (tailer, round)
        });
        let Ok((back, round)) = work.await else {
            // A panic; whoever started this starts it again.
            return;
        };
        tailer = back;
        for batch in round.batches {
            let Ok(place) = context.out.reserve().await else {
                return;
            };
            if let Some(position) = &batch.position {
                context.sent.set(position);
            }
            place.send(batch);
        }
        for source in round.gone {
            context.sent.forget(&source, context.positions.as_ref());
        }
        let problem = match &round.problems[..] {
            [] => Ok(()),
            [first] => Err(first.clone()),
            [first, ..] => Err(format!("{first} (and {} more)", round.problems.len() - 1)),
        };
        let text = problem.clone().err();
        if context.status.set_source(NAME, problem) {
            match text {
                Some(problem) => tracing::warn!(problem, "log files are left out"),
                None => tracing::info!(files = round.files, "following log files"),
            }
        }
        if !round.more {
            tokio::time::sleep(ROUND).await;
        }
    }
}
