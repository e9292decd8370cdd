//! What a flag of Prometheus is called here, for those who type it from memory.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Prometheus' flags and ours.
const FLAGS: [(&str, &str); 7] = [
    ("--config.file", "--config"),
    ("--web.listen-address", "--listen"),
    ("--web.external-url", "--external-url"),
    ("--web.enable-admin-api", "--enable-admin-api"),
    (
        "--web.enable-remote-write-receiver",
        "--enable-remote-write-receiver",
    ),
    ("--storage.tsdb.path", "--data-dir"),
    ("--log.level", "--log-level"),
];
/// Prometheus' flags that are no flags here.
const OTHERS: [(&str, &str); 4] = [
    (
        "--storage.tsdb.retention.time",
        "write storage.retention.metrics in the configuration file",
    ),
    (
        "--storage.tsdb.retention",
        "write storage.retention.metrics in the configuration file",
    ),
    (
        "--storage.tsdb.retention.size",
        "write storage.retention.size in the configuration file",
    ),
    (
        "--web.enable-lifecycle",
        "leave it out: /-/reload is always on",
    ),
];

/// Says what is meant when the command line has a flag of Prometheus.
pub(super) fn add(mut error: Error) -> Error {
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(arg))) => {
            arg.split('=').next().unwrap_or_default().to_owned()
        }
        _ => return error,
    };
    let of = |table: &[(&str, &'static str)]| {
        let found = table.iter().find(|(theirs, _)| *theirs == unknown);
        found.map(|(_, ours)| *ours)
    };
    if let Some(ours) = of(&FLAGS) {
        let ours = ContextValue::String(ours.to_owned());
        error.insert(ContextKind::SuggestedArg, ours);
    } else if let Some(ours) = of(&OTHERS) {
        error.remove(ContextKind::SuggestedArg);
        let ours = ContextValue::StyledStrs(vec![ours.into()]);
        error.insert(ContextKind::Suggested, ours);
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn flags_of_prometheus_are_told_what_they_are_called_here() {
        for (flag, hint) in FLAGS.iter().chain(&OTHERS) {
            for written in [(*flag).to_owned(), format!("{flag}=x")] {
                let refused = Cli::try_parse_from(["stackwatch", &written]);
                let said = add(refused.err().unwrap()).to_string();
                assert!(said.contains(flag) && said.contains(hint), "{said}");
            }
        }
    }
}
