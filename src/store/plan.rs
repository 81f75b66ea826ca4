//! Turns the batches of a group into changes of registry and log, each batch checked against all before it.

use std::collections::HashMap;

use super::{
    StoreError,
    batch::{Batch, Op},
    census::{Note, Standing},
    index::{indexes, pointer, target},
    key,
    log::{self, Log, Part},
    order::Placed,
    registry::{self, Registry, Tree},
    value,
};
use crate::domain::{Progress, SessionId, SessionRecord, WorkspaceRecord};

/// Where a session's log ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    last_seq: u64,
    /// Whether there is no run, so that the progress tells where it goes on.
    empty: bool,
}

/// Where the logs of sessions in the registry end; kept from group to group.
pub(super) type Tails = HashMap<Vec<u8>, Tail>;

/// How many ends are kept; more are read again.
const TAILS: usize = 16 * 1024;

/// What one batch or one group changes.
#[derive(Default)]
struct Layer {
    registry: registry::Changes,
    log: log::Changes,
    tails: HashMap<Vec<u8>, Option<Tail>>,
    order: Vec<Placed>,
    notes: Vec<Note>,
}

/// The changes of a group.
///
/// Registry before log when something is made or deleted, log before registry when something happened: a batch goes
/// into the one or the other part as a whole, and a group never has one that makes behind one that only changes.
#[derive(Default)]
pub(super) struct Group {
    /// Registry changes to make durable before the log's.
    pub(super) before: registry::Changes,
    /// Registry changes to make durable after the log's.
    pub(super) after: registry::Changes,
    pub(super) log: log::Changes,
    /// The runs that it appends, in their order.
    pub(super) order: Vec<Placed>,
    /// What it changes in the census once it is durable.
    pub(super) notes: Vec<Note>,
}

/// What became of a batch.
pub(super) enum Outcome {
    /// It is in the group.
    Taken,
    /// It must wait for the next group.
    Next,
    /// It can't be.
    Refused(StoreError),
}

/// Plans batches on top of what is on disk and what the group already changes.
pub(super) struct Planner<'a> {
    registry: &'a Registry,
    log: &'a Log,
    tails: &'a mut Tails,
    group: Group,
}

impl<'a> Planner<'a> {
    pub(super) fn new(registry: &'a Registry, log: &'a Log, tails: &'a mut Tails) -> Self {
        if tails.len() > TAILS {
            tails.clear();
        }
        Self { registry, log, tails, group: Group::default() }
    }

    pub(super) fn finish(self) -> Group {
        self.group
    }

    /// Takes a batch into the group, all of it or nothing.
    pub(super) fn add(&mut self, batch: &Batch) -> Outcome {
        let mut draft = Draft { planner: self, layer: Layer::default(), makes: false };
        let planned = batch.ops.iter().try_for_each(|op| draft.op(op));
        let Draft { layer, makes, .. } = draft;
        if let Err(e) = planned {
            return Outcome::Refused(e);
        }
        if makes && !self.group.after.is_empty() {
            return Outcome::Next;
        }
        if makes { &mut self.group.before } else { &mut self.group.after }.extend(layer.registry);
        self.group.log.extend(layer.log);
        self.group.order.extend(layer.order);
        self.group.notes.extend(layer.notes);
        for (session, tail) in layer.tails {
            match tail {
                Some(tail) => self.tails.insert(session, tail),
                None => self.tails.remove(&session),
            };
        }
        Outcome::Taken
    }
}

/// One batch being planned.
struct Draft<'p, 'a> {
    planner: &'p Planner<'a>,
    layer: Layer,
    makes: bool,
}

impl Draft<'_, '_> {
    fn op(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::PutWorkspace { record, value } => self.put_workspace(record, value),
            Op::DeleteWorkspace { id } => self.delete_workspace(&key::workspace_or_refuse(id)?),
            Op::PutSession { record, value } => self.put_session(record, value),
            Op::DeleteSession { id } => self.delete_session(id),
            Op::PutToken { name, value } => self.put(Tree::Tokens, name.as_bytes(), value),
            Op::DeleteToken { name } => {
                self.set(Tree::Tokens, name.as_bytes(), None);
                Ok(())
            }
            Op::PutMeta { key, value } => self.put(Tree::Meta, key.as_bytes(), value),
            Op::Append { id, first_seq, last_seq, value } => self.append(id, *first_seq, *last_seq, value),
            Op::PutProgress { id, last_seq, standing, value } => self.put_progress(id, *last_seq, *standing, value),
            Op::PutPrompt { id, n, value } => {
                let session = self.known(id)?;
                self.log(Part::Prompts, key::numbered(&session, *n), Some(value))
            }
            Op::DeletePrompt { id, n } => {
                let session = key::session_or_refuse(id)?;
                self.log(Part::Prompts, key::numbered(&session, *n), None)
            }
            Op::PutPermission { id, permission, value } => {
                let session = self.known(id)?;
                self.log(Part::Permissions, [&session, permission.as_bytes()].concat(), Some(value))
            }
            Op::DeletePermission { id, permission } => {
                let session = key::session_or_refuse(id)?;
                self.log(Part::Permissions, [&session, permission.as_bytes()].concat(), None)
            }
            Op::PutIdempotency { id, key, value } => {
                let session = self.known(id)?;
                self.log(Part::Idempotency, [&session, key.as_bytes()].concat(), Some(value))
            }
            Op::DeleteIdempotency { id, key } => {
                let session = key::session_or_refuse(id)?;
                self.log(Part::Idempotency, [&session, key.as_bytes()].concat(), None)
            }
            Op::DeleteEvents { id } => match self.known(id) {
                Ok(session) => self.delete_events(&session),
                Err(StoreError::UnknownSession { .. }) => Ok(()),
                Err(e) => Err(e),
            },
            Op::ForgetOrder { commits } => {
                commits.iter().try_for_each(|commit| self.log(Part::Order, commit.to_be_bytes().to_vec(), None))
            }
        }
    }

    fn put_workspace(&mut self, record: &WorkspaceRecord, value: &[u8]) -> Result<(), StoreError> {
        let key = key::workspace_or_refuse(&record.id)?;
        let old: Option<WorkspaceRecord> = self.record(Tree::Workspaces, &key)?;
        let old_name = old.and_then(|old| old.name);
        if let Some(name) = &record.name {
            self.free("workspace name", Tree::WorkspaceByName, name, record.id.as_str())?;
        }
        if old_name != record.name {
            if let Some(name) = old_name {
                self.set(Tree::WorkspaceByName, name.as_bytes(), None);
            }
            if let Some(name) = &record.name {
                self.set(Tree::WorkspaceByName, name.as_bytes(), Some(pointer(record.id.as_str())));
            }
        }
        self.put(Tree::Workspaces, &key, value)
    }

    fn delete_workspace(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let old: Option<WorkspaceRecord> = self.record(Tree::Workspaces, key)?;
        if let Some(name) = old.and_then(|old| old.name) {
            self.set(Tree::WorkspaceByName, name.as_bytes(), None);
        }
        self.set(Tree::Workspaces, key, None);
        self.makes = true;
        Ok(())
    }

    fn put_session(&mut self, record: &SessionRecord, value: &[u8]) -> Result<(), StoreError> {
        let key = key::session_or_refuse(&record.id)?;
        if let Some(name) = &record.key {
            self.free("session key", Tree::SessionByKey, name.as_str(), record.id.as_str())?;
        }
        let old: Option<SessionRecord> = self.record(Tree::Sessions, &key)?;
        self.layer.notes.push(Note::record(&key, record, old.as_ref()));
        let new = indexes(record, &key)?;
        let old = old.map_or_else(|| Ok(Vec::new()), |old| indexes(&old, &key))?;
        for (tree, entry) in old.iter().filter(|entry| !new.contains(entry)) {
            self.set(*tree, entry, None);
        }
        for (tree, entry) in new.iter().filter(|entry| !old.contains(entry)) {
            self.set(*tree, entry, Some(pointer(record.id.as_str())));
        }
        self.put(Tree::Sessions, &key, value)
    }

    fn delete_session(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let session = key::session_or_refuse(id)?;
        let old: Option<SessionRecord> = self.record(Tree::Sessions, &session)?;
        if let Some(old) = old {
            for (tree, entry) in indexes(&old, &session)? {
                self.set(tree, &entry, None);
            }
            self.set(Tree::Sessions, &session, None);
            self.layer.notes.push(Note::Deleted { session: session.clone(), closed: old.closed.is_some() });
        }
        for part in Part::OF_SESSIONS {
            self.delete_log(part, &session)?;
        }
        self.layer.tails.insert(session, None);
        self.makes = true;
        Ok(())
    }

    fn append(&mut self, id: &SessionId, first_seq: u64, last_seq: u64, value: &[u8]) -> Result<(), StoreError> {
        let session = self.known(id)?;
        let expected = self.tail(&session)?.last_seq + 1;
        if first_seq != expected {
            return Err(StoreError::NotContiguous { session: id.clone(), expected, found: first_seq });
        }
        let key = key::numbered(&session, first_seq);
        self.layer.order.push(Placed { session: session.clone(), first_seq, last_seq });
        self.layer.tails.insert(session, Some(Tail { last_seq, empty: false }));
        self.log(Part::Events, key, Some(value))
    }

    fn put_progress(
        &mut self,
        id: &SessionId,
        last_seq: u64,
        standing: Standing,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let session = self.known(id)?;
        self.layer.notes.push(Note::Progress { session: session.clone(), standing });
        if self.tail(&session)?.empty {
            self.layer.tails.insert(session.clone(), Some(Tail { last_seq, empty: true }));
        }
        self.log(Part::Progress, session, Some(value))
    }

    fn delete_events(&mut self, session: &[u8]) -> Result<(), StoreError> {
        self.delete_log(Part::Events, session)?;
        let last_seq = self.last_seq_of_progress(session)?;
        self.layer.tails.insert(session.to_vec(), Some(Tail { last_seq, empty: true }));
        Ok(())
    }

    /// The session's key, if the session is in the registry.
    fn known(&self, id: &SessionId) -> Result<Vec<u8>, StoreError> {
        let session = key::session_or_refuse(id)?;
        let known = match self.layer.tails.get(&session) {
            Some(tail) => tail.is_some(),
            None => self.planner.tails.contains_key(&session),
        };
        if known || self.read(Tree::Sessions, &session)?.is_some() {
            Ok(session)
        } else {
            Err(StoreError::UnknownSession { session: id.clone() })
        }
    }

    fn tail(&self, session: &[u8]) -> Result<Tail, StoreError> {
        match self.layer.tails.get(session) {
            Some(Some(tail)) => return Ok(*tail),
            // Deleted in this batch and made again.
            Some(None) => return Ok(Tail { last_seq: 0, empty: true }),
            None => {}
        }
        if let Some(tail) = self.planner.tails.get(session) {
            return Ok(*tail);
        }
        // No end is kept, so nothing of this group touched the session's events, unless the group deleted it.
        let log = self.planner.log;
        let last = log.prefix(Part::Events, session).next_back().transpose()?;
        let deleted = |key: &[u8]| matches!(self.planner.group.log.get(&(Part::Events, key.to_vec())), Some(None));
        match last {
            Some((key, value)) if !deleted(&key) => {
                let first_seq = key::number_of(&key).unwrap_or(0);
                let run = value::decode_run(log.path(), first_seq, &value)?;
                Ok(Tail { last_seq: run.last_seq(), empty: false })
            }
            _ => Ok(Tail { last_seq: self.last_seq_of_progress(session)?, empty: true }),
        }
    }

    fn last_seq_of_progress(&self, session: &[u8]) -> Result<u64, StoreError> {
        let log = self.planner.log;
        let decode = |bytes: &[u8]| value::decode::<Progress>(log.path(), bytes).map(|p| p.last_seq);
        let at = (Part::Progress, session.to_vec());
        match self.layer.log.get(&at).or_else(|| self.planner.group.log.get(&at)) {
            Some(planned) => planned.as_deref().map_or(Ok(0), decode),
            None => log.get(Part::Progress, session)?.map_or(Ok(0), |bytes| decode(&bytes)),
        }
    }

    /// Removes all of a session's entries in a part: those on disk and those that are only planned.
    fn delete_log(&mut self, part: Part, session: &[u8]) -> Result<(), StoreError> {
        let mut keys = self.planner.log.keys(part, session)?;
        for planned in [&self.planner.group.log, &self.layer.log] {
            let from = planned.range((part, session.to_vec())..);
            keys.extend(
                from.take_while(|((p, k), _)| *p == part && k.starts_with(session)).map(|((_, k), _)| k.clone()),
            );
        }
        self.layer.log.extend(keys.into_iter().map(|key| ((part, key), None)));
        Ok(())
    }

    fn log(&mut self, part: Part, key: Vec<u8>, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.layer.log.insert((part, key), value.map(<[u8]>::to_vec));
        Ok(())
    }

    /// Sets a record; one that did not exist is made.
    fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.makes |= self.read(tree, key)?.is_none();
        self.set(tree, key, Some(value.to_vec()));
        Ok(())
    }

    fn set(&mut self, tree: Tree, key: &[u8], value: Option<Vec<u8>>) {
        self.layer.registry.insert((tree, key.to_vec()), value);
    }

    /// Refuses a unique name that belongs to another.
    fn free(&self, what: &'static str, tree: Tree, name: &str, own: &str) -> Result<(), StoreError> {
        let path = self.planner.registry.path();
        let owner = self.read(tree, name.as_bytes())?.map(|bytes| target(path, &bytes)).transpose()?;
        match owner {
            Some(by) if by != own => Err(StoreError::Taken { what, name: name.to_owned(), by }),
            _ => Ok(()),
        }
    }

    fn record<T: serde::de::DeserializeOwned>(&self, tree: Tree, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.read(tree, key)?.map(|bytes| value::decode(self.planner.registry.path(), &bytes)).transpose()
    }

    /// A registry entry with everything planned so far.
    fn read(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let at = (tree, key.to_vec());
        let group = &self.planner.group;
        let planned = [&self.layer.registry, &group.after, &group.before].into_iter().find_map(|c| c.get(&at));
        match planned {
            Some(planned) => Ok(planned.clone()),
            None => Ok(self.planner.registry.get_written(tree, key)?.map(|v| v.to_vec())),
        }
    }
}
