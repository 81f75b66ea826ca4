//! The registry's indexes of sessions: their entries, and lists by what clients group by, by app, and by time of close.

use std::path::Path;

use super::{Store, StoreError, key, registry::Tree, value};
use crate::domain::{SessionId, SessionRecord, Timestamp, WorkspaceId};

/// What sessions are looked up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionIndex {
    /// Their workspace.
    Workspace(WorkspaceId),
    /// A client's task.
    Task(String),
    /// A client's MCP session.
    McpSession(String),
    /// A client's grouping.
    Project(String),
    /// A label and its value.
    Label(String, String),
}

impl SessionIndex {
    /// The tree, and what the keys of all entries begin with.
    fn prefix(&self) -> Option<(Tree, Vec<u8>)> {
        Some(match self {
            Self::Workspace(id) => (Tree::SessionByWorkspace, key::workspace(id)?),
            Self::Task(task) => (Tree::SessionByTask, key::shared(task)),
            Self::McpSession(id) => (Tree::SessionByMcp, key::shared(id)),
            Self::Project(project) => (Tree::SessionByProject, key::shared(project)),
            Self::Label(label, value) => (Tree::SessionByLabel, [key::shared(label), key::shared(value)].concat()),
        })
    }
}

impl Store {
    /// Sessions by an index, made before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions_by(
        &self,
        index: &SessionIndex,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let Some((tree, prefix)) = index.prefix() else { return Ok(Vec::new()) };
        let to = match before {
            Some(before) => Some([&prefix[..], &key::session_or_refuse(before)?].concat()),
            None => key::after_prefix(&prefix),
        };
        let entries = self.shared().registry.scan(tree, &prefix, to.as_deref(), true, limit)?;
        entries.iter().map(|(_, bytes)| self.session_id(bytes)).collect()
    }

    /// The sessions whose keys are of this app, made before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn sessions_of_app(
        &self,
        app: &str,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let entries = self.shared().registry.prefix(Tree::SessionByKey, format!("{app}:").as_bytes())?;
        let before = before.map(key::session_or_refuse).transpose()?;
        let mut found = Vec::new();
        for (_, bytes) in &entries {
            let id = self.session_id(bytes)?;
            let at = key::session_or_refuse(&id)?;
            if before.as_ref().is_none_or(|before| at < *before) {
                found.push((at, id));
            }
        }
        // The index is in the order of the keys' names.
        found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Sessions that were closed after `after` was, those closed first first, at most `limit`, with when.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn closed_sessions(
        &self,
        after: Option<&(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<(SessionId, Timestamp)>, StoreError> {
        // A zero byte makes it the first key after that one.
        let from = match after {
            Some((time, id)) => [&key::time(*time)[..], &key::session_or_refuse(id)?, &[0]].concat(),
            None => Vec::new(),
        };
        let entries = self.shared().registry.scan(Tree::SessionByClosed, &from, None, false, limit)?;
        let closed = entries.iter().map(|(_, bytes)| {
            let id = self.session_id(bytes)?;
            let closed = self.session(&id)?.and_then(|record| record.closed);
            Ok(closed.map(|closed| (id, closed)))
        });
        closed.filter_map(Result::transpose).collect()
    }

    fn session_id(&self, bytes: &[u8]) -> Result<SessionId, StoreError> {
        let path = self.shared().registry.path();
        let id = target(path, bytes)?;
        id.try_into().map_err(|_| StoreError::unreadable(path, "an index entry does not hold an id"))
    }
}

/// The index entries of a session.
pub(super) fn indexes(record: &SessionRecord, session: &[u8]) -> Result<Vec<(Tree, Vec<u8>)>, StoreError> {
    let workspace = key::workspace_or_refuse(&record.workspace)?;
    let mut entries = vec![(Tree::SessionByWorkspace, [&workspace, session].concat())];
    if let Some(key) = &record.key {
        entries.push((Tree::SessionByKey, key.as_str().as_bytes().to_vec()));
    }
    if let Some(id) = &record.agent_session_id {
        entries.push((Tree::SessionByAgentId, [&key::shared(id), session].concat()));
    }
    let shared = [
        (Tree::SessionByTask, &record.task_id),
        (Tree::SessionByProject, &record.project),
        (Tree::SessionByMcp, &record.mcp_session_id),
    ];
    for (tree, value) in shared {
        if let Some(value) = value {
            entries.push((tree, [&key::shared(value), session].concat()));
        }
    }
    for (label, value) in &record.labels {
        entries.push((Tree::SessionByLabel, [&key::shared(label), &key::shared(value), session].concat()));
    }
    if let Some(closed) = record.closed {
        entries.push((Tree::SessionByClosed, [&key::time(closed), session].concat()));
    }
    Ok(entries)
}

/// The value of an index entry.
pub(super) fn pointer(id: &str) -> Vec<u8> {
    [&[value::VERSION], id.as_bytes()].concat()
}

/// The id that an index entry points to.
pub(super) fn target(path: &Path, bytes: &[u8]) -> Result<String, StoreError> {
    let id = value::unversioned(path, bytes)?;
    String::from_utf8(id.to_vec()).map_err(|e| StoreError::unreadable(path, format!("an index entry is damaged: {e}")))
}
