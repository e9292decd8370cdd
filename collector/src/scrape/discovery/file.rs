//! Target groups from files.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::config::FileSdConfig;
use super::{BYTES_MAX, Publisher};
use crate::glob;
use crate::scrape::StaticConfig;

/// Time between two looks at whether a file has changed: one call of the system for each.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Files one entry may read, and entries of a folder looked at for a pattern.
const FILES_MAX: usize = 1000;
/// The label with the path of the file.
const FILEPATH: &str = "__meta_filepath";

/// What a file was like when it was read, and what it said.
#[derive(Default)]
struct Known {
    /// Modified (seconds and nanoseconds), length, number.
    shape: (i64, i64, u64, u64),
    groups: Vec<StaticConfig>,
    problem: Option<String>,
}

/// Reads until dropped.
pub(super) async fn run(config: FileSdConfig, publisher: Publisher) {
    let mut known: BTreeMap<PathBuf, Known> = BTreeMap::new();
    let mut all_due = Instant::now();
    loop {
        let all = Instant::now() >= all_due;
        if all {
            all_due = Instant::now() + config.refresh_interval;
        }
        let look = {
            let (config, before) = (config.clone(), std::mem::take(&mut known));
            move || look(&config, before, all)
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((now, changed)) => {
                known = now;
                if changed || all {
                    let groups = known.values().flat_map(|k| k.groups.clone()).collect();
                    let problem = known.values().find_map(|k| k.problem.clone());
                    publisher.found(groups, problem);
                }
            }
            Err(_) => publisher.failed("reading files failed inside stackwatch".to_owned()),
        }
        let next = LOOK_INTERVAL.min(config.refresh_interval);
        tokio::time::sleep(next).await;
    }
}

/// What the files say now, and whether one came, went or was changed. A file that cannot be read
/// keeps what it said before.
fn look(
    config: &FileSdConfig,
    mut before: BTreeMap<PathBuf, Known>,
    all: bool,
) -> (BTreeMap<PathBuf, Known>, bool) {
    let mut now = BTreeMap::new();
    let mut changed = false;
    for path in paths(config).into_iter().take(FILES_MAX) {
        // One that is not there matches nothing.
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let old = before.remove(&path);
        let shape = (
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len(),
            metadata.ino(),
        );
        let mut entry = match old {
            Some(old) if old.shape == shape && !all => {
                now.insert(path, old);
                continue;
            }
            old => old.unwrap_or_default(),
        };
        entry.shape = shape;
        match read(&path) {
            Ok(groups) => {
                entry.groups = groups;
                entry.problem = None;
            }
            Err(problem) => entry.problem = Some(problem),
        }
        changed = true;
        now.insert(path, entry);
    }
    (now, changed || !before.is_empty())
}

/// The files that an entry names.
pub(super) fn paths(config: &FileSdConfig) -> Vec<PathBuf> {
    let patterns = config.files.iter();
    patterns
        .flat_map(|pattern| glob::expand_at_most(Path::new("."), pattern, FILES_MAX))
        // The label shows the path as it was written.
        .map(|path| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path))
        .collect()
}

/// The groups of a file, each with the file's path as a label.
///
/// # Errors
/// When it cannot be read or understood; the text names it.
pub(super) fn read(path: &Path) -> Result<Vec<StaticConfig>, String> {
    let shown = path.display().to_string();
    let text = text(path).map_err(|e| format!("reading {shown}: {e}"))?;
    let json = shown.to_ascii_lowercase().ends_with(".json");
    let groups = match json {
        true => from_json(&text),
        false => from_yaml(&text),
    };
    let mut groups = groups.map_err(|e| format!("{shown}: {e}"))?;
    for group in &mut groups {
        group.labels.insert(FILEPATH.to_owned(), shown.clone());
    }
    Ok(groups)
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    crate::regular::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        let problem = format!("is larger than {BYTES_MAX} bytes");
        return Err(std::io::Error::other(problem));
    }
    Ok(text)
}

/// Groups in JSON.
pub(super) fn from_json(text: &str) -> Result<Vec<StaticConfig>, String> {
    let groups: Vec<Option<StaticConfig>> =
        serde_json::from_str(text).map_err(|e| e.to_string())?;
    whole(groups)
}

fn from_yaml(text: &str) -> Result<Vec<StaticConfig>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let groups: Option<Vec<Option<StaticConfig>>> =
        yaml::from_str(text, options).map_err(|e| e.to_string())?;
    whole(groups.unwrap_or_default())
}

fn whole(groups: Vec<Option<StaticConfig>>) -> Result<Vec<StaticConfig>, String> {
    let all: Option<Vec<StaticConfig>> = groups.into_iter().collect();
    all.ok_or_else(|| "nil target group item found".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, file: &str) -> FileSdConfig {
        FileSdConfig {
            files: vec![format!("{}/{file}", dir.display())],
            ..FileSdConfig::default()
        }
    }

    /// The addresses found now, with the label `l`, and whether something is wrong.
    fn found(known: &BTreeMap<PathBuf, Known>) -> (Vec<String>, bool) {
        let groups = known.values().flat_map(|k| &k.groups);
        let shown = |g: &StaticConfig| format!("{}{:?}", g.targets.join("+"), g.labels.get("l"));
        let problem = known.values().any(|k| k.problem.is_some());
        (groups.map(shown).collect(), problem)
    }

    #[test]
    fn json_and_yaml_are_read_with_the_path_as_a_label() {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("a.json");
        std::fs::write(
            &json,
            r#"[{"targets":["h:1","h:2"],"labels":{"l":"x"}},{"targets":[]}]"#,
        )
        .unwrap();
        let groups = read(&json).unwrap();
        assert_eq!(groups[0].targets, ["h:1", "h:2"]);
        assert_eq!(groups[0].labels[FILEPATH], json.display().to_string());
        let yaml = dir.path().join("b.yml");
        std::fs::write(&yaml, "- targets: ['h:3']\n  labels:\n    l: x\n").unwrap();
        assert_eq!(read(&yaml).unwrap()[0].labels["l"], "x");
        std::fs::write(&yaml, "").unwrap();
        assert_eq!(read(&yaml), Ok(Vec::new()));
        for (name, text, expect) in [
            ("c.json", "[null]", "nil target group item found"),
            ("c.json", "[{\"target\":[]}]", "unknown field"),
            ("c.json", "", "EOF"),
            ("c.yml", "- target: [a]", "target"),
            ("c.yml", "a: b", "c.yml: "),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let problem = read(&path).unwrap_err();
            assert!(problem.contains(expect), "{text}: {problem}");
        }
        assert!(
            read(dir.path())
                .unwrap_err()
                .contains("is not a regular file")
        );
    }

    #[test]
    fn a_file_that_breaks_keeps_its_targets_and_one_that_goes_takes_them_along() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let config = config(dir.path(), "*.yml");
        let (known, _) = look(&config, BTreeMap::new(), true);
        assert_eq!(found(&known), (vec![], false));
        write("a.yml", "[{targets: [a]}]");
        write("b.yml", "[{targets: [b], labels: {l: x}}]");
        write("c.json", "no");
        let (known, changed) = look(&config, known, false);
        let both = vec!["aNone".to_owned(), "bSome(\"x\")".to_owned()];
        assert_eq!((found(&known), changed), ((both.clone(), false), true));
        let (known, changed) = look(&config, known, false);
        assert!(!changed);
        write("b.yml", "[{targets: [b], labels");
        let (known, _) = look(&config, known, false);
        assert_eq!(found(&known), (both, true));
        std::fs::remove_file(dir.path().join("b.yml")).unwrap();
        let (known, changed) = look(&config, known, false);
        assert_eq!(
            (found(&known), changed),
            ((vec!["aNone".to_owned()], false), true)
        );
    }
}
