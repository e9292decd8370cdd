//! Sections the design has and this version does not: refused by name, so that nobody
//! believes a database is watched when it is not.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::diagnostic::{ConfigError, Diagnostic};
use super::values::Filled;
use super::yaml;

/// The keys of later versions among all others, which are not looked at here.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Later {
    server: Option<LaterServer>,
    collect: Option<LaterCollect>,
    remote_write: Option<Spanned<Filled>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LaterServer {
    tls: Option<Spanned<Filled>>,
    auth: Option<Spanned<Filled>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LaterCollect {
    /// The collector would take it here; the design has it under `logs.docker`.
    logs: Option<Spanned<Filled>>,
}

/// # Errors
/// One finding per section that is filled in.
pub(super) fn refuse(file: &str, text: &str) -> Result<(), ConfigError> {
    // A document of another shape is for the real parser to describe.
    let Ok(later) = yaml::parse::<Later>(file, text) else {
        return Ok(());
    };
    let server = later.server.unwrap_or_default();
    let collect = later.collect.unwrap_or_default();
    let found: Vec<Diagnostic> = [
        ("server.tls", server.tls),
        ("server.auth", server.auth),
        ("collect.logs", collect.logs),
        ("remote_write", later.remote_write),
    ]
    .into_iter()
    .filter_map(|(key, value)| {
        let value = value?;
        // Our own empty sections read well as "none"; the collector knows its keys strictly.
        let tolerated =
            !value.value.0 && !key.starts_with("collect.") && !key.starts_with("server.");
        (!tolerated).then(|| Diagnostic {
            file: file.to_owned(),
            position: yaml::position(value.referenced),
            message: match key {
                "collect.logs" => "write this under logs.docker".to_owned(),
                _ => format!("{key} is not supported yet in this version; remove it"),
            },
        })
    })
    .collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(ConfigError(found))
    }
}
