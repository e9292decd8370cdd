//! Metrics that cron jobs leave in `*.prom` files, as for node_exporter's textfile collector.
//!
//! A file that cannot be read, is not complete or not right is left out as a whole, counted in
//! `node_textfile_scrape_error`, and takes no other file with it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::config::Roots;
use crate::exposition::{Format, Item, Parser, series};
use crate::scrape::{ScrapeConfig, SeriesRules, parse_into};
use crate::target::{Pass, Sink, check_label_bytes};

/// Where Debian's package and most instructions put the files.
const USUAL: [&str; 2] = [
    "/var/lib/prometheus/node-exporter",
    "/var/lib/node_exporter/textfile_collector",
];
/// Files read; those behind, in the order of their names, are errors.
const FILES_MAX: usize = 200;
/// A longer file is an error.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Samples of all files; the file that exceeds it is an error.
const SAMPLES_MAX: usize = 10_000;
/// How long reading may take: a folder may be on a network mount that is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads the files at every tick.
pub(super) struct Textfiles {
    folders: Vec<PathBuf>,
    /// Folders that nobody named need not be there.
    may_be_missing: bool,
    rules: ScrapeConfig,
    /// A look that has not come back.
    reading: Option<JoinHandle<Found>>,
}

/// What is in the folders.
#[derive(Debug, Default)]
pub(super) struct Found {
    files: Vec<File>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct File {
    path: String,
    /// Seconds since 1970.
    modified: f64,
    text: Vec<u8>,
}

impl Textfiles {
    /// `configured` is `None` to look in the usual places of the host.
    pub(super) fn new(configured: Option<&[PathBuf]>, roots: &Roots) -> Textfiles {
        let usual = || USUAL.iter().map(|f| roots.rootfs.join(&f[1..])).collect();
        Textfiles {
            folders: configured.map_or_else(usual, <[PathBuf]>::to_vec),
            may_be_missing: configured.is_none(),
            rules: ScrapeConfig::new("textfile"),
            reading: None,
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// When that takes too long.
    pub(super) async fn read(&mut self) -> std::io::Result<Found> {
        let reading = self.reading.get_or_insert_with(|| {
            let (folders, may_be_missing) = (self.folders.clone(), self.may_be_missing);
            tokio::task::spawn_blocking(move || read(&folders, may_be_missing))
        });
        let Ok(done) = tokio::time::timeout(READ_TIMEOUT, reading).await else {
            let text = format!("no answer within {} s", READ_TIMEOUT.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        };
        self.reading = None;
        done.map_err(std::io::Error::other)
    }

    /// Adds what was found; gives what is wrong with it.
    pub(super) fn put(&self, found: Found, pass: &mut Pass<'_>) -> Vec<String> {
        let mut problems = found.problems;
        let rules = SeriesRules {
            config: &self.rules,
            relabel: &[],
            target: pass.target_labels(),
        };
        let mut left = SAMPLES_MAX;
        for file in found.files {
            let parsed = check(&file.text, left).and_then(|count| {
                left -= count;
                parse_into(pass, &file.text, Format::Prometheus, &rules).map_err(|e| e.to_string())
            });
            match parsed {
                Ok(()) => {
                    let labels = [("file", file.path.as_str())];
                    pass.put("node_textfile_mtime_seconds", &labels, file.modified);
                }
                Err(problem) => problems.push(format!("{}: {problem}", file.path)),
            }
        }
        let failed = f64::from(u8::from(!problems.is_empty()));
        pass.put("node_textfile_scrape_error", &[], failed);
        problems
    }
}

fn read(folders: &[PathBuf], may_be_missing: bool) -> Found {
    let mut found = Found::default();
    for folder in folders {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(_) if may_be_missing => continue,
            Err(e) => {
                found.problems.push(format!("{}: {e}", folder.display()));
                continue;
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "prom"))
            .collect();
        paths.sort();
        for path in paths {
            if found.files.len() >= FILES_MAX {
                let text = format!("{}: more than {FILES_MAX} files", folder.display());
                found.problems.push(text);
                return found;
            }
            match read_file(&path) {
                Ok(file) => found.files.push(file),
                Err(e) => found.problems.push(format!("{}: {e}", path.display())),
            }
        }
    }
    found
}

fn read_file(path: &Path) -> std::io::Result<File> {
    let mut file = crate::regular::open(path)?;
    let modified = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
    let mut text = Vec::new();
    // One byte more tells a file that is too long from one that just fits.
    file.by_ref()
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("more than 1 MiB"));
    }
    Ok(File {
        path: path.display().to_string(),
        modified: modified.map_or(0.0, |d| d.as_secs_f64().floor()),
        text,
    })
}

/// The samples of a file that is right.
fn check(text: &[u8], left: usize) -> Result<usize, String> {
    // Writers that do not rename a finished file into place are caught in the middle.
    if text.last().is_some_and(|last| *last != b'\n') {
        return Err("the last line is not complete".to_owned());
    }
    let mut count = 0;
    let mut parser = Parser::new(text, Format::Prometheus).map_err(|e| e.to_string())?;
    while let Some(item) = parser.next() {
        let Item::Sample(sample) = item.map_err(|e| e.to_string())? else {
            continue;
        };
        let labels = series::parse(sample.series);
        let fine = labels.and_then(|l| check_label_bytes(&l.build()));
        fine.map_err(|e| parser.error(e).to_string())?;
        if sample.timestamp_ms.is_some() {
            return Err(parser.error("timestamps are not supported").to_string());
        }
        count += 1;
    }
    if count > left {
        return Err(format!("more than {SAMPLES_MAX} samples in all files"));
    }
    Ok(count)
}
