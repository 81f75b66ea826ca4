//! What every adapter is: a state machine between an agent's lines and wharf's events.

use serde_json::Value;
use serde_json::value::RawValue;

use super::secrets::Secrets;
use crate::domain::{PermissionOption, PermissionPolicy, TurnError};

/// How an agent process is to be started.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Working directory, absolute, inside the container.
    pub cwd: String,
    /// Model, where one was asked for.
    pub model: Option<String>,
    /// Mode, where one was asked for.
    pub mode: Option<String>,
    /// What happens on permission requests.
    pub permissions: PermissionPolicy,
    /// ACP `McpServer` values.
    pub mcp_servers: Vec<Value>,
    /// The agent's own session id to take up again; `None` starts a new conversation.
    pub resume: Option<String>,
    /// A UUID of this start alone, never used before, when resuming too: the id of a new conversation for agents that
    /// let the caller choose it, and what the ids of prompts are made from.
    pub fresh_id: String,
}

/// The program to run for a start.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; the program is looked up in the container's PATH.
    pub argv: Vec<String>,
    /// Environment beside that of the workspace and the session.
    pub env: Vec<(String, String)>,
    /// Files that it finds: path and content.
    pub files: Vec<(String, String)>,
    /// What of all that nobody is to see.
    pub secrets: Secrets,
}

impl std::fmt::Debug for Launch {
    // Environment and files hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("argv", &self.argv).finish_non_exhaustive()
    }
}

/// What an adapter wants or has learned. The order of a batch is the order in which it happened.
#[derive(Debug)]
pub enum Output {
    /// Write this to the agent's stdin: whole lines, each with its line feed, UTF-8.
    Send(String),
    /// The handshake is complete: prompts may be given.
    Ready,
    /// The agent's own session id, from the moment on that the agent can resume it.
    Linked {
        /// That id.
        agent_session_id: String,
    },
    /// The agent could not take its conversation up again; the process is of no more use.
    ResumeFailed {
        /// In the agent's words.
        message: String,
    },
    /// An ACP `SessionUpdate`: verbatim from an ACP agent, made from the agent's own words by the other adapters.
    Update(Box<RawValue>),
    /// The agent asks for a permission.
    PermissionRequested {
        /// Unique within the agent process; what `answer_permission` takes.
        id: String,
        /// ACP's `ToolCallUpdate`.
        tool_call: Value,
        /// What may be answered.
        options: Vec<PermissionOption>,
    },
    /// The agent no longer waits for this answer.
    PermissionWithdrawn {
        /// The request's id.
        id: String,
    },
    /// The turn is over, by the agent's own word.
    TurnEnded(TurnEnd),
    /// The agent can't go on; the process is of no more use.
    Fatal {
        /// In the agent's words.
        message: String,
    },
    /// A line that the adapter does not understand, whole.
    Unparsed {
        /// The line without its line feed; bytes that are not UTF-8 are replaced.
        line: String,
    },
}

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnEnd {
    /// ACP's stop reason: `end_turn`, `max_tokens`, `max_turn_requests`, `refusal` or `cancelled`; `None` on an error.
    pub stop_reason: Option<String>,
    /// What the agent reported of its use, in ACP's words.
    pub usage: Option<Value>,
    /// Why it failed.
    pub error: Option<TurnError>,
}

/// A call that the agent has no way to follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// One agent protocol, spoken with one agent process.
///
/// Nothing here waits or fails: what goes wrong is an `Output`. A call with no effect (a cancel without a turn) gives
/// an empty list. Whatever a line holds, `receive` neither panics nor keeps more than a bounded amount of it.
pub trait Adapter: Send {
    /// The first bytes for a process that was just started by this adapter's `Launch`.
    fn start(&mut self, options: &StartOptions) -> Vec<Output>;

    /// Gives the agent a prompt of ACP content blocks. Called only when ready and no turn runs.
    fn prompt(&mut self, content: &[Value]) -> Vec<Output>;

    /// Whether the agent takes all of a prompt's content.
    ///
    /// # Errors
    /// `Unsupported` where it has said that it does not.
    fn check_prompt(&self, _content: &[Value]) -> Result<(), Unsupported> {
        Ok(())
    }

    /// Asks the agent to end the running turn; its `TurnEnded` tells that it did. Pending permission requests are
    /// answered as cancelled and withdrawn.
    fn cancel(&mut self) -> Vec<Output>;

    /// Changes the model of the conversation.
    ///
    /// # Errors
    /// `Unsupported` where the agent has no way to.
    fn set_model(&mut self, model: &str) -> Result<Vec<Output>, Unsupported>;

    /// Changes the mode of the conversation.
    ///
    /// # Errors
    /// `Unsupported` where the agent has no way to.
    fn set_mode(&mut self, mode: &str) -> Result<Vec<Output>, Unsupported>;

    /// The session's policy for permission requests was changed: the agent is to ask, or need not ask any more. Nothing to
    /// do for one that always asks, as wharf answers by the policy.
    fn set_permissions(&mut self, _policy: PermissionPolicy) -> Vec<Output> {
        Vec::new()
    }

    /// Answers a pending permission request with one of its options; an unknown or stale id gives an empty list.
    fn answer_permission(&mut self, id: &str, option_id: &str) -> Vec<Output>;

    /// Takes one line of the agent's stdout, without its line feed.
    fn receive(&mut self, line: &[u8]) -> Vec<Output>;

    /// Everything that `Catalogue::restore` needs to go on with the same process in another daemon. Small: it is
    /// written with every batch of events.
    fn state(&self) -> Value;
}
