//! Asking for the configuration to be read again, and hearing what came of it.

use tokio::sync::{mpsc, oneshot};

use crate::config::ConfigError;

/// Reloads that may wait at a time. They are all the same, so one more than running is plenty.
const WAITING_MAX: usize = 2;

/// A request for a reload; the answer goes back through the channel.
pub type ReloadRequest = oneshot::Sender<Result<Reloaded, ConfigError>>;

/// What a reload came to: the keys that changed and take effect only after a restart.
pub type Reloaded = Vec<&'static str>;

/// Asks for reloads. Cloning shares the queue.
#[derive(Clone)]
pub struct Reloader(mpsc::Sender<ReloadRequest>);

impl Reloader {
    /// The asking end and the serving end.
    #[must_use]
    pub fn new() -> (Reloader, mpsc::Receiver<ReloadRequest>) {
        let (ask, serve) = mpsc::channel(WAITING_MAX);
        (Reloader(ask), serve)
    }

    /// Reads the configuration again and puts it into force.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays in force then.
    pub async fn reload(&self) -> Result<Reloaded, ConfigError> {
        let gone = || ConfigError::whole_file("stackwatch", "is stopping");
        let (answer, done) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}
