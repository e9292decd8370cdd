//! The blocks of a Prometheus' data directory.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use storage::import::open_regular;

/// The version of `meta.json` we know.
const META_VERSION: u32 = 1;

/// A block with what its `meta.json` says.
pub(super) struct Found {
    pub(super) dir: PathBuf,
    pub(super) meta: Meta,
}

/// `meta.json`, as far as we use it.
#[derive(Deserialize)]
pub(super) struct Meta {
    version: u32,
    #[serde(default)]
    ulid: String,
    #[serde(default)]
    pub(super) stats: Stats,
    #[serde(default)]
    compaction: Compaction,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stats {
    pub(super) num_samples: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Compaction {
    parents: Vec<Parent>,
}

#[derive(Deserialize)]
struct Parent {
    ulid: String,
}

/// Blocks to import, oldest first, and notes for whoever imports.
pub(super) struct Blocks {
    pub(super) blocks: Vec<Found>,
    pub(super) notes: Vec<String>,
    /// Blocks that cannot be read at all.
    pub(super) refused: Vec<String>,
}

/// Looks for blocks in `dir`, which is one itself, a data directory or a snapshot.
pub(super) fn find(dir: &Path) -> Result<Blocks, String> {
    let mut found = Blocks {
        blocks: Vec::new(),
        notes: Vec::new(),
        refused: Vec::new(),
    };
    let mut dirs = Vec::new();
    if dir.join("meta.json").exists() {
        dirs.push(dir.to_owned());
    } else {
        let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for entry in entries.flatten() {
            if entry.path().join("meta.json").exists() {
                dirs.push(entry.path());
            }
        }
        // Their names are ULIDs, which sort by time.
        dirs.sort();
    }
    for dir in dirs {
        match read_meta(&dir) {
            Ok(meta) => found.blocks.push(Found { dir, meta }),
            Err(why) => found.refused.push(why),
        }
    }
    let parents: Vec<String> = found
        .blocks
        .iter()
        .flat_map(|b| b.meta.compaction.parents.iter().map(|p| p.ulid.clone()))
        .collect();
    found.blocks.retain(|b| {
        let compacted = parents.contains(&b.meta.ulid);
        if compacted {
            let name = b.dir.display();
            let note = format!("{name} is left out: a larger block has its samples");
            found.notes.push(note);
        }
        !compacted
    });
    if dir.join("wal").is_dir() {
        found.notes.push(
            "the newest samples (up to three hours) are not in blocks yet and are NOT imported; to \
             have them too, import a snapshot (POST /api/v1/admin/tsdb/snapshot of that Prometheus)"
                .to_owned(),
        );
    }
    Ok(found)
}

fn read_meta(dir: &Path) -> Result<Meta, String> {
    let path = dir.join("meta.json");
    let wrong = |why: String| format!("{}: {why}", path.display());
    let file = open_regular(&path).map_err(|e| wrong(e.to_string()))?;
    let meta: Meta =
        serde_json::from_reader(BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;
    if meta.version != META_VERSION {
        return Err(wrong(format!(
            "version {} is not supported, only {META_VERSION} is",
            meta.version
        )));
    }
    Ok(meta)
}
