//! The registry in sled: what exists, its indexes, and the seal that tells whether all of it is there.
//!
//! sled 0.34 must be held by the hand: `flush` alone is not durable on Linux, so its file is synced after it; what
//! sled moves to `blobs/` is never synced, so nothing may go there; `flush_async` hangs under load, so only the one
//! writer flushes; and what recovery can't read it drops without a word, so a seal (a sum over all entries, changed in
//! the transaction that changes them) tells a registry that is whole from one that is not.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use sled::{IVec, Transactional};
use xxhash_rust::xxh3::Xxh3;

use super::{Options, StoreError, dir, key, value};

/// sled's segment size; fixed when the registry is made. Leaves up to a quarter of it stay out of `blobs/`.
const SEGMENT_SIZE: usize = 4 * 1024 * 1024;

/// A tree of the registry; the number is its place in `NAMES` and goes into the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tree {
    Meta,
    Workspaces,
    Sessions,
    Tokens,
    SessionByKey,
    SessionByAgentId,
    SessionByWorkspace,
    SessionByTask,
    WorkspaceByName,
    SessionByProject,
    SessionByMcp,
    SessionByLabel,
    SessionByClosed,
    Seal,
}

const NAMES: [&str; 14] = [
    "meta",
    "workspaces",
    "sessions",
    "tokens",
    "session_by_key",
    "session_by_agent_id",
    "session_by_workspace",
    "session_by_task",
    "workspace_by_name",
    "session_by_project",
    "session_by_mcp_session",
    "session_by_label",
    "session_by_closed",
    "seal",
];

const SEAL_KEY: &[u8] = b"seal";

/// Entries to set (`Some`) or to remove.
pub(super) type Changes = BTreeMap<(Tree, Vec<u8>), Option<Vec<u8>>>;

/// How many times the registry was changed, and a sum over all that is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) commit: u64,
    pub(super) entries: u64,
    sum: u64,
}

impl Seal {
    fn add(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(tree, key, value));
    }

    fn remove(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(tree, key, value));
    }

    fn encode(self) -> Vec<u8> {
        let numbers = [self.commit, self.entries, self.sum].map(u64::to_be_bytes);
        [&[value::VERSION], numbers.as_flattened()].concat()
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        let rest = value::unversioned(path, bytes)?;
        let (numbers, more) = rest.as_chunks::<8>();
        match (numbers, more) {
            ([commit, entries, sum], []) => Ok(Self {
                commit: u64::from_be_bytes(*commit),
                entries: u64::from_be_bytes(*entries),
                sum: u64::from_be_bytes(*sum),
            }),
            _ => Err(StoreError::unreadable(path, "the registry's seal is damaged")),
        }
    }
}

fn hash(tree: Tree, key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[tree as u8]);
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest()
}

/// Entries as they were before the group that is being written.
type Hidden = BTreeMap<(Tree, Vec<u8>), Option<IVec>>;

/// The registry, shared between the writer and the readers.
pub(super) struct Registry {
    path: PathBuf,
    db: sled::Db,
    trees: Vec<sled::Tree>,
    /// sled's own file, for the sync that sled leaves out.
    file: File,
    /// What readers are to see instead of entries that are changed but not yet acknowledged.
    hidden: RwLock<Hidden>,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<super::faults::Faults>,
}

impl Registry {
    /// Opens or makes the registry at `path`. May panic where sled does.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let config = sled::Config::default()
            .path(path)
            .segment_size(SEGMENT_SIZE)
            .cache_capacity(options.registry_cache)
            .flush_every_ms(None);
        let db = open_sled(&config, path)?;
        let trees = NAMES
            .iter()
            .map(|name| db.open_tree(name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| StoreError::unreadable(path, e))?;
        let file = path.join("db");
        let file = File::open(&file).map_err(|e| StoreError::io(file, &e))?;
        let registry = Self {
            path: path.to_owned(),
            db,
            trees,
            file,
            hidden: RwLock::default(),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        };
        registry.no_blobs()?;
        Ok(registry)
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs everything that sled made for a new registry.
    pub(super) fn sync_new(&self) -> Result<(), StoreError> {
        self.flush()?;
        for part in ["db", "conf", "blobs", ""] {
            let part = self.path.join(part);
            dir::sync(&part)?;
        }
        Ok(())
    }

    /// The seal as it was written; a new registry has none.
    pub(super) fn seal(&self) -> Result<Seal, StoreError> {
        match self.trees[Tree::Seal as usize].get(SEAL_KEY).map_err(|e| self.unreadable(&e))? {
            Some(bytes) => Seal::decode(&self.path, &bytes),
            None => Ok(Seal::default()),
        }
    }

    /// Reads every entry and compares with the seal.
    pub(super) fn verify(&self) -> Result<Seal, StoreError> {
        let written = self.seal()?;
        let mut found = Seal { commit: written.commit, ..Seal::default() };
        for tree in ALL {
            for entry in &self.trees[tree as usize] {
                let (key, value) = entry.map_err(|e| self.unreadable(&e))?;
                value::unversioned(&self.path, &value)?;
                found.add(tree, &key, &value);
            }
        }
        if found == written {
            Ok(written)
        } else {
            Err(StoreError::unreadable(
                &self.path,
                format!(
                    "the registry is damaged: it holds {} entries, {} were written, or some are not as they were written",
                    found.entries, written.entries
                ),
            ))
        }
    }

    /// One entry, as far as it was acknowledged.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        if !hidden.is_empty()
            && let Some(old) = hidden.get(&(tree, key.to_vec()))
        {
            return Ok(old.clone());
        }
        self.get_written(tree, key)
    }

    /// One entry as the writer sees it, durable or not.
    pub(super) fn get_written(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.trees[tree as usize].get(key).map_err(|e| self.unreadable(&e))
    }

    /// Entries from `from` up to `to` (exclusive), at most `limit`, as far as they were acknowledged; `newest` first
    /// from the end.
    pub(super) fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: Option<&[u8]>,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<(IVec, IVec)>, StoreError> {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        let in_range = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let mut found: Vec<(IVec, IVec)> = hidden
            .iter()
            .filter(|((t, k), _)| *t == tree && in_range(k))
            .filter_map(|((_, k), old)| old.clone().map(|old| (IVec::from(k.as_slice()), old)))
            .collect();
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self.trees[tree as usize].range::<&[u8], _>((Bound::Included(from), upper));
        let mut taken = 0;
        while taken < limit {
            let Some(entry) = (if newest { entries.next_back() } else { entries.next() }) else { break };
            let (key, value) = entry.map_err(|e| self.unreadable(&e))?;
            if hidden.is_empty() || !hidden.contains_key(&(tree, key.to_vec())) {
                found.push((key, value));
                taken += 1;
            }
        }
        found.sort_by(|(a, _), (b, _)| if newest { b.cmp(a) } else { a.cmp(b) });
        found.truncate(limit);
        Ok(found)
    }

    /// All entries whose key begins with `prefix`, oldest first.
    pub(super) fn prefix(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<(IVec, IVec)>, StoreError> {
        self.scan(tree, prefix, key::after_prefix(prefix).as_deref(), false, usize::MAX)
    }

    /// Applies `changes` in one transaction and makes them durable; the writer alone calls this. Readers see them after
    /// `show`; after an error they go on seeing what was there before.
    pub(super) fn apply(&self, changes: &Changes, seal: Seal) -> Result<Seal, StoreError> {
        let mut next = Seal { commit: seal.commit + 1, ..seal };
        let mut hidden = self.hidden.write().unwrap_or_else(PoisonError::into_inner);
        for ((tree, key), new) in changes {
            let was = self.get_written(*tree, key)?;
            if let Some(was) = &was {
                next.remove(*tree, key, was);
            }
            if let Some(new) = new {
                next.add(*tree, key, new);
            }
            // A group may change an entry twice: hidden is what was there before the first time.
            hidden.entry((*tree, key.clone())).or_insert(was);
        }
        drop(hidden);
        self.transact(changes, next)?;
        self.flush()?;
        self.no_blobs()?;
        Ok(next)
    }

    /// Lets readers see what was applied.
    pub(super) fn show(&self) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn transact(&self, changes: &Changes, seal: Seal) -> Result<(), StoreError> {
        let done: sled::transaction::TransactionResult<(), ()> = self.trees[..].transaction(|trees| {
            for ((tree, key), new) in changes {
                match new {
                    Some(new) => trees[*tree as usize].insert(key.as_slice(), new.as_slice())?,
                    None => trees[*tree as usize].remove(key.as_slice())?,
                };
            }
            trees[Tree::Seal as usize].insert(SEAL_KEY, seal.encode())?;
            Ok(())
        });
        done.map_err(|e| StoreError::failed(format!("registry: {e:?}")))
    }

    /// sled's flush, then the sync that it leaves out.
    fn flush(&self) -> Result<(), StoreError> {
        let failed = |e: &dyn std::fmt::Display| StoreError::failed(format!("registry: {e}"));
        self.db.flush().map_err(|e| failed(&e))?;
        #[cfg(test)]
        self.faults.before_sync(&self.file).map_err(|e| failed(&e))?;
        if crate::crash::unsynced("registry") {
            return Ok(());
        }
        self.file.sync_data().map_err(|e| failed(&e))
    }

    /// Nothing may lie in sled's `blobs/`: it is never synced.
    fn no_blobs(&self) -> Result<(), StoreError> {
        let blobs = self.path.join("blobs");
        let mut entries = std::fs::read_dir(&blobs).map_err(|e| StoreError::io(&blobs, &e))?;
        match entries.next() {
            None => Ok(()),
            Some(_) => Err(StoreError::unreadable(blobs, "it holds a value that the registry's engine never syncs")),
        }
    }

    fn unreadable(&self, e: &sled::Error) -> StoreError {
        StoreError::unreadable(&self.path, e)
    }
}

/// The trees that the seal covers.
const ALL: [Tree; 13] = [
    Tree::Meta,
    Tree::Workspaces,
    Tree::Sessions,
    Tree::Tokens,
    Tree::SessionByKey,
    Tree::SessionByAgentId,
    Tree::SessionByWorkspace,
    Tree::SessionByTask,
    Tree::WorkspaceByName,
    Tree::SessionByProject,
    Tree::SessionByMcp,
    Tree::SessionByLabel,
    Tree::SessionByClosed,
];

/// Opens sled, waiting a moment for its own lock: background threads of a handle that was just dropped in this process
/// may still hold it (other processes are kept out by the store's own lock).
fn open_sled(config: &sled::Config, path: &Path) -> Result<sled::Db, StoreError> {
    for _ in 0..500 {
        match config.open() {
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other.map_err(|e| StoreError::unreadable(path, e)),
        }
    }
    Err(StoreError::Io { path: path.to_owned(), why: "its lock is held by another process".to_owned() })
}

/// Copies the registry at `from` to `scratch`, opens the copy and reads all of it: sled writes when it opens, and what
/// is refused must stay as it was. Removes the copy.
pub(super) fn rehearse(from: &Path, scratch: &Path, options: &Options) -> Result<Seal, StoreError> {
    dir::remove(scratch)?;
    let result = dir::copy_tree(from, scratch)
        .and_then(|()| super::guarded(from, || Registry::open(scratch, options)?.verify()))
        .map_err(|e| e.at(from));
    dir::remove(scratch)?;
    result
}
