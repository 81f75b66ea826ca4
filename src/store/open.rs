//! Opening: a new store is made step by step, an old one is checked before anything may write to it, and what a crash
//! left half done is finished.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    sync::{Arc, PoisonError},
};

use tokio::sync::watch;

use super::{
    Options, Shared, StoreError,
    batch::Batch,
    census::Census,
    dir::{self, Layout},
    guarded,
    journal::{self, Journals},
    key,
    latency::Latency,
    log::{self, Log, Part},
    plan::{Outcome, Planner, Tails},
    queue::Queue,
    registry::{self, Registry, Tree},
    room::Room,
    tables, value,
    witness::{Commits, Witness},
    writer::Writer,
};
use crate::domain::{InstanceId, Progress, SessionRecord};

/// What is open, before the writer takes it over.
struct Opened {
    instance: InstanceId,
    registry: Registry,
    log: Log,
    commits: Commits,
}

/// Opens or makes the store at `dir`.
pub(super) fn open(dir: &Path, options: &Options) -> Result<Writer, StoreError> {
    let layout = Layout::new(dir);
    let lock = layout.lock()?;
    let opened = match layout.describe()? {
        Some(instance) => existing(&layout, instance, options)?,
        None => make(&layout, options)?,
    };
    let mut writer = writer(&layout, lock, opened, options)?;
    guarded(dir, || {
        recover(&mut writer)?;
        let Shared { registry, log, census, .. } = &*writer.shared;
        *census.write().unwrap_or_else(PoisonError::into_inner) = Census::read(registry, log)?;
        Ok(())
    })?;
    Ok(writer)
}

fn make(layout: &Layout, options: &Options) -> Result<Opened, StoreError> {
    layout.begin_making()?;
    let registry = guarded(&layout.registry, || Registry::open(&layout.registry, options))?;
    registry.sync_new()?;
    let log = guarded(&layout.log, || Log::open(&layout.log, options, true))?;
    log.sync()?;
    dir::sync(&layout.log)?;
    let instance = layout.end_making()?;
    Ok(Opened { instance, registry, log, commits: Commits::default() })
}

/// Everything that can be found wrong is found before the parts are opened, because their own opening writes.
fn existing(layout: &Layout, instance: InstanceId, options: &Options) -> Result<Opened, StoreError> {
    let witness = Witness::read(&layout.witness);
    tables::check(&layout.log)?;
    let journals = journal::check(&layout.log, witness)?;
    let seal = registry::rehearse(&layout.registry, &layout.check, options)?;
    let known =
        |commit: fn(Commits) -> u64| [witness, journals.last].into_iter().flatten().map(commit).max().unwrap_or(0);
    let changes = known(|c| c.registry);
    if seal.commit < changes {
        let why = format!("it ends with change {}, but change {changes} was acknowledged", seal.commit);
        return Err(StoreError::unreadable(&layout.registry, why));
    }
    let (log, mut commits) = open_log(layout, options, known(|c| c.log), &journals)?;
    layout.clear_marker()?;
    let registry = guarded(&layout.registry, || Registry::open(&layout.registry, options))?;
    if registry.seal()? != seal {
        return Err(StoreError::unreadable(&layout.registry, "it changed while it was opened"));
    }
    if seal.commit < commits.registry {
        let why = format!("it ends with change {}, but the log knows change {}", seal.commit, commits.registry);
        return Err(StoreError::unreadable(&layout.registry, why));
    }
    commits.registry = seal.commit;
    Ok(Opened { instance, registry, log, commits })
}

/// Opens the log, which must reach commit `least`. A torn last write is cut off first: fjall would cut off most, but
/// stumbles over one of which only the middle is missing. When the log is refused all the same, it is put back.
fn open_log(layout: &Layout, options: &Options, least: u64, journals: &Journals) -> Result<(Log, Commits), StoreError> {
    let tables = log::rehearse(&layout.log, &layout.check, options)?;
    reaches(layout, journals.last.unwrap_or(tables), least)?;
    if let Some(torn) = &journals.torn {
        dir::truncate(&torn.path, torn.offset)?;
    }
    let opened = guarded(&layout.log, || {
        let log = Log::open(&layout.log, options, false)?;
        let commits = log.commits()?;
        reaches(layout, commits, least)?;
        Ok((log, commits))
    });
    if let (Err(_), Some(torn)) = (&opened, &journals.torn) {
        // The opening is refused with its own reason; that the end could not be put back adds nothing to it.
        let _ = dir::restore(&torn.path, torn.offset, &torn.bytes, torn.len);
    }
    opened
}

fn reaches(layout: &Layout, commits: Commits, least: u64) -> Result<(), StoreError> {
    if commits.log >= least {
        return Ok(());
    }
    let why = format!("it ends with commit {}, but commit {least} was acknowledged", commits.log);
    Err(StoreError::unreadable(&layout.log, why))
}

fn writer(layout: &Layout, lock: File, opened: Opened, options: &Options) -> Result<Writer, StoreError> {
    let Opened { instance, registry, log, commits } = opened;
    let seal = registry.seal()?;
    let (census, latency) = (Census::default().into(), Latency::default());
    let (head, made) = (watch::Sender::new(commits.log), watch::Sender::new(0));
    let shared = Arc::new(Shared {
        dir: layout.dir.clone(),
        instance,
        registry,
        log,
        queue: Queue::new(options.queue),
        room: Room::new(&layout.dir, options.reserve),
        failed: std::sync::Mutex::default(),
        census,
        latency,
        head,
        made,
        _lock: lock,
    });
    let witness = Witness::open(&layout.witness)?;
    Ok(Writer { shared, seal, commits, witness, tails: Tails::new() })
}

/// Finishes what a crash left half done: the log's word on a session goes into the registry, and log data of sessions
/// that the registry does not know are dropped.
fn recover(writer: &mut Writer) -> Result<(), StoreError> {
    let shared = Arc::clone(&writer.shared);
    let (registry, log) = (&shared.registry, &shared.log);
    let mut batch = Batch::new();
    for entry in log.range(Part::Progress, &[], None) {
        let (at, bytes) = entry?;
        let progress: Progress = value::decode(log.path(), &bytes)?;
        let Some(record) = registry.get_written(Tree::Sessions, &at)? else { continue };
        let mut record: SessionRecord = value::decode(registry.path(), &record)?;
        if record.agent_session_id != progress.agent_session_id || record.closed != progress.closed {
            record.agent_session_id = progress.agent_session_id;
            record.closed = progress.closed;
            batch.put_session(record);
        }
    }
    let mut orphans = BTreeSet::new();
    for part in Part::OF_SESSIONS {
        for id in log.sessions(part)? {
            if registry.get_written(Tree::Sessions, &key::session_or_refuse(&id)?)?.is_none() {
                orphans.insert(id);
            }
        }
    }
    for id in orphans {
        batch.delete_session(id);
    }
    if batch.is_empty() {
        return Ok(());
    }
    batch.check()?;
    let mut planner = Planner::new(registry, log, &mut writer.tails);
    if let Outcome::Refused(e) = planner.add(&batch) {
        return Err(e);
    }
    let group = planner.finish();
    writer.write(group)
}
