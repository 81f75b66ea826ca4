//! The log in fjall: what happened, written all the time, everything of one commit in one batch.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::PartitioningPolicy;
use fjall::{
    AbstractTree as _, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot,
};

use super::{Options, StoreError, dir, key, value, witness::Commits};
use crate::domain::SessionId;

/// A part of the log; the number is its place in `NAMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Commits,
    Events,
    Progress,
    Prompts,
    Permissions,
    Idempotency,
    Order,
}

impl Part {
    /// The parts whose keys begin with a session's.
    pub(super) const OF_SESSIONS: [Self; 5] =
        [Self::Events, Self::Progress, Self::Prompts, Self::Permissions, Self::Idempotency];
}

const NAMES: [&str; 7] = ["commits", "events", "progress", "prompts", "permissions", "idempotency", "order"];

/// The one key of `commits`; its entry is the first of every batch.
pub(super) const COMMIT_KEY: &[u8; 6] = b"commit";
/// Version, number of the log's commit, number of the registry's last durable one, fjall's sequence number before it.
pub(super) const COMMIT_LEN: usize = 25;

fn encode_commit(commits: Commits, seqno: u64) -> Vec<u8> {
    let numbers = [commits.log, commits.registry, seqno].map(u64::to_be_bytes);
    [&[value::VERSION], numbers.as_flattened()].concat()
}

/// The commit's numbers and fjall's sequence number before it.
pub(super) fn decode_commit(bytes: &[u8]) -> Option<(Commits, u64)> {
    let (numbers, []) = bytes.strip_prefix(&[value::VERSION])?.as_chunks::<8>() else { return None };
    let [log, registry, seqno] = <[[u8; 8]; 3]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
    Some((Commits { log, registry }, seqno))
}

/// How large a table becomes, compressed, in bytes.
const TABLE: u64 = 8 * 1024 * 1024;
/// How many times as much a part may have in memory before fjall acts by itself: it never comes to that.
const OWN_ROTATION: u64 = 8;
/// How many memtables of a part may wait for the worker, and how often is looked whether there are fewer.
const SEALED: usize = 3;
const BEHIND_POLL: Duration = Duration::from_millis(1);
/// How long writing memory into tables may take, and how often is looked: fjall tells no one.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);
const FLUSH_POLL: Duration = Duration::from_millis(10);

/// Entries to set (`Some`) or to remove.
pub(super) type Changes = std::collections::BTreeMap<(Part, Vec<u8>), Option<Vec<u8>>>;

/// A key and its value.
pub(super) type Entry = (fjall::UserKey, fjall::UserValue);

/// The log, shared between the writer and the readers. Readers see only what was acknowledged.
pub(super) struct Log {
    path: PathBuf,
    db: Database,
    parts: Vec<Keyspace>,
    /// From how many bytes on what a part has in memory goes into a table.
    memtables: Vec<u64>,
    /// What readers see while a group is written, and after one has failed: the log as it was before.
    before: RwLock<Option<Snapshot>>,
}

impl Log {
    /// Opens or makes the log at `path`; `new` says whether its parts may be made.
    pub(super) fn open(path: &Path, options: &Options, new: bool) -> Result<Self, StoreError> {
        let unreadable = |e: fjall::Error| StoreError::unreadable(path, why(&e));
        let db = Database::builder(path)
            .cache_size(options.log_cache)
            .worker_threads(1)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .max_journaling_size(options.journals.max(64 * 1024 * 1024))
            .open()
            .map_err(unreadable)?;
        let (mut parts, mut memtables) = (Vec::with_capacity(NAMES.len()), Vec::with_capacity(NAMES.len()));
        for name in NAMES {
            if !new && !db.keyspace_exists(name) {
                return Err(StoreError::unreadable(path, format!("its part `{name}` is missing")));
            }
            let size = if name == "events" { options.events_memtable } else { options.memtable };
            let made = db.keyspace(name, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(size.saturating_mul(OWN_ROTATION))
                    .manual_journal_persist(true)
                    .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE)))
                    // While a table is written, each key of its index holds the whole block, uncompressed, that it was
                    // read from (lsm-tree 3.1: a key is a view of it). Cut into parts, the index holds some fifty.
                    .index_block_partitioning_policy(PartitioningPolicy::all(true))
            });
            parts.push(made.map_err(unreadable)?);
            memtables.push(size);
        }
        Ok(Self { path: path.to_owned(), db, parts, memtables, before: RwLock::default() })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `changes` as one batch with its commit record, durably. Readers see them after `show`.
    pub(super) fn apply(&self, changes: Changes, commits: Commits) -> Result<(), StoreError> {
        let failed = |e: fjall::Error| StoreError::failed(format!("log: {}", why(&e)));
        self.wait_for_tables();
        self.before.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.db.snapshot());
        let sync = if crate::crash::unsynced("log") { PersistMode::Buffer } else { PersistMode::SyncData };
        let mut batch = self.db.batch().durability(Some(sync));
        // First, so that `journal` finds it.
        batch.insert(self.part(Part::Commits), &COMMIT_KEY[..], encode_commit(commits, self.db.seqno()));
        for ((part, key), value) in changes {
            match value {
                Some(value) => batch.insert(self.part(part), key, value),
                None => batch.remove(self.part(part), key),
            }
        }
        batch.commit().map_err(failed)?;
        self.rotate().map_err(failed)
    }

    /// Hands what is much in memory to fjall's worker, which makes tables of it.
    ///
    /// fjall would do so by itself, by a message for each batch that finds too much in memory. While its worker compacts,
    /// they fill the queue of a thousand messages; then the worker, which writes to that queue too, waits for itself, and
    /// memory grows until the daemon is started again (fjall 3.1.13; faults: floods, a gigabyte).
    fn rotate(&self) -> Result<(), fjall::Error> {
        for (part, size) in self.parts.iter().zip(&self.memtables) {
            if part.tree.active_memtable().size() > *size {
                part.rotate_memtable()?;
            }
        }
        Ok(())
    }

    /// Waits while the worker is behind: else what is in memory grows. fjall waits too, but a tenth of a second each time.
    fn wait_for_tables(&self) {
        let until = Instant::now() + FLUSH_PATIENCE;
        while self.parts.iter().any(|part| part.sealed_memtable_count() >= SEALED) && Instant::now() < until {
            std::thread::sleep(BEHIND_POLL);
        }
    }

    /// Lets readers see what was written.
    pub(super) fn show(&self) {
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What readers see. Not the log itself, which is read beyond what it held when the reading began.
    fn view(&self) -> Snapshot {
        let before = self.before.read().unwrap_or_else(PoisonError::into_inner);
        before.clone().unwrap_or_else(|| self.db.snapshot())
    }

    /// Syncs what a new log is made of, and on closing.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(|e| StoreError::failed(format!("log: {}", why(&e))))
    }

    /// Writes what is in memory into tables, and all tables anew without what was deleted. Blocks, but no writer. What
    /// the last batch deleted counts as still visible to someone: another has to follow it first.
    pub(super) fn compact(&self) -> Result<(), StoreError> {
        let failed = |e: fjall::Error| StoreError::failed(format!("log: {}", why(&e)));
        // A journal goes when nothing in it is in memory only, so all parts come before the first is written anew.
        for part in &self.parts {
            part.rotate_memtable().map_err(failed)?;
        }
        let until = Instant::now() + FLUSH_PATIENCE;
        while self.parts.iter().any(|part| part.sealed_memtable_count() > 0) {
            if Instant::now() > until {
                return Err(StoreError::failed("log: its memory was not written into tables in time"));
            }
            std::thread::sleep(FLUSH_POLL);
        }
        for part in &self.parts {
            part.major_compact().map_err(failed)?;
        }
        Ok(())
    }

    /// Lets the tables go that were written anew. fjall keeps them until a part whose memory is written out finds that
    /// nobody can see them any more, which takes one batch since.
    pub(super) fn let_go(&self) -> Result<(), StoreError> {
        let rotated = self.part(Part::Commits).rotate_memtable();
        rotated.map(drop).map_err(|e| StoreError::failed(format!("log: {}", why(&e))))
    }

    /// The last commit in it.
    pub(super) fn commits(&self) -> Result<Commits, StoreError> {
        match self.get(Part::Commits, COMMIT_KEY)? {
            None => Ok(Commits::default()),
            Some(bytes) => decode_commit(&bytes)
                .map(|(commits, _)| commits)
                .ok_or_else(|| StoreError::unreadable(&self.path, "its commit record is damaged or newer")),
        }
    }

    /// One entry.
    pub(super) fn get(&self, part: Part, key: &[u8]) -> Result<Option<fjall::UserValue>, StoreError> {
        self.view().get(self.part(part), key).map_err(|e| self.unreadable(&e))
    }

    /// The entries from `from` (inclusive) up to `to` (exclusive), in order.
    pub(super) fn range<'a>(
        &'a self,
        part: Part,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<Entry, StoreError>> + use<'a> {
        use std::ops::Bound;
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.view().range::<&[u8], _>(self.part(part), (Bound::Included(from), to));
        entries.map(|entry| entry.into_inner().map_err(|e| self.unreadable(&e)))
    }

    /// The entries whose key begins with `prefix`, in order.
    pub(super) fn prefix<'a>(
        &'a self,
        part: Part,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Entry, StoreError>> + use<'a> {
        self.range(part, prefix, key::after_prefix(prefix).as_deref())
    }

    /// The keys that begin with `prefix`.
    pub(super) fn keys(&self, part: Part, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let keys = self.view().prefix(self.part(part), prefix).map(|entry| entry.key().map(|key| key.to_vec()));
        keys.collect::<Result<_, _>>().map_err(|e| self.unreadable(&e))
    }

    /// Every session that has entries in `part`, one seek for each.
    pub(super) fn sessions(&self, part: Part) -> Result<Vec<SessionId>, StoreError> {
        let mut found = Vec::new();
        let mut from = Vec::new();
        loop {
            let Some(entry) = self.range(part, &from, None).next() else { return Ok(found) };
            let (key, _) = entry?;
            let Some((id, len)) = key::session_of(&key) else {
                return Err(StoreError::unreadable(&self.path, "a key is not a session's"));
            };
            found.push(id);
            match key::after_prefix(&key[..len]) {
                Some(next) => from = next,
                None => return Ok(found),
            }
        }
    }

    fn part(&self, part: Part) -> &Keyspace {
        &self.parts[part as usize]
    }

    fn unreadable(&self, e: &fjall::Error) -> StoreError {
        StoreError::unreadable(&self.path, why(e))
    }
}

/// fjall's errors in the shortest words that tell the cause.
fn why(e: &fjall::Error) -> String {
    match e {
        fjall::Error::Io(e) => e.to_string(),
        fjall::Error::Poisoned => "an earlier write or sync failed".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Opens a copy at `scratch` of the log at `from` without its journals (`journal` checks those) and reads what is read
/// when a store is opened: fjall tidies up when it opens, and what is refused must stay as it was. Tells the last commit
/// in its tables and removes the copy.
pub(super) fn rehearse(from: &Path, scratch: &Path, options: &Options) -> Result<Commits, StoreError> {
    let read = || {
        let log = Log::open(scratch, options, false)?;
        for part in Part::OF_SESSIONS {
            log.sessions(part)?;
        }
        log.range(Part::Progress, &[], None).try_for_each(|entry| entry.map(drop))?;
        log.commits()
    };
    dir::remove(scratch)?;
    let result = dir::copy_tree(from, scratch).and_then(|()| super::guarded(from, read)).map_err(|e| e.at(from));
    dir::remove(scratch)?;
    result
}
