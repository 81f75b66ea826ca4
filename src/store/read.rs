//! Reading: records and indexes from the registry, everything else from the log; only what was acknowledged is seen.

use super::{
    IdempotencyRecord, Store, StoreError, TokenRecord,
    index::target,
    key,
    log::Part,
    registry::Tree,
    value::{decode, decode_run},
};
use crate::domain::{
    PermissionRecord, Progress, PromptNumber, PromptRecord, Run, SessionId, SessionKey, SessionRecord, WorkspaceId,
    WorkspaceRecord,
};

type Result<T> = std::result::Result<T, StoreError>;

/// All of these fail with `StoreError::Unreadable` or `Newer` where the data are damaged or from a later version.
/// They read from memory or the local disk and don't wait for the writer.
impl Store {
    /// A workspace.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn workspace(&self, id: &WorkspaceId) -> Result<Option<WorkspaceRecord>> {
        key::workspace(id).map_or(Ok(None), |key| self.record(Tree::Workspaces, &key))
    }

    /// The workspace that has this name.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn workspace_by_name(&self, name: &str) -> Result<Option<WorkspaceId>> {
        self.pointed(Tree::WorkspaceByName, name)
    }

    /// Workspaces made before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn workspaces(&self, before: Option<&WorkspaceId>, limit: usize) -> Result<Vec<WorkspaceRecord>> {
        let before = before.map(key::workspace_or_refuse).transpose()?;
        self.records(Tree::Workspaces, before.as_deref(), limit)
    }

    /// A session.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        key::session(id).map_or(Ok(None), |key| self.record(Tree::Sessions, &key))
    }

    /// The session that has this key.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn session_by_key(&self, key: &SessionKey) -> Result<Option<SessionId>> {
        self.pointed(Tree::SessionByKey, key.as_str())
    }

    /// The sessions that have this agent session id, oldest first.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions_by_agent_id(&self, agent_session_id: &str) -> Result<Vec<SessionId>> {
        self.all_pointed(Tree::SessionByAgentId, &key::shared(agent_session_id))
    }

    /// The sessions of a workspace, oldest first.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions_of_workspace(&self, id: &WorkspaceId) -> Result<Vec<SessionId>> {
        key::workspace(id).map_or(Ok(Vec::new()), |key| self.all_pointed(Tree::SessionByWorkspace, &key))
    }

    /// The sessions of a client's task, oldest first.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions_by_task(&self, task: &str) -> Result<Vec<SessionId>> {
        self.all_pointed(Tree::SessionByTask, &key::shared(task))
    }

    /// Sessions of all agents made before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionRecord>> {
        let before = before.map(key::session_or_refuse).transpose()?;
        self.records(Tree::Sessions, before.as_deref(), limit)
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let registry = &self.shared().registry;
        let entries = registry.prefix(Tree::Tokens, &[])?;
        entries.iter().map(|(_, bytes)| decode(registry.path(), bytes)).collect()
    }

    /// A free entry of the registry.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let registry = &self.shared().registry;
        let Some(bytes) = registry.get(Tree::Meta, key.as_bytes())? else { return Ok(None) };
        super::value::unversioned(registry.path(), &bytes).map(|bytes| Some(bytes.to_vec()))
    }

    /// How far a session has come; `None` where its making was cut short by a crash.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn progress(&self, id: &SessionId) -> Result<Option<Progress>> {
        self.logged(Part::Progress, id, &[])
    }

    /// How far every session has come, in the order in which they were made.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn progress_all(&self) -> Result<Vec<(SessionId, Progress)>> {
        let log = &self.shared().log;
        log.range(Part::Progress, &[], None)
            .map(|entry| {
                let (key, bytes) = entry?;
                let (id, _) = key::session_of(&key)
                    .ok_or_else(|| StoreError::unreadable(log.path(), "a key is not a session's"))?;
                Ok((id, decode(log.path(), &bytes)?))
            })
            .collect()
    }

    /// Whole runs in order: the one that holds event `from_seq` (or the first after it) and those that follow, until
    /// they are `max_bytes` together; at least one, if there is one.
    ///
    /// # Errors
    /// The data can't be read, or a run is missing between two others.
    pub fn runs(&self, id: &SessionId, from_seq: u64, max_bytes: usize) -> Result<Vec<Run>> {
        let Some(session) = key::session(id) else { return Ok(Vec::new()) };
        let log = &self.shared().log;
        // The run that holds `from_seq` is the last that begins at or before it.
        let end = key::after_prefix(&key::numbered(&session, from_seq));
        let before = log.range(Part::Events, &session, end.as_deref()).next_back().transpose()?;
        let first = before.map_or_else(|| session.clone(), |(key, _)| key.to_vec());
        let (mut runs, mut bytes) = (Vec::<Run>::new(), 0);
        for entry in log.range(Part::Events, &first, key::after_prefix(&session).as_deref()) {
            let (key, value) = entry?;
            let run = decode_run(log.path(), key::number_of(&key).unwrap_or(0), &value)?;
            if run.last_seq() < from_seq {
                continue;
            }
            if let Some(last) = runs.last()
                && run.first_seq != last.last_seq() + 1
            {
                let why = format!("events {} to {} of {id} are missing", last.last_seq() + 1, run.first_seq - 1);
                return Err(StoreError::unreadable(log.path(), why));
            }
            bytes += run.bytes.len();
            if !runs.is_empty() && bytes > max_bytes {
                break;
            }
            runs.push(run);
        }
        Ok(runs)
    }

    /// A prompt.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn prompt(&self, id: &SessionId, n: PromptNumber) -> Result<Option<PromptRecord>> {
        self.logged(Part::Prompts, id, &n.to_be_bytes())
    }

    /// Prompts after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn prompts(&self, id: &SessionId, after: PromptNumber, limit: usize) -> Result<Vec<PromptRecord>> {
        let (Some(session), Some(from)) = (key::session(id), after.checked_add(1)) else { return Ok(Vec::new()) };
        let log = &self.shared().log;
        log.range(Part::Prompts, &key::numbered(&session, from), key::after_prefix(&session).as_deref())
            .take(limit)
            .map(|entry| decode(log.path(), &entry?.1))
            .collect()
    }

    /// Permission requests, oldest first.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn permissions(&self, id: &SessionId) -> Result<Vec<PermissionRecord>> {
        let Some(session) = key::session(id) else { return Ok(Vec::new()) };
        let log = &self.shared().log;
        let found = log.prefix(Part::Permissions, &session).map(|entry| decode(log.path(), &entry?.1));
        let mut found: Vec<PermissionRecord> = found.collect::<Result<_>>()?;
        found.sort_by_key(|request| request.time);
        Ok(found)
    }

    /// A permission request.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn permission(&self, id: &SessionId, permission: &str) -> Result<Option<PermissionRecord>> {
        self.logged(Part::Permissions, id, permission.as_bytes())
    }

    /// Which prompt an `Idempotency-Key` stands for.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn idempotency(&self, id: &SessionId, key: &str) -> Result<Option<IdempotencyRecord>> {
        self.logged(Part::Idempotency, id, key.as_bytes())
    }

    fn record<T: serde::de::DeserializeOwned>(&self, tree: Tree, key: &[u8]) -> Result<Option<T>> {
        let registry = &self.shared().registry;
        registry.get(tree, key)?.map(|bytes| decode(registry.path(), &bytes)).transpose()
    }

    fn records<T: serde::de::DeserializeOwned>(&self, tree: Tree, to: Option<&[u8]>, limit: usize) -> Result<Vec<T>> {
        let registry = &self.shared().registry;
        let entries = registry.scan(tree, &[], to, true, limit)?;
        entries.iter().map(|(_, bytes)| decode(registry.path(), bytes)).collect()
    }

    fn pointed<T: TryFrom<String>>(&self, tree: Tree, name: &str) -> Result<Option<T>> {
        self.shared().registry.get(tree, name.as_bytes())?.map(|bytes| self.id(&bytes)).transpose()
    }

    fn all_pointed<T: TryFrom<String>>(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<T>> {
        self.shared().registry.prefix(tree, prefix)?.iter().map(|(_, bytes)| self.id(bytes)).collect()
    }

    fn id<T: TryFrom<String>>(&self, bytes: &[u8]) -> Result<T> {
        let path = self.shared().registry.path();
        let id = target(path, bytes)?;
        id.try_into().map_err(|_| StoreError::unreadable(path, "an index entry does not hold an id"))
    }

    fn logged<T: serde::de::DeserializeOwned>(&self, part: Part, id: &SessionId, rest: &[u8]) -> Result<Option<T>> {
        let Some(session) = key::session(id) else { return Ok(None) };
        let log = &self.shared().log;
        log.get(part, &[&session, rest].concat())?.map(|bytes| decode(log.path(), &bytes)).transpose()
    }
}
