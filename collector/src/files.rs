//! Watched files: how old and how large the newest one is that a pattern matches. For backups.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use model::{SampleBatch, Timestamp};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::glob;
use crate::source::Source;
use crate::target::{Sink, Target};

/// Files one pattern may match, and entries of folders looked at for it; further ones are not seen.
const ENTRIES_MAX: usize = 50_000;

/// Files that should be young and large enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// An absolute path; `*`, `?` and `[a-z]` match within one component.
    pub path: String,
    /// The `name` label; the path when absent.
    pub name: Option<String>,
    /// The newest match must not be older.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub max_age: Option<Duration>,
    /// The newest match must not be smaller, in bytes; `10MB` is understood.
    #[serde(deserialize_with = "crate::scrape::bytes_option")]
    pub min_size: Option<u64>,
}

impl FileConfig {
    /// The `name` label.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.path)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!("path {:?} is not absolute", self.path));
        }
        if self.path.contains("**") {
            return Err(format!(
                "path {:?}: ** is not understood; * matches within one component",
                self.path
            ));
        }
        Ok(())
    }
}

/// What a pattern matches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Matches {
    count: usize,
    bytes: u64,
    /// Of the youngest: seconds since 1970, and bytes.
    newest: Option<(f64, u64)>,
}

/// Looks at all patterns at every tick.
pub(crate) struct Files {
    configs: Vec<FileConfig>,
    timeout: Duration,
    /// A look that has not come back: a dead network mount answers never.
    looking: Option<JoinHandle<Vec<Matches>>>,
}

impl Files {
    pub(crate) fn new(configs: Vec<FileConfig>, timeout: Duration) -> Files {
        Files {
            configs,
            timeout,
            looking: None,
        }
    }

    async fn look(&mut self) -> Result<Vec<Matches>, &'static str> {
        let looking = self.looking.get_or_insert_with(|| {
            let paths: Vec<String> = self.configs.iter().map(|c| c.path.clone()).collect();
            tokio::task::spawn_blocking(move || paths.iter().map(|p| look(p)).collect())
        });
        let Ok(done) = tokio::time::timeout(self.timeout, looking).await else {
            return Err("a file system does not answer");
        };
        self.looking = None;
        done.map_err(|_| "looking at files failed inside stackwatch")
    }
}

impl Source for Files {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let found = match self.look().await {
            Ok(found) => found,
            Err(problem) => return target.finish(at, started.elapsed(), Err(problem)),
        };
        let mut pass = target.pass(at);
        for (config, matches) in self.configs.iter().zip(found) {
            put(config, &matches, &mut pass);
        }
        let collected = pass.done();
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

fn put(config: &FileConfig, matches: &Matches, sink: &mut impl Sink) {
    let labels = [("name", config.name()), ("path", config.path.as_str())];
    let newest = |get: fn((f64, u64)) -> f64| matches.newest.map(get);
    for (family, value) in [
        ("stackwatch_file_matches", Some(matches.count as f64)),
        ("stackwatch_file_matches_bytes", Some(matches.bytes as f64)),
        ("stackwatch_file_mtime_seconds", newest(|(at, _)| at)),
        (
            "stackwatch_file_size_bytes",
            newest(|(_, size)| size as f64),
        ),
        (
            "stackwatch_file_age_max_seconds",
            config.max_age.map(|a| a.as_secs_f64()),
        ),
        (
            "stackwatch_file_size_min_bytes",
            config.min_size.map(|s| s as f64),
        ),
    ] {
        if let Some(value) = value {
            sink.put(family, &labels, value);
        }
    }
}

/// The help text of a family; `None` when it is not one of a file.
pub(crate) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "stackwatch_file_matches" => "Files that the pattern matches.",
        "stackwatch_file_matches_bytes" => "Bytes of all files that the pattern matches.",
        "stackwatch_file_mtime_seconds" => {
            "When the newest match was last written, in seconds since 1970."
        }
        "stackwatch_file_size_bytes" => "Bytes of the newest match.",
        "stackwatch_file_age_max_seconds" => "How old the newest match may be.",
        "stackwatch_file_size_min_bytes" => "How small the newest match may be.",
        _ => return None,
    })
}

fn look(pattern: &str) -> Matches {
    let mut matches = Matches::default();
    let paths: Vec<PathBuf> = glob::expand_at_most(Path::new("/"), pattern, ENTRIES_MAX);
    for path in paths {
        let Ok(file) = std::fs::metadata(&path) else {
            continue;
        };
        if !file.is_file() {
            continue;
        }
        let written = file.modified().ok();
        let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let found = (written.unwrap_or_default().as_secs_f64(), file.len());
        matches.count += 1;
        matches.bytes += found.1;
        if matches.newest.is_none_or(|newest| found.0 >= newest.0) {
            matches.newest = Some(found);
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_match_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize, seconds: u64| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![0; bytes]).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        };
        write("a.dump", 10, 1000);
        write("b.dump", 20, 3000);
        write("c.dump", 30, 2000);
        write("d.log", 99, 9000);
        std::fs::create_dir(dir.path().join("e.dump")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("f.dump")).unwrap();
        let found = look(&format!("{}/*.dump", dir.path().display()));
        let expect = Matches {
            count: 3,
            bytes: 60,
            newest: Some((3000.0, 20)),
        };
        assert_eq!(found, expect);
        assert_eq!(
            look(&format!("{}/x/*", dir.path().display())),
            Matches::default()
        );
        assert_eq!(look("/nowhere/at/all"), Matches::default());
    }

    #[test]
    fn mistakes_are_named() {
        let check = |yaml: &str| serde_saphyr::from_str::<FileConfig>(yaml).unwrap().check();
        assert_eq!(
            check("{path: '/backup/*.dump', max_age: 26h, min_size: 10MB}"),
            Ok(())
        );
        assert!(
            check("path: backup/*.dump")
                .unwrap_err()
                .contains("not absolute")
        );
        assert!(check("path: '/backup/**/x'").unwrap_err().contains("**"));
    }
}
