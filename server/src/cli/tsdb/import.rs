//! `stackwatch tsdb import`: OpenMetrics text or blocks of a Prometheus into the data directory.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use model::{Timestamp, time::duration_millis};
use storage::Storage;
use storage::import::prometheus::{BlockError, PrometheusBlock};
use storage::import::{Import, ImportReport, open_regular};

use super::prometheus_dir::{self, Found};
use super::text::LineReader;
use crate::cli::data_dir::{self, DataDir};
use crate::cli::{Failure, Shared};
use crate::clock;

/// Longest line read; labels of 64 KB each still fit.
const LINE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct ImportArgs {
    /// File with OpenMetrics text (- for standard input), or directory: data of a Prometheus, a
    /// snapshot of it, or one block
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
}

pub(super) fn import(args: &ImportArgs, shared: &Shared) -> Result<(), Failure> {
    let dir = shared.data_dir()?;
    check(&args.from).map_err(Failure::Usage)?;
    let DataDir::Idle(storage) = data_dir::open_or_make(&dir)? else {
        return Err(Failure::Other(format!(
            "a stackwatch runs on {}: stop it, import, and start it again",
            dir.display()
        )));
    };
    let done = if args.from.is_dir() {
        blocks(&storage, &args.from)
    } else {
        text_file(&storage, &args.from)
    };
    storage.close().map_err(Failure::other)?;
    let oldest = done?;
    let config = shared.client_config()?;
    let retention = config.retention_metrics;
    let kept_from = clock::wall().minus(retention);
    if let Some(oldest) = oldest
        && oldest < kept_from
    {
        let fate = match config.has_rollups {
            true => {
                "go once they are rolled up, or at the next start when no roll-up goes that far"
            }
            false => "go at the next start",
        };
        writeln!(
            std::io::stderr(),
            "note: samples before {} are older than storage.retention.metrics ({}) and {fate}: raise it first",
            clock::rfc3339(kept_from),
            model::number::format_duration(std::time::Duration::from_millis(
                duration_millis(retention).unsigned_abs()
            )),
        )?;
    }
    Ok(())
}

/// Whether `from` may be imported, before anything is opened or waited for.
fn check(from: &Path) -> Result<(), String> {
    let shown = from.display();
    if from == Path::new("-") {
        return Ok(());
    }
    if !from.exists() {
        return Err(format!("{shown}: no such file or directory"));
    }
    if let Some(block) = block_of(from) {
        let block = block.display();
        return Err(format!(
            "{shown} is a file of a block: name the directory, {block}"
        ));
    }
    match from.is_file() || from.is_dir() {
        true => Ok(()),
        false => Err(format!(
            "{shown} is neither a regular file nor a directory: to read from a pipe or a device, \
             name - and redirect standard input"
        )),
    }
}

/// The directory of the block that `file` is a part of, by its name and what is beside it.
fn block_of(file: &Path) -> Option<&Path> {
    let parts = ["meta.json", "index", "tombstones"];
    let name = file.file_name()?.to_str()?;
    let dir = file.parent()?;
    if file.is_file() && parts.contains(&name) && dir.join("meta.json").is_file() {
        return Some(match dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => dir,
        });
    }
    let (is_segment, above) = (name.bytes().all(|b| b.is_ascii_digit()), dir.parent()?);
    let is_chunk = is_segment && dir.ends_with("chunks") && above.join("meta.json").is_file();
    is_chunk.then_some(above)
}

/// Imports blocks one by one; the oldest instant imported.
fn blocks(storage: &Storage, dir: &Path) -> Result<Option<Timestamp>, Failure> {
    let found = prometheus_dir::find(dir).map_err(Failure::Other)?;
    let mut err = std::io::stderr().lock();
    for note in &found.notes {
        writeln!(err, "note: {note}")?;
    }
    let all = found.blocks.len() + found.refused.len();
    let mut refused = found.refused;
    if found.blocks.is_empty() && refused.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: no blocks of a Prometheus here (directories with meta.json, index and chunks)",
            dir.display()
        )));
    }
    let mut oldest = None;
    for found in &found.blocks {
        match block(storage, found) {
            Ok(report) => {
                say(&found.dir, &report)?;
                oldest = report.range.map(|(t, _)| t).into_iter().chain(oldest).min();
            }
            Err(why) => refused.push(why),
        }
    }
    if refused.is_empty() {
        return Ok(oldest.map(Timestamp::from_millis));
    }
    for why in &refused {
        writeln!(err, "REFUSED, nothing of it imported: {why}")?;
    }
    Err(Failure::Other(format!(
        "blocks refused: {} of {}",
        refused.len(),
        all
    )))
}

fn block(storage: &Storage, found: &Found) -> Result<ImportReport, String> {
    let block = PrometheusBlock::open(&found.dir).map_err(|e| e.to_string())?;
    let mut import = storage.import(clock::wall()).map_err(|e| e.to_string())?;
    let content = block
        .read(&mut |labels, samples| {
            let added = import.add(labels, samples);
            added.map_err(|e| BlockError::Stopped(e.to_string()))
        })
        .map_err(|e| e.to_string())?;
    let said = found.meta.stats.num_samples;
    let has = content.samples + content.deleted;
    if said != has && said != 0 {
        return Err(format!(
            "{}: meta.json says {said} samples, found {has}",
            found.dir.display()
        ));
    }
    import.finish().map_err(|e| e.to_string())
}

fn text_file(storage: &Storage, path: &Path) -> Result<Option<Timestamp>, Failure> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let opened = open_regular(path);
        Box::new(opened.map_err(|e| Failure::Other(format!("{}: {e}", path.display())))?)
    };
    let mut import = storage.import(clock::wall()).map_err(Failure::other)?;
    let mut input = BufReader::with_capacity(1 << 20, input);
    read_text(&mut input, &mut import)
        .map_err(|why| Failure::Other(format!("{}: {why}; nothing imported", path.display())))?;
    let report = import.finish().map_err(Failure::other)?;
    say(path, &report)?;
    if report.samples == 0 && report.too_far_future > 0 {
        return Err(Failure::Other(format!(
            "{}: nothing stored, every sample is in the future: OpenMetrics has seconds, were \
             these milliseconds?",
            path.display()
        )));
    }
    Ok(report.range.map(|(t, _)| Timestamp::from_millis(t)))
}

/// Reads all lines up to `# EOF`, which must be there: a file that was cut is no export.
fn read_text(input: &mut dyn BufRead, import: &mut Import) -> Result<(), String> {
    let mut reader = LineReader::default();
    let mut bytes = Vec::new();
    let mut number = 0_u64;
    let mut ended = false;
    loop {
        bytes.clear();
        let read = (&mut *input)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| e.to_string())?;
        if read == 0 {
            break;
        }
        number += 1;
        let wrong = |why: String| format!("line {number}: {why}");
        if ended {
            return Err(wrong("data after # EOF".to_owned()));
        }
        let whole = bytes.strip_suffix(b"\n");
        if whole.is_none() && bytes.len() as u64 == LINE_BYTES_MAX {
            return Err(wrong(format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let line = std::str::from_utf8(whole.unwrap_or(&bytes));
        let line = line.map_err(|_| wrong("not UTF-8".to_owned()))?;
        if line == "# EOF" {
            ended = true;
            continue;
        }
        if let Some((labels, point)) = reader.read(line).map_err(wrong)? {
            let added = import.add_unsorted(labels, point);
            added.map_err(|e| e.to_string())?;
        }
    }
    if ended {
        Ok(())
    } else {
        Err("it does not end with # EOF: it was cut".to_owned())
    }
}

fn say(from: &Path, report: &ImportReport) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "{}: {} samples in {} blocks",
        from.display(),
        report.samples,
        report.blocks
    )?;
    if let Some((first, last)) = report.range {
        let time = |t| clock::rfc3339(Timestamp::from_millis(t));
        write!(out, ", {} to {}", time(first), time(last))?;
    }
    for (count, what) in [
        (report.histograms, "native histograms among them"),
        (report.duplicates, "left out: same series and instant"),
        (report.too_far_future, "left out: in the future"),
    ] {
        if count > 0 {
            write!(out, "; {count} {what}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_block_is_known_by_what_is_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let block = dir.path().join("01HB");
        std::fs::create_dir_all(block.join("chunks")).unwrap();
        for file in ["index", "chunks/000001", "other.om"] {
            std::fs::write(block.join(file), "").unwrap();
        }
        assert_eq!(block_of(&block.join("index")), None, "no block yet");
        std::fs::write(block.join("meta.json"), "{}").unwrap();
        for file in ["meta.json", "index", "chunks/000001"] {
            assert_eq!(block_of(&block.join(file)), Some(&*block), "{file}");
        }
        assert_eq!(block_of(&block.join("other.om")), None);
        assert_eq!(block_of(&block), None);
        assert_eq!(block_of(Path::new("-")), None);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for (path, is_good) in [(&*pipe, false), (Path::new("/dev/null"), false)]
            .into_iter()
            .chain([(Path::new("-"), true), (dir.path(), true)])
        {
            assert_eq!(check(path).is_ok(), is_good, "{}", path.display());
        }
        assert!(check(&pipe).unwrap_err().contains("name - and redirect"));
        std::fs::write(dir.path().join("meta.json"), "").unwrap();
        assert!(check(&dir.path().join("meta.json")).is_err());
    }

    #[test]
    fn a_text_of_which_nothing_is_stored_is_a_failure_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let opened = data_dir::open_or_make(&dir.path().join("data"))
            .ok()
            .unwrap();
        let DataDir::Idle(storage) = opened else {
            panic!("in use")
        };
        let text = dir.path().join("text.om");
        let import = |content: &str| {
            std::fs::write(&text, content).unwrap();
            text_file(&storage, &text).map_err(|e| e.to_string())
        };
        let refused = import("a 1 1700000000000\n# EOF\n").unwrap_err();
        assert!(refused.contains("were these milliseconds?"), "{refused}");
        assert!(import("a 1 1700000000\na 1 1700000000000\n# EOF\n").is_ok());
        assert!(import("# EOF\n").is_ok(), "there was nothing to store");
    }
}
