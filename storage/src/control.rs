//! Small durable state in one redb file.
//!
//! redb verifies no page when it reads (a flipped bit came back as data in 39 of 40 tries,
//! a zeroed page panicked), so every value carries a checksum of ours, the file is read
//! through once at the start behind a guard, and a copy in a format of our own is kept to
//! fall back on. Bytes: `docs/formats/control.md`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use model::{ControlError, ControlStore, ControlWrite};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::WriteError;
use crate::bytes::{Reader, put_bytes};
use crate::health::Watch;
use crate::telemetry::FileKind;

const TABLE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("control");
/// Memory for redb's pages; its default would be a gigabyte.
const CACHE_BYTES: usize = 1 << 20;
/// The copy's first bytes: magic and version.
const COPY_HEADER: [u8; 8] = *b"SWCB\x01\0\0\0";

/// Control state on disk.
pub(crate) struct Control {
    path: PathBuf,
    watch: Arc<Watch>,
    /// `None` while it cannot be opened: reads and writes then fail, all else runs, and
    /// every use tries again.
    database: RwLock<Option<Database>>,
    /// After an I/O error redb refuses everything until it is opened anew.
    suspect: AtomicBool,
    /// Whether the copy is older than the file.
    changed: AtomicBool,
}

/// Why a database could not be opened.
enum OpenFailure {
    /// What is in it is wrong.
    Damaged(String),
    /// The disk is full, or does not let us: the file may be good.
    Unavailable(std::io::Error),
}

impl Control {
    /// Opens `control.redb` in `dir`. A damaged file is set aside and replaced by the last
    /// copy, or an empty one.
    pub(crate) fn open(dir: &Path, watch: Arc<Watch>) -> Control {
        let control = Control {
            path: dir.join("control.redb"),
            watch,
            database: RwLock::new(None),
            suspect: AtomicBool::new(true),
            changed: AtomicBool::new(true),
        };
        // What goes wrong is in health, and tried again by whoever needs it.
        let _ = control.reopen();
        control
    }

    /// Writes a fresh copy if anything changed since the last one; tries to open the file
    /// and to write when that failed before.
    pub(crate) fn maintain(&self) {
        if self.suspect.load(Ordering::Acquire) {
            let _ = self.reopen();
        }
        if self.watch.is_failing("control") {
            // Whoever failed may not come back; what comes of it is in health.
            let _ = self.commit(Vec::new());
        }
        self.back_up();
    }

    /// Writes a fresh copy if anything changed since the last one.
    pub(crate) fn back_up(&self) {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return;
        }
        if let Err(e) = self.write_copy() {
            self.changed.store(true, Ordering::Release);
            let error = WriteError::from_io("write", copy_path(&self.path), e);
            self.watch
                .write_failed("control copy", FileKind::Control, &error);
        } else {
            self.watch.solved("control copy");
        }
    }

    fn reopen(&self) -> Result<(), WriteError> {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.suspect.load(Ordering::Acquire) {
            // Somebody else was faster.
            return Ok(());
        }
        // redb locks its file: the old handle goes first.
        *slot = None;
        // A power cut may leave the name without content, which redb takes for a new file.
        let bytes = fs::metadata(&self.path).map(|m| m.len()).ok();
        let mut from_copy = bytes.is_none_or(|bytes| bytes == 0);
        if bytes == Some(0) {
            self.watch
                .corrupt(FileKind::Control, &self.path, "empty file");
        }
        let mut opened = open_checked(&self.path);
        if let Err(OpenFailure::Damaged(what)) = &opened {
            self.watch.corrupt(FileKind::Control, &self.path, what);
            let mut aside = self.path.clone().into_os_string();
            aside.push(".corrupt");
            if let Err(error) = fs::rename(&self.path, &aside) {
                tracing::warn!(path = %self.path.display(), %error, "cannot set a damaged file aside");
            }
            opened = open_checked(&self.path);
            from_copy = true;
        }
        if from_copy && opened.is_err() {
            // What there is of a new file is no content, and would be taken for a damaged one.
            let _ = fs::remove_file(&self.path);
        }
        match opened {
            Ok(database) => {
                if from_copy {
                    restore(&copy_path(&self.path), &database, &self.watch);
                }
                *slot = Some(database);
                self.suspect.store(false, Ordering::Release);
                // A disk that is full lets a file be opened: whether writing works shows at
                // the next commit.
                self.watch.solved("control file");
                Ok(())
            }
            Err(failure) => {
                let e = match failure {
                    OpenFailure::Damaged(what) => std::io::Error::other(what),
                    OpenFailure::Unavailable(e) => e,
                };
                let error = WriteError::from_io("open", &self.path, e);
                self.watch
                    .write_failed("control file", FileKind::Control, &error);
                Err(error)
            }
        }
    }

    /// Everything in one transaction, as `control.bak` has it.
    pub(crate) fn copy(&self) -> Result<Vec<u8>, ControlError> {
        let mut bytes = Vec::new();
        self.with("read", |database| {
            bytes.clear();
            bytes.extend_from_slice(&COPY_HEADER);
            each(database, "", &mut |key, value| {
                put_bytes(&mut bytes, key.as_bytes());
                put_bytes(&mut bytes, value);
            })
        })
        .map_err(|e| told(&e))?;
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn write_copy(&self) -> std::io::Result<()> {
        let bytes = self.copy().map_err(|e| std::io::Error::other(e.0))?;
        let to = copy_path(&self.path);
        let temporary = to.with_extension("tmp");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &to)?;
        match to.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Runs `work` on the database; a panic inside redb becomes an error. `work` may run twice:
    /// after the disk failed another user of the handle, redb refuses everybody until the file
    /// is opened again.
    fn with<T>(
        &self,
        operation: &'static str,
        mut work: impl FnMut(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, WriteError> {
        let failed = |e| WriteError::from_io(operation, &self.path, e);
        let mut is_second = false;
        loop {
            if self.suspect.load(Ordering::Acquire) {
                self.reopen()?;
            }
            let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = guard.as_ref() else {
                return Err(failed(std::io::Error::other("it cannot be opened")));
            };
            let done = catch_unwind(AssertUnwindSafe(|| work(database)));
            if !matches!(done, Ok(Ok(_))) {
                // Opening again is cheap, and finds out whether it is the disk or the content.
                self.suspect.store(true, Ordering::Release);
            }
            match done {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(redb::Error::PreviousIo)) if !is_second => is_second = true,
                Ok(Err(redb::Error::Io(e))) => return Err(failed(e)),
                Ok(Err(e)) => return Err(failed(std::io::Error::other(e))),
                Err(_) => {
                    self.watch
                        .corrupt(FileKind::Control, &self.path, "page damaged");
                    return Err(failed(std::io::Error::other("it is damaged")));
                }
            }
        }
    }
}

/// What the users of the store are told.
fn told(e: &WriteError) -> ControlError {
    ControlError(e.to_string())
}

impl ControlStore for Control {
    fn scan(&self, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError> {
        let mut pairs = Vec::new();
        self.with("read", |database| {
            pairs.clear();
            let prefix = format!("{table}\0");
            each(
                database,
                &prefix,
                &mut |key, value| match checked(key, value) {
                    Some(value) => pairs.push((key[prefix.len()..].to_owned(), value.to_vec())),
                    None => self.watch.corrupt(
                        FileKind::Control,
                        &self.path,
                        format_args!("value of {}", key.replace('\0', "/")),
                    ),
                },
            )
        })
        .map_err(|e| told(&e))?;
        Ok(pairs)
    }

    fn commit(&self, writes: Vec<ControlWrite>) -> Result<(), ControlError> {
        let done = self.with("write", |database| {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for write in &writes {
                    match write {
                        ControlWrite::Put {
                            table: t,
                            key,
                            value,
                        } => {
                            let key = format!("{t}\0{key}");
                            let mut framed = value_crc(&key, value).to_le_bytes().to_vec();
                            framed.extend_from_slice(value);
                            table.insert(key.as_str(), framed.as_slice())?;
                        }
                        ControlWrite::Delete { table: t, key } => {
                            table.remove(format!("{t}\0{key}").as_str())?;
                        }
                    }
                }
            }
            // Durable on return: redb's default.
            transaction.commit()?;
            Ok(())
        });
        match &done {
            Ok(()) => {
                self.changed.store(true, Ordering::Release);
                self.watch.solved("control");
            }
            Err(e) => self.watch.write_failed("control", FileKind::Control, e),
        }
        done.map_err(|e| told(&e))
    }
}

/// Opens or makes a database and reads it through.
fn open_checked(path: &Path) -> Result<Database, OpenFailure> {
    let open = || -> Result<Database, redb::Error> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)?;
        // Wrong values are left out one by one when scanned; here only panics and errors count.
        match each(&database, "", &mut |_, _| {}) {
            Err(redb::Error::TableDoesNotExist(_)) => {
                let transaction = database.begin_write()?;
                transaction.open_table(TABLE)?;
                transaction.commit()?;
            }
            read => read?,
        }
        Ok(database)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::Error::Io(e)))
            if !matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            Err(OpenFailure::Unavailable(e))
        }
        Ok(Err(e @ redb::Error::DatabaseAlreadyOpen)) => {
            Err(OpenFailure::Unavailable(std::io::Error::other(e)))
        }
        Ok(Err(e)) => Err(OpenFailure::Damaged(e.to_string())),
        Err(_) => Err(OpenFailure::Damaged("page damaged".to_owned())),
    }
}

/// Visits pairs whose key starts with `prefix`, in key order.
fn each(
    database: &Database,
    prefix: &str,
    visit: &mut dyn FnMut(&str, &[u8]),
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(TABLE)?;
    for pair in table.range(prefix..)? {
        let (key, value) = pair?;
        if !key.value().starts_with(prefix) {
            break;
        }
        visit(key.value(), value.value());
    }
    Ok(())
}

/// Over key and value, so that a value cannot turn up under another key.
fn value_crc(key: &str, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(value);
    hasher.finalize()
}

fn checked<'a>(key: &str, framed: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, value) = framed.split_at_checked(4)?;
    (crc == value_crc(key, value).to_le_bytes()).then_some(value)
}

fn copy_path(path: &Path) -> PathBuf {
    path.with_extension("bak")
}

/// Fills an empty database from a copy, if there is a good one.
fn restore(copy: &Path, database: &Database, watch: &Watch) {
    let Ok(bytes) = fs::read(copy) else {
        return;
    };
    let whole = bytes
        .split_at_checked(bytes.len().saturating_sub(4))
        .filter(|(body, crc)| *crc == crc32fast::hash(body).to_le_bytes())
        .and_then(|(body, _)| body.strip_prefix(&COPY_HEADER));
    let Some(body) = whole else {
        watch.corrupt(FileKind::Control, copy, "checksum");
        return;
    };
    let fill = || -> Result<u64, redb::Error> {
        let mut r = Reader::new(body);
        let mut count = 0;
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            while let (Ok(key), Ok(value)) = (r.text(), r.bytes()) {
                table.insert(key, value)?;
                count += 1;
            }
        }
        transaction.commit()?;
        Ok(count)
    };
    match fill() {
        Ok(entries) => tracing::warn!(entries, "restored control state from its copy"),
        Err(error) => {
            tracing::error!(%error, "cannot restore control state from its copy");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &[u8]) -> ControlWrite {
        ControlWrite::Put {
            table: "t",
            key: key.to_owned(),
            value: value.to_vec(),
        }
    }

    fn open(dir: &Path) -> Control {
        Control::open(dir, Watch::for_test())
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_and_tables_are_apart() {
        let dir = tempfile::tempdir().unwrap();
        let control = open(dir.path());
        control
            .commit(vec![put("b", b"2"), put("a", b"1")])
            .unwrap();
        let delete = ControlWrite::Delete {
            table: "t",
            key: "b".to_owned(),
        };
        control.commit(vec![delete, put("c", b"")]).unwrap();
        drop(control);
        let control = open(dir.path());
        let expect = vec![("a".to_owned(), b"1".to_vec()), ("c".to_owned(), vec![])];
        assert_eq!(control.scan("t").unwrap(), expect);
        assert_eq!(control.scan("").unwrap(), vec![]);
        assert_eq!(control.scan("t2").unwrap(), vec![]);
    }

    #[test]
    fn a_damaged_file_is_replaced_by_its_copy() {
        for damage in ["cut", "zero", "garbage", "empty", "gone"] {
            let dir = tempfile::tempdir().unwrap();
            let control = open(dir.path());
            control.commit(vec![put("a", b"1")]).unwrap();
            control.back_up();
            drop(control);
            let path = dir.path().join("control.redb");
            let mut bytes = fs::read(&path).unwrap();
            match damage {
                "cut" => bytes.truncate(5000),
                "empty" => bytes.clear(),
                "zero" => bytes.fill(0),
                "garbage" => bytes.iter_mut().for_each(|b| *b = b.wrapping_mul(7) ^ 0x5a),
                _ => {}
            }
            fs::write(&path, bytes).unwrap();
            if damage == "gone" {
                fs::remove_file(&path).unwrap();
            }
            let control = open(dir.path());
            assert_eq!(control.scan("t").unwrap().len(), 1, "{damage}");
            assert_eq!(control.watch.health().notices.is_empty(), damage == "gone");
            control.commit(vec![put("b", b"2")]).unwrap();
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let control = open(dir.path());
        for i in 0..50 {
            control
                .commit(vec![put(&format!("k{i:02}"), &[i; 40])])
                .unwrap();
        }
        control.back_up();
        drop(control);
        let path = dir.path().join("control.redb");
        let whole = fs::read(&path).unwrap();
        let step = whole.len() / 40;
        for at in (0..whole.len()).step_by(step.max(1)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 8;
            fs::write(&path, damaged).unwrap();
            let control = open(dir.path());
            for (key, value) in control.scan("t").unwrap_or_default() {
                let i: u8 = key[1..].parse().unwrap();
                assert_eq!(value, [i; 40], "flip at {at}");
            }
        }
    }
}
