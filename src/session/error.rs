//! What can be wrong with a call on a session.

use crate::domain::{InvalidId, PromptNumber, PromptState, SessionId};
use crate::store::StoreError;
use crate::workspace::WorkspaceError;

/// What can be wrong with a call on a session; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// No session has this id, key or agent session id.
    #[error("no session has the id, the key or the agent session id `{looked_up}`")]
    NotFound {
        /// What was looked for.
        looked_up: String,
    },
    /// More than one session has this agent session id.
    #[error("`{looked_up}` is the agent session id of several sessions ({}): name one by its own id", .ids.join(", "))]
    Ambiguous {
        /// What was looked for.
        looked_up: String,
        /// The sessions found.
        ids: Vec<String>,
    },
    /// A field's value can't be.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The catalogue has no such agent.
    #[error("there is no agent `{name}`; the agents are: {}", .known.join(", "))]
    UnknownAgent {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The session is closed.
    #[error("session {id} is closed: make a new one, or read its log")]
    Closed {
        /// Which.
        id: SessionId,
    },
    /// A turn runs or waits, and the caller did not want to queue.
    #[error("session {id} is busy: wait, cancel its turn, or send the prompt with `when_busy` `queue` or `interrupt`")]
    Busy {
        /// Which.
        id: SessionId,
    },
    /// The session has used up what it may.
    #[error("session {id} has reached its cap: {used} of {limit} {what}: raise `{field}` of the session to go on")]
    CapReached {
        /// Which.
        id: SessionId,
        /// The field that says so: `max_turns` or `max_cost`.
        field: &'static str,
        /// In words.
        what: &'static str,
        /// How much it has used, prompts that run or wait included.
        used: f64,
        /// How much it may.
        limit: f64,
    },
    /// The queue is at its limit.
    #[error("session {id} has {limit} prompts waiting, the most it takes: wait until some have run")]
    QueueFull {
        /// Which.
        id: SessionId,
        /// The most it takes.
        limit: usize,
    },
    /// The session has no such prompt.
    #[error("session {id} has no prompt {n}")]
    PromptNotFound {
        /// Which session.
        id: SessionId,
        /// Which prompt.
        n: PromptNumber,
    },
    /// Only a pending prompt can be withdrawn.
    #[error(
        "prompt {n} is not pending but {state:?}: only a pending one can be withdrawn; `cancel` ends a running turn"
    )]
    PromptNotPending {
        /// Which prompt.
        n: PromptNumber,
        /// Where it stands.
        state: PromptState,
    },
    /// The session has no such permission request.
    #[error("session {id} has no permission request `{permission}`")]
    PermissionNotFound {
        /// Which session.
        id: SessionId,
        /// Which request.
        permission: String,
    },
    /// The request came to its end before.
    #[error("permission request `{permission}` is no longer pending: {why}")]
    PermissionStale {
        /// Which request.
        permission: String,
        /// What became of it.
        why: String,
    },
    /// The same `Idempotency-Key` came with another body.
    #[error("the Idempotency-Key `{key}` was used for another prompt of this session: use a new key for a new prompt")]
    IdempotencyReused {
        /// The key.
        key: String,
    },
    /// The session can't go on by itself.
    #[error("session {id} is in error: {message}")]
    Failed {
        /// Which.
        id: SessionId,
        /// Why, and what to do.
        message: String,
    },
    /// As many subscribers as may wait for sessions that do not exist.
    #[error("{limit} subscribers wait for sessions that do not exist yet, the most there may be: try again later")]
    TooManyWaiting {
        /// The most.
        limit: usize,
    },
    /// The agent can't do this.
    #[error("{0}")]
    Unsupported(String),
    /// The workspace could not serve.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The store could not serve.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked for goes on, but takes longer than a call may wait.
    #[error("{what} takes longer than {seconds} s: it goes on; watch the session's events")]
    Timeout {
        /// What takes long.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The session's actor went to rest while the call was on its way; the manager asks again, and no client sees this.
    #[error("the session is resting: try again")]
    Resting,
    /// The daemon is stopping.
    #[error("the daemon is stopping: try again when it is back")]
    Stopping,
}

impl From<InvalidId> for SessionError {
    fn from(e: InvalidId) -> Self {
        Self::Invalid { field: "key", message: e.to_string() }
    }
}
