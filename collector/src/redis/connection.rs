//! A connection to a server: where, how, and as whom.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::config::{Place, RedisConfig};
use super::resp::{Batch, ReadError, Talk, Value};
use super::tls;

/// The longest password file read, bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// How much of a server's own words is kept, bytes.
const WORDS_BYTES_MAX: usize = 200;

/// Why there are no figures. Display names neither the address, which is shown beside it, nor a
/// password.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedisError {
    #[error("connecting: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("reading the password from {file}: {source}")]
    Secret { file: String, source: io::Error },
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The server does not let us in.
    #[error("{0}")]
    Auth(String),
    #[error("the server answered {command} with: {words}")]
    Answer {
        command: &'static str,
        words: String,
    },
    #[error("no answer to {command} within {}", model::number::format_duration(*.limit))]
    Timeout {
        command: &'static str,
        limit: Duration,
    },
}

impl RedisError {
    /// For counting.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            RedisError::Connect(_) | RedisError::Read(ReadError::Closed | ReadError::Io(_)) => {
                "connection"
            }
            RedisError::Tls(_) => "tls",
            RedisError::Secret { .. } => "secret",
            RedisError::Read(ReadError::TooLarge) => "body_size",
            RedisError::Read(ReadError::Malformed(_)) => "protocol",
            RedisError::Auth(_) => "auth",
            RedisError::Answer { .. } => "answer",
            RedisError::Timeout { .. } => "timeout",
        }
    }

    /// Whether the connection broke, as an idle one may without anything being wrong.
    pub(super) fn is_break(&self) -> bool {
        matches!(self, RedisError::Read(ReadError::Closed | ReadError::Io(_)))
    }
}

/// What a connection runs over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A server that has let us in.
pub(super) struct Connection {
    talk: Talk<Box<dyn Stream>>,
    /// What must not be repeated when the server says it.
    password: Option<String>,
}

impl Connection {
    /// Connects and says who we are.
    pub(super) async fn open(
        config: &RedisConfig,
        tls: Option<&tls::Connector>,
    ) -> Result<Connection, RedisError> {
        let password = password(config).await?;
        let stream: Box<dyn Stream> = match &config.url.place {
            Place::Unix(path) => Box::new(
                UnixStream::connect(path)
                    .await
                    .map_err(RedisError::Connect)?,
            ),
            Place::Tcp { host, port } => {
                let tcp = crate::names::connect(host, *port)
                    .await
                    .map_err(RedisError::Connect)?;
                // One small request, one answer: nothing is gained by waiting for more.
                let _ = tcp.set_nodelay(true);
                match tls {
                    Some(tls) => Box::new(tls.connect(host, tcp).await.map_err(RedisError::Tls)?),
                    None => Box::new(tcp),
                }
            }
        };
        let mut connection = Connection {
            talk: Talk::new(stream),
            password,
        };
        connection.greet(config.user()).await?;
        Ok(connection)
    }

    async fn greet(&mut self, user: Option<&str>) -> Result<(), RedisError> {
        let mut batch = Batch::default();
        match (&self.password, user) {
            (Some(password), Some(user)) => batch.add::<&str>(&["AUTH", user, password]),
            (Some(password), None) => batch.add::<&str>(&["AUTH", password]),
            (None, _) => &mut batch,
        };
        let with_password = self.password.is_some();
        // Whoever looks at the server's clients sees who this is; not being allowed to say so is fine.
        batch.add(&["CLIENT", "SETNAME", "stackwatch"]);
        let answers = self.talk.ask(&batch).await?;
        match answers.first() {
            // The server's own words may repeat the command with its arguments.
            Some(Value::Error(words)) if with_password => Err(RedisError::Auth(refusal(words))),
            _ => Ok(()),
        }
    }

    /// Sends a batch; gives one answer for each command.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Vec<Value>, RedisError> {
        Ok(self.talk.ask(batch).await?)
    }

    /// A server's words as they may be shown: cut, and not with the password in them.
    pub(super) fn shown(&self, words: &str) -> String {
        let secret = self.password.as_deref().filter(|p| !p.is_empty());
        if secret.is_some_and(|p| words.contains(p)) {
            return code(words).to_owned();
        }
        let cut = &words[..words.floor_char_boundary(WORDS_BYTES_MAX)];
        cut.chars().filter(|c| !c.is_control()).collect()
    }
}

/// What an operator should know about a refused AUTH.
fn refusal(words: &str) -> String {
    let code = code(words);
    if words.contains("without any password") {
        "the server has no password for this user; remove it here".to_owned()
    } else if code == "WRONGPASS" || words.contains("invalid password") {
        "wrong password, or no such user".to_owned()
    } else {
        format!("the server refused AUTH ({code})")
    }
}

/// The code that an error begins with: capitals.
pub(super) fn code(words: &str) -> &str {
    let end = words.find(|c: char| !c.is_ascii_uppercase());
    match &words[..end.unwrap_or(words.len()).min(32)] {
        "" => "ERR",
        code => code,
    }
}

async fn password(config: &RedisConfig) -> Result<Option<String>, RedisError> {
    let known = config.password.as_ref().or(config.url.password.as_ref());
    match (known, &config.password_file) {
        (Some(secret), _) => Ok(Some(secret.0.clone())),
        (None, None) => Ok(None),
        (None, Some(file)) => {
            let failed = |source| RedisError::Secret {
                file: file.display().to_string(),
                source,
            };
            read(file).await.map(Some).map_err(failed)
        }
    }
}

async fn read(file: &Path) -> io::Result<String> {
    let file = file.to_owned();
    let read = move || {
        use std::io::Read;
        let mut text = String::new();
        crate::regular::open(&file)?
            .take(SECRET_BYTES_MAX)
            .read_to_string(&mut text)?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_never_the_password() {
        let check = |words: &str, expect: &str| assert_eq!(refusal(words), expect, "{words}");
        let wrong = "wrong password, or no such user";
        check(
            "WRONGPASS invalid username-password pair or user is disabled.",
            wrong,
        );
        check("ERR invalid password", wrong);
        check(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
            "the server has no password for this user; remove it here",
        );
        check(
            "ERR unknown command `AUTH`, with args beginning with: `hunter2`, ",
            "the server refused AUTH (ERR)",
        );
        check("hunter2", "the server refused AUTH (ERR)");
    }

    #[tokio::test]
    async fn a_server_that_repeats_the_password_is_not_quoted() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let connection = Connection {
            talk: Talk::new(Box::new(ours)),
            password: Some("hunter2".to_owned()),
        };
        assert_eq!(connection.shown("NOPERM hunter2"), "NOPERM");
        assert_eq!(connection.shown("ERR \x1b[31mno"), "ERR [31mno");
        assert_eq!(connection.shown(&"é".repeat(500)).len(), WORDS_BYTES_MAX);
    }
}
