//! What clients give to make or change a session, and what they see of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::content::{no_or_schema, schema};
use crate::domain::{
    Labels, PermissionPolicy, SessionId, SessionKey, SessionStatus, Timestamp, TurnError, WhenBusy, WorkspaceId,
    WorkspaceSpec,
};

/// The workspace that a session asks for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WorkspaceChoice {
    /// An existing one, by id or name.
    Existing(String),
    /// One of its own, ephemeral, from this spec.
    Inline(Box<WorkspaceSpec>),
}

/// A session to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The agent's name in the catalogue.
    pub agent: String,
    /// An existing workspace by id or name, or a spec; without one, an ephemeral workspace of its own.
    #[serde(default)]
    pub workspace: Option<WorkspaceChoice>,
    /// A unique key, `app:name`; a known one gives that session.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub key: Option<String>,
    /// The model.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub model: Option<String>,
    /// The mode.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub mode: Option<String>,
    /// The agent's working directory, absolute; by default `/workspace`, and on the host the directory that sessions work
    /// in, out of which it may not lead.
    #[serde(default)]
    #[schema(pattern = "^/")]
    pub cwd: Option<String>,
    /// ACP `McpServer` values.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub mcp_servers: Vec<Value>,
    /// What happens on permission requests.
    #[serde(default)]
    pub permissions: PermissionPolicy,
    /// Environment of the agent process; kept encrypted.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The agent's own id of a conversation to take up.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub agent_session_id: Option<String>,
    /// A client's grouping.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub project: Option<String>,
    /// Where a client talks from.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub channel: Option<String>,
    /// A client's task.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub task_id: Option<String>,
    /// A client's MCP session.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub mcp_session_id: Option<String>,
    /// Free labels.
    #[serde(default)]
    pub labels: Labels,
    /// How many turns it may have; by default as configured, 0: any number.
    #[serde(default)]
    pub max_turns: Option<u64>,
    /// What it may cost, as its agent reports it; by default as configured, 0: any cost.
    #[serde(default)]
    #[schema(minimum = 0.0)]
    pub max_cost: Option<f64>,
    /// A first prompt: a text, or ACP content blocks.
    #[serde(default)]
    #[schema(schema_with = no_or_schema)]
    pub prompt: Option<Value>,
}

/// Fields of a session to change; absent ones stay.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionChanges {
    /// The model.
    #[schema(min_length = 1, max_length = 256)]
    pub model: Option<String>,
    /// The mode.
    #[schema(min_length = 1, max_length = 256)]
    pub mode: Option<String>,
    /// What happens on permission requests.
    pub permissions: Option<PermissionPolicy>,
    /// Free labels; replaces all.
    pub labels: Option<Labels>,
    /// A client's grouping.
    #[schema(min_length = 1, max_length = 256)]
    pub project: Option<String>,
    /// Where a client talks from.
    #[schema(min_length = 1, max_length = 256)]
    pub channel: Option<String>,
    /// A client's task.
    #[schema(min_length = 1, max_length = 256)]
    pub task_id: Option<String>,
    /// How many turns it may have; 0: any number.
    pub max_turns: Option<u64>,
    /// What it may cost, as its agent reports it; 0: any cost.
    #[schema(minimum = 0.0)]
    pub max_cost: Option<f64>,
}

/// A prompt to accept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrompt {
    /// A text, or ACP content blocks.
    #[schema(schema_with = schema)]
    pub content: Value,
    /// What to do when the session is busy.
    #[serde(default)]
    pub when_busy: WhenBusy,
}

/// An answer to a permission request: an option by its id, or by its kind.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionAnswer {
    /// The option's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_id: Option<String>,
    /// The option's kind: the first of that kind is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<crate::domain::PermissionOptionKind>,
}

/// Which sessions to list; absent fields match all.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// The part of the key before its first colon.
    pub app: Option<String>,
    /// Workspace, by id or name.
    pub workspace: Option<String>,
    /// Agent.
    pub agent: Option<String>,
    /// Status.
    pub status: Option<SessionStatus>,
    /// Project.
    pub project: Option<String>,
    /// Task.
    pub task_id: Option<String>,
    /// MCP session.
    pub mcp_session_id: Option<String>,
    /// Labels, each as key and value, all of which must match.
    pub labels: Vec<(String, String)>,
    /// Whether closed sessions are listed too (they are, when `status` asks for them).
    pub closed: bool,
}

impl SessionFilter {
    /// Whether closed sessions match.
    pub(super) fn wants_closed(&self) -> bool {
        self.closed || self.status == Some(SessionStatus::Closed)
    }
}

/// A session as clients see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SessionKey>,
    /// Its agent.
    pub agent: String,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Where it stands.
    pub status: SessionStatus,
    /// Why it is in `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
    /// The first text of the conversation, else the key.
    pub summary: Option<String>,
    /// The model asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The mode asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The agent's working directory.
    pub cwd: String,
    /// What happens on permission requests.
    pub permissions: PermissionPolicy,
    /// The agent's own session id, once it can resume it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
    /// A client's grouping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where a client talks from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// A client's task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// A client's MCP session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_session_id: Option<String>,
    /// Free labels.
    #[serde(default)]
    pub labels: Labels,
    /// The running turn.
    pub turn: Option<String>,
    /// How many prompts wait.
    pub queued: usize,
    /// How many turns of the conversation ended.
    pub turns: u64,
    /// How many turns ended since it was made, and how many it may have.
    pub turns_used: u64,
    /// See `turns_used`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u64>,
    /// What it has cost since it was made, as its agent reported it, and what it may cost.
    pub cost: f64,
    /// See `cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// Whether its agent is to be started afresh before the next turn.
    pub dirty: bool,
    /// The sequence number of its last event.
    pub last_seq: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When something last happened.
    pub updated: Timestamp,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
}
