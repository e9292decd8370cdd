//! `stackwatch backup DIR` and `stackwatch restore DIR`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use storage::LeftOut;
use storage::backup::{self, SnapshotReport};

use super::client::Url;
use super::data_dir::{self, DataDir};
use super::{Failure, Shared};
use crate::clock;
use crate::config::values::Bytes;

#[derive(Args)]
pub(super) struct BackupArgs {
    /// Directory to make; it must be empty or absent
    dir: PathBuf,
    #[command(flatten)]
    url: Url,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// Directory of a backup; it stays as it is
    dir: PathBuf,
}

pub(super) fn backup(args: &BackupArgs, shared: &Shared) -> Result<(), Failure> {
    let dir = shared.data_dir()?;
    let target = std::path::absolute(&args.dir)?;
    // Before a running stackwatch does the work in vain.
    backup::check_target(&dir, &target).map_err(Failure::other)?;
    let report = match data_dir::open(&dir)? {
        DataDir::Idle(storage) => {
            let made = storage.snapshot(&target, clock::wall());
            let made = made.map_err(Failure::other);
            storage.close().map_err(Failure::other)?;
            made?
        }
        DataDir::InUse => {
            let stage = data_dir::ask_for_snapshot(&dir, &args.url.base(shared)?)?;
            let moved = backup::relocate(stage.path(), &target);
            moved.map_err(Failure::other)?
        }
    };
    let left_out = LeftOut::of(&dir);
    let SnapshotReport {
        files,
        bytes,
        linked_bytes,
    } = report;
    writeln!(
        std::io::stdout(),
        "{}: {files} files, {}{}{}",
        target.display(),
        size(bytes),
        match left_out.files {
            0 => String::new(),
            files => format!("; {files} that are damaged or of another format are not part of it"),
        },
        match linked_bytes {
            0 => String::new(),
            linked => format!(
                "; {} are hard links to the data directory: copy them to another disk",
                size(linked)
            ),
        }
    )?;
    let mut err = std::io::stderr().lock();
    for line in left_out.lines {
        writeln!(err, "not part of the backup: {line}")?;
    }
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs, shared: &Shared) -> Result<(), Failure> {
    let dir = shared.data_dir()?;
    let report = backup::restore(&args.dir, &dir).map_err(Failure::other)?;
    writeln!(
        std::io::stdout(),
        "{}: {} files, {}, as of {}",
        dir.display(),
        report.files,
        size(report.bytes),
        clock::rfc3339(report.taken),
    )?;
    Ok(())
}

/// Bytes for people, one digit behind the point.
pub(super) fn size(bytes: u64) -> String {
    for (unit, power) in [("GB", 3), ("MB", 2), ("KB", 1)] {
        let one = 1_u64 << (10 * power);
        if bytes >= one {
            return format!("{:.1} {unit}", bytes as f64 / one as f64);
        }
    }
    Bytes(bytes).to_string()
}
