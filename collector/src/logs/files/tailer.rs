//! Which files are followed: those that the patterns name, and those that were rotated away and are
//! not read to their end. Plain calls; the loop in [`super`] brings the time and carries batches away.
//!
//! A file is known by what was read of it rather than by its name. So a file that was renamed goes
//! on where it was, one that was copied and emptied is read from its beginning, and what was written
//! just before either is read from the file that has it now, under whatever name beside it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use scrub::LogBatch;

use super::config::LogFilesConfig;
use super::position::{Position, Prints};
use super::tailed::{Tailed, open};
use crate::glob;
use crate::logs::lines::Lines;

/// Files that are open at once: those written to last. Others that match are left out, and the status
/// says so.
const FILES_MAX: usize = 256;
/// Entries of folders looked at for one pattern.
const ENTRIES_MAX: usize = 10_000;
/// Batches of one round, each of at most a chunk: bounds the memory that waits for the store.
const BATCHES_MAX: usize = 8;
/// How long nothing must have come into a file that was rotated away or removed before it is closed.
/// Programs go on writing to it until they are told.
const ROTATED_NS: i64 = 60 * 1_000_000_000;
/// How long nothing must have come into a file before it makes room for another.
const IDLE_NS: i64 = 600 * 1_000_000_000;
/// How long ago at most that other must have been written to.
const FRESH_NS: i64 = 60 * 1_000_000_000;
/// How long the position of a file that is not found again is kept: its disk may be mounted later.
const LOST_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Positions kept of files that are not found again; those read longest ago go first.
const LOST_MAX: usize = 256;
/// Rounds in which what was lost is looked for beside the file that has its name now.
const SEARCHES_MAX: u32 = 30;
/// Endings of files that hold no lines.
const COMPRESSED: [&str; 6] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"];

/// Device and number of a file.
type Identity = (u64, u64);

/// Follows files.
pub(super) struct Tailer {
    configs: Vec<LogFilesConfig>,
    host: String,
    lines: Lines,
    files: BTreeMap<Identity, Followed>,
    /// Where files stood that are not open: after a restart all, later those that were emptied.
    lost: Vec<Lost>,
    /// Numbers sources.
    next: u64,
    /// Whether no round was made yet.
    first: bool,
    /// The file that was read last: the next round begins behind it.
    turn: Option<Identity>,
}

struct Followed {
    tailed: Tailed,
    /// Its name now.
    path: PathBuf,
    /// Since when no pattern names it; `None` while one does.
    unnamed_ns: Option<i64>,
}

struct Lost {
    source: String,
    position: Position,
    /// How often it was looked for.
    searches: u32,
}

/// What a round brought.
#[derive(Default)]
pub(super) struct Round {
    pub(super) batches: Vec<LogBatch>,
    /// Whether there is more to read at once.
    pub(super) more: bool,
    /// Sources that are gone for good.
    pub(super) gone: Vec<String>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
    /// Files that are followed.
    pub(super) files: usize,
}

impl Tailer {
    /// `stored` are positions by source, as far as batches were handed on.
    pub(super) fn new(
        configs: Vec<LogFilesConfig>,
        host: String,
        lines: Lines,
        stored: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let stored = stored.into_iter();
        let lost = stored.filter_map(|(source, bytes)| {
            let position = Position::decode(&bytes)?;
            Some(Lost {
                source,
                position,
                searches: 0,
            })
        });
        Tailer {
            configs,
            host,
            lines,
            files: BTreeMap::new(),
            lost: lost.collect(),
            next: 0,
            first: true,
            turn: None,
        }
    }

    /// Looks which files there are and reads what is new in them.
    pub(super) fn round(&mut self, now_ns: i64) -> Round {
        let mut round = Round::default();
        self.scan(now_ns, &mut round);
        self.read(now_ns, &mut round);
        self.close(now_ns, &mut round);
        self.first = false;
        round.files = self.files.len();
        round
    }

    fn scan(&mut self, now_ns: i64, round: &mut Round) {
        for followed in self.files.values_mut() {
            followed.unnamed_ns.get_or_insert(now_ns);
        }
        let mut candidates = self.candidates(round);
        if candidates.len() > FILES_MAX {
            // Those that are written to come first.
            candidates.sort_by_key(|c| std::cmp::Reverse(c.written));
        }
        let mut left_out = 0;
        let mut named: HashMap<PathBuf, usize> = HashMap::new();
        for Candidate {
            path,
            config,
            written,
        } in candidates
        {
            let is_open = self.files.contains_key(&written.identity);
            if !is_open && self.files.len() >= FILES_MAX && !self.make_room(&written, now_ns) {
                left_out += 1;
                continue;
            }
            match self.find(&path, config, now_ns) {
                Ok(true) => drop(named.insert(path, config)),
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => round.problems.push(format!("{}: {e}", path.display())),
            }
        }
        if left_out > 0 {
            let text = format!("{left_out} files more than the {FILES_MAX} that are followed");
            // First, for it says that lines are not read.
            round.problems.insert(0, text);
        }
        self.find_rotated(&named, now_ns);
        self.forget_lost(now_ns, round);
    }

    fn paths(&self, config: &LogFilesConfig) -> Vec<PathBuf> {
        let root = Path::new("/");
        let expand = |pattern: &str| glob::expand_at_most(root, pattern, ENTRIES_MAX);
        let excluded: HashSet<PathBuf> = config
            .exclude
            .iter()
            .flat_map(|pattern| expand(pattern))
            .collect();
        let mut paths = expand(&config.path);
        paths.retain(|path| !is_compressed(path) && !excluded.contains(path));
        paths
    }

    /// The files that the patterns name, each once.
    fn candidates(&self, round: &mut Round) -> Vec<Candidate> {
        let mut known = HashSet::new();
        let mut candidates = Vec::new();
        for config in 0..self.configs.len() {
            for path in self.paths(&self.configs[config]) {
                if !known.insert(path.clone()) {
                    continue;
                }
                match std::fs::metadata(&path) {
                    Ok(meta) if meta.is_file() => candidates.push(Candidate {
                        path,
                        config,
                        written: Written::of(&meta),
                    }),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => round.problems.push(format!("{}: {e}", path.display())),
                }
            }
        }
        candidates
    }

    /// Closes a file into which nothing has come for long, for one that is written to now. Its
    /// position is kept, as far as there is room for that.
    fn make_room(&mut self, written: &Written, now_ns: i64) -> bool {
        let idle_ns = |f: &Followed| now_ns - f.tailed.moved_ns;
        let is_fresh = now_ns - written.at_ns < FRESH_NS;
        let idlest = self.files.iter().max_by_key(|(_, f)| idle_ns(f));
        let Some((identity, _)) = idlest.filter(|(_, f)| idle_ns(f) > IDLE_NS) else {
            return false;
        };
        if !is_fresh || self.lost.len() >= LOST_MAX {
            return false;
        }
        let identity = *identity;
        let Some(closed) = self.files.remove(&identity) else {
            return false;
        };
        self.lost.push(Lost {
            source: closed.tailed.source,
            position: closed.tailed.position,
            // It is where its name says.
            searches: SEARCHES_MAX,
        });
        true
    }

    /// Follows the file of that name; whether there is one.
    fn find(&mut self, path: &PathBuf, config: usize, now_ns: i64) -> io::Result<bool> {
        // Looked at by name first: most are open already.
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Ok(false);
        }
        let identity = identity(&meta);
        if let Some(followed) = self.files.get_mut(&identity) {
            if followed.unnamed_ns.take().is_some() {
                followed.path.clone_from(path);
            }
            return Ok(true);
        }
        let Some((file, meta)) = open(path)? else {
            return Ok(false);
        };
        let begin = self.begin(&file, &meta, path, config, now_ns)?;
        self.follow((file, meta), begin, config, path, None, now_ns);
        Ok(true)
    }

    /// Where to begin with a file that is not open.
    fn begin(
        &mut self,
        file: &File,
        meta: &Metadata,
        path: &Path,
        config: usize,
        now_ns: i64,
    ) -> io::Result<(String, Position)> {
        let is_it = |position: &Position| {
            let same = position.inode == meta.ino() || is_name_of_copy(&position.path, path);
            same && position.is_of(file)
        };
        // The one that was read furthest, should one be the beginning of the other.
        let known = self
            .lost
            .iter()
            .enumerate()
            .filter(|(_, lost)| is_it(&lost.position));
        let known = known
            .max_by_key(|(_, lost)| lost.position.offset)
            .map(|(at, _)| at);
        if let Some(at) = known {
            let Lost {
                source,
                mut position,
                ..
            } = self.lost.swap_remove(at);
            position.inode = meta.ino();
            return Ok((source, position));
        }
        // One of this name was read before: this one came after it.
        let follows = self.lost.iter().any(|lost| lost.position.path == *path);
        let from_end = self.configs[config].tail_from_end && self.first && !follows;
        let copied = self.files.values().find(|f| {
            is_name_of_copy(&f.tailed.position.path, path)
                && f.tailed.is_copied_to(file, meta.len())
        });
        let offset = match copied {
            Some(original) => original.tailed.position.offset,
            None if from_end => meta.len(),
            None => 0,
        };
        // Shorter than a moment ago.
        let (offset, prints) = match Prints::of(file, offset)? {
            Some(prints) => (offset, Some(prints)),
            None => (0, Prints::of(file, 0)?),
        };
        let prints = prints.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.next += 1;
        let source = format!("{}{:x}-{now_ns:x}-{}", super::PREFIX, meta.ino(), self.next);
        let position = Position {
            inode: meta.ino(),
            offset,
            inside: false,
            at_ns: now_ns,
            prints,
            path: path.to_owned(),
        };
        Ok((source, position))
    }

    fn follow(
        &mut self,
        (file, meta): (File, Metadata),
        (source, position): (String, Position),
        config: usize,
        path: &Path,
        unnamed_ns: Option<i64>,
        now_ns: i64,
    ) {
        // Lines keep the name of the file that they were written to.
        let filename = position.path.to_string_lossy();
        let labels = self.configs[config].stream(&self.host, &filename);
        let labels = self.lines.labels(&labels);
        let followed = Followed {
            tailed: Tailed::new(file, source, labels, position, now_ns),
            path: path.to_owned(),
            unnamed_ns,
        };
        self.files.insert(identity(&meta), followed);
    }

    /// Opens files that were rotated away before they were read to their end: beside the file that
    /// has their name now.
    fn find_rotated(&mut self, named: &HashMap<PathBuf, usize>, now_ns: i64) {
        let mut at = 0;
        while at < self.lost.len() && self.files.len() < FILES_MAX {
            let lost = &mut self.lost[at];
            at += 1;
            let Some(config) = named.get(&lost.position.path) else {
                continue;
            };
            if lost.searches >= SEARCHES_MAX {
                continue;
            }
            lost.searches += 1;
            let Some((path, file, meta)) = self.beside(&self.lost[at - 1].position) else {
                continue;
            };
            at -= 1;
            let Lost {
                source,
                mut position,
                ..
            } = self.lost.remove(at);
            position.inode = meta.ino();
            self.follow(
                (file, meta),
                (source, position),
                *config,
                &path,
                Some(now_ns),
                now_ns,
            );
        }
    }

    /// The file in the same folder that holds what was read, and more.
    fn beside(&self, position: &Position) -> Option<(PathBuf, File, Metadata)> {
        let entries = std::fs::read_dir(position.path.parent()?).ok()?;
        for entry in entries.take(ENTRIES_MAX).flatten() {
            let path = entry.path();
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            let same = meta.ino() == position.inode || is_name_of_copy(&position.path, &path);
            let more = meta.is_file() && meta.len() > position.offset;
            if !same || !more || is_compressed(&path) || self.files.contains_key(&identity(&meta)) {
                continue;
            }
            if let Ok(Some((file, meta))) = open(&path)
                && position.is_of(&file)
            {
                return Some((path, file, meta));
            }
        }
        None
    }

    fn forget_lost(&mut self, now_ns: i64, round: &mut Round) {
        let is_old = |lost: &mut Lost| now_ns - lost.position.at_ns > LOST_NS;
        let gone = &mut round.gone;
        gone.extend(self.lost.extract_if(.., is_old).map(|lost| lost.source));
        if self.lost.len() > LOST_MAX {
            self.lost
                .sort_by_key(|lost| std::cmp::Reverse(lost.position.at_ns));
            gone.extend(self.lost.drain(LOST_MAX..).map(|lost| lost.source));
        }
    }

    fn read(&mut self, now_ns: i64, round: &mut Round) {
        let mut turns: Vec<Identity> = self.files.keys().copied().collect();
        let behind = |identity: &Identity| Some(*identity) <= self.turn;
        let begin = turns.iter().position(|i| !behind(i)).unwrap_or(0);
        turns.rotate_left(begin);
        for identity in turns {
            if round.batches.len() >= BATCHES_MAX {
                round.more = true;
                break;
            }
            let Some(followed) = self.files.get_mut(&identity) else {
                continue;
            };
            self.turn = Some(identity);
            // Nobody will end the last line of a file that is closed next.
            let last = followed.is_over(now_ns);
            match followed.tailed.look(&mut self.lines, now_ns, last) {
                Ok(look) => {
                    round.more |= look.more;
                    round.batches.extend(look.batch);
                    if let Some(position) = look.lost.filter(|position| position.offset > 0) {
                        self.next += 1;
                        let source = format!("{}-{}", followed.tailed.source, self.next);
                        self.lost.push(Lost {
                            source,
                            position,
                            searches: 0,
                        });
                    }
                }
                Err(e) => round
                    .problems
                    .push(format!("{}: {e}", followed.path.display())),
            }
        }
    }

    fn close(&mut self, now_ns: i64, round: &mut Round) {
        let over = self
            .files
            .extract_if(.., |_, followed| followed.is_over(now_ns));
        round
            .gone
            .extend(over.map(|(_, followed)| followed.tailed.source));
    }
}

impl Followed {
    /// Whether nothing will come any more.
    fn is_over(&self, now_ns: i64) -> bool {
        let quiet = |since: i64| now_ns - since.max(self.tailed.moved_ns) > ROTATED_NS;
        self.unnamed_ns.is_some_and(quiet)
    }
}

/// A file that a pattern names.
struct Candidate {
    path: PathBuf,
    config: usize,
    written: Written,
}

/// When a file was written to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    at_ns: i64,
    identity: Identity,
}

impl Written {
    fn of(meta: &Metadata) -> Written {
        Written {
            at_ns: meta
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.mtime_nsec()),
            identity: identity(meta),
        }
    }
}

fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

fn is_compressed(path: &Path) -> bool {
    let name = path.as_os_str().as_bytes();
    COMPRESSED
        .iter()
        .any(|ending| name.ends_with(ending.as_bytes()))
}

/// Whether rotation makes such names: `app.log.1`, `app.log-20261122` of `app.log`.
fn is_name_of_copy(original: &Path, path: &Path) -> bool {
    let (original, path) = (original.as_os_str().as_bytes(), path.as_os_str().as_bytes());
    path.len() > original.len() && path.starts_with(original)
}
