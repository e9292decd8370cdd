//! What went wrong, and the line that would set it right.

use tokio_postgres::error::{DbError, SqlState};

use super::dsn::Dsn;

/// The longest text of a server that is repeated, bytes: it goes into a log and a status.
const MESSAGE_BYTES_MAX: usize = 300;

/// Why there is no connection or no answer. Display is for operators and has no secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// What we were told makes no sense, or a file cannot be read.
    #[error("{0}")]
    Config(String),
    #[error("cannot connect to {0}")]
    Unreachable(String),
    /// The server does not let us in.
    #[error("{0}")]
    Refused(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server refuses this question and would answer another.
    #[error("{message}")]
    Query { state: String, message: String },
    /// The answer is none.
    #[error("unexpected answer: {0}")]
    Answer(String),
    #[error("no answer in time")]
    Timeout,
}

impl Trouble {
    /// About a connection that was not made.
    pub(super) fn connecting(
        error: &tokio_postgres::Error,
        dsn: &Dsn,
        database: &str,
        unusable: Option<String>,
        had_password: bool,
    ) -> Trouble {
        let Some(said) = error.as_db_error() else {
            let problem = chain(error);
            let hint = if problem.contains("password missing") {
                unusable.unwrap_or_else(|| {
                    format!(
                        "add a password: to the file of dsn_file, or as the line {} to the file of PGPASSFILE",
                        passfile_line(dsn)
                    )
                })
            } else {
                String::new()
            };
            return Trouble::Refused(with_hint(&problem, &hint));
        };
        let (user, code) = (quoted(dsn.user().unwrap_or("")), said.code());
        let hint = if *code == SqlState::INVALID_PASSWORD {
            if had_password {
                format!(
                    "set the role's password to the one configured: ALTER ROLE {user} PASSWORD '…'; "
                ) + "or mend dsn_file"
            } else {
                unusable.unwrap_or_else(|| {
                    format!(
                        "add the line {} to the file of PGPASSFILE",
                        passfile_line(dsn)
                    )
                })
            }
        } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
            if said.message().contains("pg_hba.conf") {
                format!("add to pg_hba.conf: host all {user} samenet scram-sha-256")
            } else {
                format!("CREATE ROLE {user} LOGIN PASSWORD '…'; GRANT pg_monitor TO {user};")
            }
        } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
            format!("GRANT CONNECT ON DATABASE {} TO {user};", quoted(database))
        } else if said.message().contains("startup parameter") {
            "this is a connection pooler: connect to the server behind it".to_owned()
        } else {
            String::new()
        };
        Trouble::Refused(with_hint(&message(said), &hint))
    }

    /// About a question.
    pub(super) fn asking(error: &tokio_postgres::Error) -> Trouble {
        match error.as_db_error() {
            // The server says goodbye: an operator ended it or us.
            Some(said) if said.code().code().starts_with("57P") => Trouble::Broken(message(said)),
            Some(said) => Trouble::Query {
                state: said.code().code().to_owned(),
                message: message(said),
            },
            None => Trouble::Broken(chain(error)),
        }
    }

    /// Whether the connection can go on.
    pub(super) fn is_of_query(&self) -> bool {
        matches!(self, Trouble::Query { .. })
    }

    /// The text with the line that helps a role that may not see enough, if that is the trouble.
    /// `is_monitor`: it has `pg_monitor`.
    pub(super) fn advised(&self, user: &str, is_monitor: bool) -> String {
        let hint = match self {
            Trouble::Query { state, message }
                if *state == *SqlState::INSUFFICIENT_PRIVILEGE.code() =>
            {
                grant(message, user, is_monitor)
            }
            _ => String::new(),
        };
        with_hint(&self.to_string(), &hint)
    }
}

/// The line that lets `user` read what the server refused, if that can be told.
fn grant(message: &str, user: &str, is_monitor: bool) -> String {
    let of = message.strip_prefix("permission denied for ");
    let user = quoted(user);
    let monitor = || match is_monitor {
        true => String::new(),
        false => format!("GRANT pg_monitor TO {user};"),
    };
    // `table orders`, `materialized view v`, in the server's own words.
    let Some((kind, name)) = of.and_then(|of| of.rsplit_once(' ')) else {
        return monitor();
    };
    match kind {
        _ if name.starts_with("pg_") => monitor(),
        "table" | "view" | "materialized view" | "foreign table" | "sequence" | "relation" => {
            format!("GRANT SELECT ON {name} TO {user};")
        }
        "schema" => format!("GRANT USAGE ON SCHEMA {name} TO {user};"),
        "function" => format!("GRANT EXECUTE ON FUNCTION {name} TO {user};"),
        _ => monitor(),
    }
}

/// A role without the rights to see other sessions.
pub(super) fn not_a_monitor(user: &str) -> String {
    with_hint(
        &format!("role {user} does not see what others do, nor sizes and the log's files"),
        &format!("GRANT pg_monitor TO {};", quoted(user)),
    )
}

/// No extension `pg_stat_statements` in the database we are connected to.
pub(super) fn no_statements(database: &str, preloaded: Option<&str>) -> String {
    let create = format!("in database {database}: CREATE EXTENSION pg_stat_statements;");
    let hint = match preloaded {
        Some(list) if list.contains("pg_stat_statements") => create,
        Some(list) => {
            let list = if list.is_empty() {
                "pg_stat_statements".to_owned()
            } else {
                format!("{list},pg_stat_statements")
            };
            format!("in postgresql.conf: shared_preload_libraries = '{list}', restart; {create}")
        }
        None => create,
    };
    with_hint("stat_statements: the extension is not installed", &hint)
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn passfile_line(dsn: &Dsn) -> String {
    let user = dsn.user().unwrap_or("*");
    format!("{}:*:{user}:PASSWORD", dsn.instance())
}

fn with_hint(problem: &str, hint: &str) -> String {
    if hint.is_empty() {
        problem.to_owned()
    } else {
        format!("{problem} — {hint}")
    }
}

fn message(said: &DbError) -> String {
    cut(said.message())
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    cut(&text)
}

/// One line of bounded length.
fn cut(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    line[..line.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_helps_stands_behind_the_problem() {
        let denied = Trouble::Query {
            state: "42501".to_owned(),
            message: "permission denied for function pg_ls_waldir".to_owned(),
        };
        assert_eq!(
            denied.advised("we\"ird", false),
            "permission denied for function pg_ls_waldir — GRANT pg_monitor TO \"we\"\"ird\";"
        );
        for (is_monitor, what, line) in [
            (true, "function pg_ls_waldir", ""),
            (false, "view pg_stat_x", " — GRANT pg_monitor TO \"mon\";"),
            (
                true,
                "table orders",
                " — GRANT SELECT ON orders TO \"mon\";",
            ),
            (
                false,
                "table orders",
                " — GRANT SELECT ON orders TO \"mon\";",
            ),
            (
                true,
                "materialized view v",
                " — GRANT SELECT ON v TO \"mon\";",
            ),
            (
                true,
                "schema shop",
                " — GRANT USAGE ON SCHEMA shop TO \"mon\";",
            ),
            (
                true,
                "function total",
                " — GRANT EXECUTE ON FUNCTION total TO \"mon\";",
            ),
            (true, "x", ""),
        ] {
            let message = format!("permission denied for {what}");
            let denied = Trouble::Query {
                state: "42501".to_owned(),
                message: message.clone(),
            };
            assert_eq!(denied.advised("mon", is_monitor), message + line);
        }
        let other = Trouble::Query {
            state: "42P01".to_owned(),
            message: "relation \"x\" does not exist".to_owned(),
        };
        assert_eq!(other.advised("mon", false), "relation \"x\" does not exist");
        assert!(no_statements("app", Some("")).contains("= 'pg_stat_statements', restart;"));
        assert!(no_statements("app", Some("auto_explain")).contains("'auto_explain,pg_stat"));
        assert!(!no_statements("app", Some("pg_stat_statements")).contains("restart"));
    }

    #[test]
    fn a_long_answer_is_cut_to_one_line() {
        let text = cut(&"ü\n".repeat(1000));
        assert!(text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n'));
    }
}
