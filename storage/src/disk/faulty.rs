//! A disk in memory for tests: it runs full, fails on demand, and forgets at a power cut
//! what was not synced (contents file by file, names directory by directory).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, Entry, Space};

#[derive(Default)]
struct Inode {
    data: Mutex<Vec<u8>>,
    synced: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Arc<Inode>>,
    durable_names: BTreeMap<PathBuf, Arc<Inode>>,
    dirs: BTreeSet<PathBuf>,
    room: Option<u64>,
    failing: bool,
}

/// Cloning shares the disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

struct FaultyFile {
    disk: FaultyDisk,
    inode: Arc<Inode>,
}

fn enospc() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Bytes that may still be written; `None` means no bound.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// While set, writes and syncs fail with EIO.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// What was not synced is gone; of unsynced appended bytes, the first `kept` survive.
    pub(crate) fn power_cut(&self, kept: usize) {
        let mut state = self.state();
        state.names = state.durable_names.clone();
        for inode in state.names.values() {
            let mut data = inode.data.lock().unwrap();
            let mut synced = inode.synced.lock().unwrap();
            let mut survived = synced.clone();
            if data.len() > synced.len() && data.starts_with(&synced) {
                let end = data.len().min(synced.len() + kept);
                survived.extend_from_slice(&data[synced.len()..end]);
            }
            synced.clone_from(&survived);
            *data = survived;
        }
    }

    /// The content of a file.
    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        self.state().names[path].data.lock().unwrap().clone()
    }

    /// Replaces the content of a file, making it when absent, durably.
    pub(crate) fn set_content(&self, path: &Path, content: &[u8]) {
        let inode = Arc::new(Inode {
            data: Mutex::new(content.to_vec()),
            synced: Mutex::new(content.to_vec()),
        });
        let mut state = self.state();
        state.names.insert(path.to_owned(), Arc::clone(&inode));
        state.durable_names.insert(path.to_owned(), inode);
    }

    /// All file names.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// An independent copy of what is on the disk now.
    pub(crate) fn copy(&self) -> FaultyDisk {
        let copy = FaultyDisk::default();
        copy.state().dirs = self.state().dirs.clone();
        for path in self.files() {
            copy.set_content(&path, &self.content(&path));
        }
        copy
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.failing {
            return Err(io::Error::other("input/output error"));
        }
        let taken = match &mut state.room {
            Some(room) => {
                let taken = bytes.len().min(*room as usize);
                *room -= taken as u64;
                taken
            }
            None => bytes.len(),
        };
        let mut data = self.inode.data.lock().unwrap();
        let end = offset as usize + taken;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[offset as usize..end].copy_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            return Err(enospc());
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let data = self.inode.data.lock().unwrap();
        let from = data
            .get(offset as usize..offset as usize + into.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.state().failing {
            return Err(io::Error::other("input/output error"));
        }
        *self.inode.synced.lock().unwrap() = self.inode.data.lock().unwrap().clone();
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inode.data.lock().unwrap().resize(bytes as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.data.lock().unwrap().len() as u64)
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.failing {
            return Err(io::Error::other("input/output error"));
        }
        let inode = Arc::new(Inode::default());
        state.names.insert(path.to_owned(), Arc::clone(&inode));
        let disk = self.clone();
        Ok(Arc::new(FaultyFile { disk, inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state().names.get(path).cloned();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Arc::new(FaultyFile { disk, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        if let Some(room) = &mut state.room {
            *room += inode.data.lock().unwrap().len() as u64;
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.state().dirs.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
        let files = state.names.iter().filter(|(p, _)| p.parent() == Some(dir));
        let dirs = state.dirs.iter().filter(|p| p.parent() == Some(dir));
        let mut entries: Vec<Entry> = files
            .map(|(p, inode)| Entry {
                name: name(p),
                bytes: inode.data.lock().unwrap().len() as u64,
                is_dir: false,
            })
            .chain(dirs.map(|p| Entry {
                name: name(p),
                bytes: 0,
                is_dir: true,
            }))
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let state = &mut *state;
        state.durable_names.retain(|p, _| p.parent() != Some(dir));
        for (path, inode) in &state.names {
            if path.parent() == Some(dir) {
                state.durable_names.insert(path.clone(), Arc::clone(inode));
            }
        }
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        Ok(Space {
            free: self.state().room.unwrap_or(1 << 40),
            total: 1 << 40,
        })
    }
}
