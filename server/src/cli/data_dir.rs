//! A data directory for sub-commands: opened when nobody uses it, else by way of the running
//! stackwatch.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::registry::Registry;
use storage::backup::{SNAPSHOTS, STAGE_PREFIX};
use storage::{OpenError, Storage};

use super::client::post;
use super::{Failure, Shared};
use crate::clock;

/// Kept for ever: a sub-command does not apply retention.
const FOREVER: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);
/// A snapshot is checksummed once: some minutes for tens of gigabytes.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(3600);

/// What a data directory is found to be.
pub(super) enum DataDir {
    /// Nobody else uses it; locked by us now.
    Idle(Storage),
    /// A stackwatch runs on it.
    InUse,
}

impl Shared {
    /// The data directory: the flag, else the configuration's, else the default.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.client_config()?.data_dir),
        }
    }
}

/// Opens an existing data directory without applying retention.
pub(super) fn open(dir: &Path) -> Result<DataDir, Failure> {
    if !dir.join("metrics").is_dir() {
        let what = match dir.is_file() {
            true => "is not a directory",
            false => "is no data directory",
        };
        return Err(Failure::Other(format!(
            "{} {what}; name the one of stackwatch with --data-dir",
            dir.display()
        )));
    }
    open_or_make(dir)
}

/// As [`open`], for a directory that may not exist yet.
pub(super) fn open_or_make(dir: &Path) -> Result<DataDir, Failure> {
    let config = storage::Config {
        dir: dir.to_owned(),
        retention_metrics: FOREVER,
        retention_logs: FOREVER,
        size_bytes_max: u64::MAX,
        free_bytes_min: 0,
        ..storage::Config::default()
    };
    match Storage::open(config, clock::wall(), &mut Registry::default()) {
        Ok(storage) => Ok(DataDir::Idle(storage)),
        Err(OpenError::Locked { .. }) => Ok(DataDir::InUse),
        Err(e) => Err(Failure::other(e)),
    }
}

/// Opens a snapshot that we had made. Of an empty store it has no files of samples.
pub(super) fn open_copy(dir: &Path) -> Result<Storage, Failure> {
    match open_or_make(dir)? {
        DataDir::Idle(copy) => Ok(copy),
        DataDir::InUse => Err(Failure::Other("somebody else uses our snapshot".to_owned())),
    }
}

/// Tells what of the data is damaged or cannot be read, one line each; a failure when there is
/// any, because what was read is not all there should be.
pub(super) fn report(losses: &[String], err: &mut dyn Write) -> Result<(), Failure> {
    for line in losses {
        writeln!(err, "{line}")?;
    }
    match losses.is_empty() {
        true => Ok(()),
        false => Err(Failure::Reported),
    }
}

/// A snapshot inside the data directory; removed on drop unless it was moved away.
pub(super) struct Stage(PathBuf);

impl Stage {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Else the next start of stackwatch does it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has the stackwatch at `base`, which runs on `dir`, make a snapshot. It only fills a directory
/// that is there already: who can make one there may read the data anyway, and nobody else, such
/// as a page in a browser, can have snapshots made.
pub(super) fn ask_for_snapshot(dir: &Path, base: &str) -> Result<Stage, Failure> {
    let dir = dir.canonicalize()?;
    let snapshots = dir.join(SNAPSHOTS);
    let name = format!(
        "{STAGE_PREFIX}{}-{}",
        std::process::id(),
        clock::wall().millis()
    );
    let path = snapshots.join(&name);
    fs::create_dir_all(&path)
        .map_err(|e| Failure::Other(format!("cannot create {}: {e}", path.display())))?;
    let stage = Stage(path);
    for made in [&snapshots, &stage.0] {
        give_to_owner_of(&dir, made);
    }
    let params = [("name", name)];
    let (status, body) = post(base, "/-/snapshot", &params, SNAPSHOT_TIMEOUT)?;
    match status {
        200 => Ok(stage),
        404 => Err(Failure::Other(format!(
            "{} is in use, but not by the stackwatch at {base}: name the right one with --url",
            dir.display()
        ))),
        503 => Err(Failure::Other(format!(
            "{base} is starting, try again in a moment"
        ))),
        _ => Err(Failure::Other(format!("{base}: {}", body.trim()))),
    }
}

/// Root may run this command beside a stackwatch that runs as somebody else.
fn give_to_owner_of(dir: &Path, made: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    if let Ok(about) = fs::metadata(dir) {
        // When we may not, the running one says that it cannot write there.
        let _ = chown(made, Some(about.uid()), Some(about.gid()));
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, Sample, SampleBatch, Timestamp};

    use super::*;

    fn storage(dir: &Path) -> Storage {
        match open_or_make(dir) {
            Ok(DataDir::Idle(storage)) => storage,
            _ => panic!("cannot open {}", dir.display()),
        }
    }

    #[test]
    fn a_snapshot_of_an_empty_store_can_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("snapshots/copy");
        let store = storage(dir.path());
        store.snapshot(&copy, clock::wall()).unwrap();
        assert!(open(&copy).is_err() && open_copy(&copy).is_ok());
    }

    #[test]
    fn damaged_data_are_told_and_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let store = storage(dir.path());
        let at = Timestamp::from_millis(1_700_000_000_000);
        let sample = Sample {
            labels: Labels::from_pairs([("__name__", "m")]),
            at,
            value: 1.0,
        };
        store
            .append_samples(&SampleBatch::from(vec![sample]), at)
            .unwrap();
        store.close().unwrap();
        let mut said = Vec::new();
        let store = storage(dir.path());
        assert!(report(&store.losses(), &mut said).is_ok() && said.is_empty());
        // An import brings what is in memory to a block.
        store.import(at).unwrap().finish().unwrap();
        store.close().unwrap();
        let blocks = fs::read_dir(dir.path().join("metrics/blocks")).unwrap();
        let mut paths = blocks.map(|e| e.unwrap().path());
        let block = paths.find(|p| p.extension().is_some_and(|e| e == "blk"));
        fs::write(block.unwrap(), "damaged").unwrap();
        let reported = report(&storage(dir.path()).losses(), &mut said);
        assert!(matches!(reported, Err(Failure::Reported)));
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains("damaged data in ") && said.ends_with('\n'),
            "{said}"
        );
        // It stays so, once the file has been set aside.
        let mut said = Vec::new();
        let reported = report(&storage(dir.path()).losses(), &mut said);
        assert!(matches!(reported, Err(Failure::Reported)));
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("was set aside as damaged"), "{said}");
    }
}
