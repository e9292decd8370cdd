//! What is known about a server: asked first at every tick, which also shows that it answers.

use super::advice::Trouble;
use super::config::PostgresConfig;
use super::spec::Ask;
use super::table::Table;

/// One row of [`Facts`].
pub(super) const QUERY: &str = "SELECT current_setting('server_version_num') AS version, \
     version() AS text, current_user AS user, current_database() AS database, \
     pg_has_role('pg_monitor', 'USAGE') AS monitor, n.nspname AS schema, e.extversion AS extension, \
     CASE WHEN e.oid IS NULL AND pg_has_role('pg_read_all_settings', 'USAGE') \
     THEN current_setting('shared_preload_libraries') END AS preloaded \
     FROM (SELECT) one LEFT JOIN pg_extension e ON e.extname = 'pg_stat_statements' \
     LEFT JOIN pg_namespace n ON n.oid = e.extnamespace";

/// Databases whose tables we could read, in a stable order.
pub(super) const DATABASES: &str = "SELECT datname FROM pg_database \
     WHERE datallowconn AND NOT datistemplate AND has_database_privilege(oid, 'CONNECT') ORDER BY oid";

/// A server as it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What queries depend on.
    pub(super) ask: Ask,
    /// `host:port`.
    pub(super) server: String,
    /// `version()`.
    pub(super) version: String,
    pub(super) user: String,
    /// The database we are connected to.
    pub(super) database: String,
    /// Whether the role may see what others do.
    pub(super) monitor: bool,
    /// `shared_preload_libraries`, where the extension is missing and we may know.
    pub(super) preloaded: Option<String>,
}

impl Facts {
    /// # Errors
    /// When it is not PostgreSQL that answers.
    pub(super) fn read(answer: &Table, config: &PostgresConfig) -> Result<Facts, Trouble> {
        let row = answer.rows().next();
        let text = |column: &str| row.and_then(|r| r.text(column));
        let version = text("version")
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| Trouble::Answer("no server_version_num".to_owned()))?;
        let owned = |column: &str| text(column).unwrap_or("").to_owned();
        let extension = text("extension").and_then(|v| {
            let (major, minor) = v.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        Ok(Facts {
            ask: Ask {
                version,
                statements: text("schema").map(str::to_owned).zip(extension),
                tables_max: config.tables_max,
                statements_max: config.statements_max,
                query_text: config.query_text,
            },
            server: config.address().0,
            version: owned("text"),
            user: owned("user"),
            database: owned("database"),
            monitor: text("monitor") == Some("t"),
            preloaded: text("preloaded").map(str::to_owned),
        })
    }

    /// `15.18.0`, as postgres_exporter writes a version.
    pub(super) fn short_version(&self) -> String {
        let version = self.ask.version;
        format!("{}.{}.0", version / 10_000, version % 10_000)
    }
}
