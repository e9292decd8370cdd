//! What targets say about their metric families: type, help and unit.
//!
//! Targets of one job say the same, so each text is kept once for all of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exposition::Kind;
use crate::families;

/// Families of one target that are kept.
const FAMILIES_PER_TARGET_MAX: usize = 2_000;
/// Different descriptions kept for all targets; 10,000 of usual length are 2 MB.
const DESCRIPTIONS_MAX: usize = 10_000;
/// Bytes of a name, help or unit that are kept.
const TEXT_BYTES_MAX: usize = 1024;
/// A family that has not come for so many collections is forgotten.
const PASSES_KEPT: u64 = 10;

/// What a target says about one of its metric families.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FamilyMetadata {
    /// The family's name, as exposed.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// For people.
    pub help: String,
    /// e.g. `seconds`; usually empty.
    pub unit: String,
}

/// The descriptions of all targets.
#[derive(Clone, Default)]
pub(crate) struct Descriptions(Arc<Mutex<HashSet<Arc<FamilyMetadata>>>>);

impl Descriptions {
    /// The one copy of `family`; `None` when there are too many already.
    fn intern(&self, family: FamilyMetadata) -> Option<Arc<FamilyMetadata>> {
        let mut known = lock(&self.0);
        if let Some(found) = known.get(&family) {
            return Some(Arc::clone(found));
        }
        if known.len() >= DESCRIPTIONS_MAX {
            known.retain(|one| Arc::strong_count(one) > 1);
        }
        if known.len() >= DESCRIPTIONS_MAX {
            return None;
        }
        let family = Arc::new(family);
        known.insert(Arc::clone(&family));
        Some(family)
    }
}

/// The families of one target. Cloning shares.
#[derive(Clone, Default)]
pub(crate) struct TargetMetadata(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    families: BTreeMap<Box<str>, (Arc<FamilyMetadata>, u64)>,
    pass: u64,
}

impl TargetMetadata {
    /// All families, by name.
    pub(crate) fn families(&self) -> Vec<Arc<FamilyMetadata>> {
        let table = lock(&self.0);
        table
            .families
            .values()
            .map(|(f, _)| Arc::clone(f))
            .collect()
    }

    /// Starts a collection: what has not come for long is forgotten.
    pub(crate) fn next_pass(&self) {
        let mut table = lock(&self.0);
        table.pass += 1;
        let pass = table.pass;
        table
            .families
            .retain(|_, (_, seen)| *seen + PASSES_KEPT >= pass);
    }

    /// Notes what the target says now.
    pub(crate) fn note(&self, said: &Said<'_>, all: &Descriptions) {
        let mut table = lock(&self.0);
        let pass = table.pass;
        if let Some((known, seen)) = table.families.get_mut(said.name) {
            *seen = pass;
            if said.same_as(known) {
                return;
            }
        } else if table.families.len() >= FAMILIES_PER_TARGET_MAX
            || said.name.len() > TEXT_BYTES_MAX
        {
            return;
        }
        if let Some(family) = all.intern(said.kept()) {
            table.families.insert(said.name.into(), (family, pass));
        }
    }

    /// Takes over what another target said, for one that goes on with its series.
    pub(crate) fn adopt(&self, old: &TargetMetadata) {
        let table = std::mem::take(&mut *lock(&old.0));
        *lock(&self.0) = table;
    }

    /// Notes a metric we collect ourselves. It stays: only series that are new are noted.
    pub(crate) fn note_own(&self, name: &str, all: &Descriptions) {
        let name = families::family(name);
        let mut table = lock(&self.0);
        if table.families.contains_key(name) || table.families.len() >= FAMILIES_PER_TARGET_MAX {
            return;
        }
        let family = FamilyMetadata {
            name: name.to_owned(),
            kind: families::kind(name),
            help: families::help(name),
            unit: String::new(),
        };
        if let Some(family) = all.intern(family) {
            table
                .families
                .insert(name.into(), (family, u64::MAX - PASSES_KEPT));
        }
    }
}

/// A family as an exposition describes it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    /// Escaped as in text, unless `plain_help`.
    pub(crate) help: &'a str,
    /// Whether the help is as it is meant.
    pub(crate) plain_help: bool,
    pub(crate) unit: &'a str,
}

impl Said<'_> {
    fn same_as(&self, known: &FamilyMetadata) -> bool {
        self.kind == known.kind
            && (self.help == known.help || cut(&self.help()) == known.help)
            && cut(self.unit) == known.unit
    }

    fn help(&self) -> Cow<'_, str> {
        match self.plain_help {
            true => Cow::Borrowed(self.help),
            false => Cow::Owned(unescape(self.help)),
        }
    }

    fn kept(&self) -> FamilyMetadata {
        FamilyMetadata {
            name: self.name.to_owned(),
            kind: self.kind,
            help: cut(&self.help()).to_owned(),
            unit: cut(self.unit).to_owned(),
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// `\\` is a backslash, `\n` a new line, `\"` a quote; any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) => Some('"'),
            _ => None,
        };
        match escaped {
            Some(real) => {
                out.push(real);
                chars.next();
            }
            None => out.push(c),
        }
    }
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insert or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(name: &'a str, help: &'a str) -> Said<'a> {
        Said {
            name,
            kind: Kind::Counter,
            help,
            plain_help: false,
            unit: "",
        }
    }

    #[test]
    fn targets_that_say_the_same_share_it() {
        let all = Descriptions::default();
        let (a, b) = (TargetMetadata::default(), TargetMetadata::default());
        a.note(&said("x_total", "one\\ntwo"), &all);
        b.note(&said("x_total", "one\\ntwo"), &all);
        assert_eq!(a.families()[0].help, "one\ntwo");
        assert!(Arc::ptr_eq(&a.families()[0], &b.families()[0]));
    }

    #[test]
    fn a_family_that_no_longer_comes_is_forgotten_after_a_while() {
        let (all, target) = (Descriptions::default(), TargetMetadata::default());
        target.note(&said("gone", ""), &all);
        target.note_own("node_load1", &all);
        for _ in 0..=PASSES_KEPT {
            target.next_pass();
            target.note(&said("stays", ""), &all);
        }
        let names: Vec<String> = target.families().iter().map(|f| f.name.clone()).collect();
        assert_eq!(names, ["node_load1", "stays"]);
    }

    #[test]
    fn the_tables_are_bounded() {
        let all = Descriptions::default();
        let targets: Vec<TargetMetadata> = (0..10).map(|_| TargetMetadata::default()).collect();
        for (t, target) in targets.iter().enumerate() {
            for i in 0..FAMILIES_PER_TARGET_MAX + 10 {
                target.note(&said(&format!("m{i}"), &format!("of {t}")), &all);
            }
            assert!(target.families().len() <= FAMILIES_PER_TARGET_MAX);
        }
        assert_eq!(lock(&all.0).len(), DESCRIPTIONS_MAX);
        drop(targets);
        let fresh = TargetMetadata::default();
        fresh.note(&said("new", ""), &all);
        assert_eq!(fresh.families().len(), 1);
    }
}
