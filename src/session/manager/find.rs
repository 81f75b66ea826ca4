//! Finding sessions, each way through an index.

use super::Sessions;
use crate::domain::{SessionId, SessionKey, SessionRecord, WorkspaceId};
use crate::session::SessionError;

impl Sessions {
    /// The open sessions of a workspace.
    pub(super) fn open_sessions_of(&self, workspace: &WorkspaceId) -> Result<Vec<SessionId>, SessionError> {
        let mut open = Vec::new();
        for id in self.shared.store.sessions_of_workspace(workspace)? {
            if self.shared.store.session(&id)?.is_some_and(|s| s.closed.is_none()) {
                open.push(id);
            }
        }
        Ok(open)
    }

    /// Finds a session by its id, its key, or the agent's own session id, each through an index.
    pub(super) fn resolve(&self, text: &str) -> Result<SessionRecord, SessionError> {
        let not_found = || SessionError::NotFound { looked_up: text.chars().take(256).collect() };
        let store = &self.shared.store;
        if let Ok(id) = text.parse::<SessionId>()
            && let Some(record) = store.session(&id)?
        {
            return Ok(record);
        }
        if let Ok(key) = text.parse::<SessionKey>()
            && let Some(id) = store.session_by_key(&key)?
        {
            return store.session(&id)?.ok_or_else(not_found);
        }
        let found = store.sessions_by_agent_id(text)?;
        match found.as_slice() {
            [] => Err(not_found()),
            [id] => store.session(id)?.ok_or_else(not_found),
            many => {
                let mut open = Vec::new();
                for id in many {
                    open.extend(store.session(id)?.filter(|s| s.closed.is_none()));
                }
                let ids = many.iter().map(ToString::to_string).collect();
                if open.len() == 1 {
                    Ok(open.remove(0))
                } else {
                    Err(SessionError::Ambiguous { looked_up: text.to_owned(), ids })
                }
            }
        }
    }
}
