//! A session: what the registry knows of it, and how far it has come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PromptNumber, PromptState, SessionId, SessionKey, Timestamp, TurnError, WorkspaceId};

/// Free labels: at most 32, keys and values at most 256 bytes (checked where they come in).
pub type Labels = BTreeMap<String, String>;

/// The label of a session that a program drives by itself: its turns are nobody's wait.
pub const AUTOMATED_LABEL: (&str, &str) = ("wharf.automated", "true");

/// What happens on a permission request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionPolicy {
    /// A client is asked.
    #[default]
    Ask,
    /// Allowed at once.
    Allow,
    /// Rejected at once.
    Deny,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Its workspace or its agent is being started.
    Starting,
    /// The agent is ready and nothing runs.
    Idle,
    /// A turn runs.
    Running,
    /// A turn runs and the agent waits for a permission.
    Waiting,
    /// A turn's container died; what it left is being collected.
    Interrupted,
    /// Nothing runs; it wakes on demand.
    Suspended,
    /// It can't go on by itself; restore or reset it.
    Error,
    /// Closed: its record and log are kept.
    Closed,
}

impl SessionStatus {
    /// As clients see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Interrupted => "interrupted",
            Self::Suspended => "suspended",
            Self::Error => "error",
            Self::Closed => "closed",
        }
    }
}

/// A session in the registry: what exists, changed rarely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its unique key, where it was given one.
    pub key: Option<SessionKey>,
    /// The agent's name in the catalogue.
    pub agent: String,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// When it was made.
    pub created: Timestamp,
    /// The model asked for.
    pub model: Option<String>,
    /// The mode asked for.
    pub mode: Option<String>,
    /// The agent's working directory, absolute, inside the container.
    pub cwd: String,
    /// ACP `McpServer` values, encrypted: they carry headers and environments (guarantee 12).
    #[serde(with = "super::sealed_bytes")]
    pub sealed_mcp_servers: Option<Vec<u8>>,
    /// What happens on a permission request.
    pub permissions: PermissionPolicy,
    /// The session's own environment, encrypted (guarantee 12).
    #[serde(with = "super::sealed_bytes")]
    pub sealed_env: Option<Vec<u8>>,
    /// The agent's own session id, once the agent can resume it.
    pub agent_session_id: Option<String>,
    /// A client's grouping.
    pub project: Option<String>,
    /// Where a client talks from.
    pub channel: Option<String>,
    /// A client's task.
    pub task_id: Option<String>,
    /// A client's MCP session.
    pub mcp_session_id: Option<String>,
    /// Free labels.
    pub labels: Labels,
    /// What it may use up.
    #[serde(default)]
    pub caps: Caps,
    /// When it was closed.
    pub closed: Option<Timestamp>,
}

/// What a session may use up; `None`: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caps {
    /// Turns.
    pub max_turns: Option<u64>,
    /// Cost, in the currency that the agent reports.
    pub max_cost: Option<f64>,
}

/// What a session has used up since it was made; a reset does not give it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Turns that ended.
    pub turns: u64,
    /// The cost of conversations that are over, and of processes that counted from 0 again.
    pub cost_before: f64,
    /// The cost of the conversation, as its agent last reported it.
    pub cost_reported: f64,
}

impl Spent {
    /// The cost of everything.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.cost_before + self.cost_reported
    }

    /// Takes the agent's word for the cost of its conversation so far.
    pub fn report(&mut self, amount: f64) {
        if !amount.is_finite() || amount < 0.0 {
            return;
        }
        if amount < self.cost_reported {
            // It counts from 0 again: it was started afresh.
            self.settle();
        }
        self.cost_reported = amount;
    }

    /// What is reported next is another conversation's.
    pub fn settle(&mut self) {
        self.cost_before += std::mem::take(&mut self.cost_reported);
    }
}

/// That the agent is to be started afresh before its next turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirty {
    /// Why, where it was said.
    pub reason: Option<String>,
    /// How many processes the session had had: the mark is cleared when a later one is ready.
    pub runs: u64,
}

/// An input handed to the agent's stdin that tether has not yet reported as taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Its running number within the process, from 1.
    pub n: u64,
    /// Whether processes born from here on belong to the turn.
    pub mark: bool,
    /// The bytes, as UTF-8: every protocol that wharf speaks is text.
    pub text: String,
    /// Whether `text` is sealed: only ever on disk.
    #[serde(default)]
    pub sealed: bool,
}

/// The agent process of a session, as far as the log is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessProgress {
    /// Its id in tether.
    pub id: String,
    /// Bytes of stdout that became events: the next byte to read.
    pub stdout: u64,
    /// Bytes of stderr that became events.
    pub stderr: u64,
    /// The number of the last input made for it.
    pub last_input: u64,
    /// Inputs not yet known to be taken, oldest first.
    pub outbox: Vec<OutboxEntry>,
    /// Whether its handshake is complete: prompts may be given to it.
    pub ready: bool,
    /// Whether `agent.started` is in the log; of one that an older daemon started, it is.
    #[serde(default = "yes")]
    pub told: bool,
}

const fn yes() -> bool {
    true
}

/// The turn that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnProgress {
    /// Its prompt.
    pub prompt: PromptNumber,
    /// The number of the input that carries the prompt, once made.
    pub input: Option<u64>,
    /// Whether it is being cancelled.
    pub cancelling: bool,
    /// How the agent ended it, while what was born in it is still being ended.
    pub outcome: Option<TurnOutcome>,
    /// Why it is being ended, where nobody cancelled it: it fails with this.
    #[serde(default)]
    pub failure: Option<TurnError>,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnOutcome {
    /// The prompt's final state.
    pub status: PromptState,
    /// ACP's stop reason; `None` where the agent gave none.
    pub stop_reason: Option<String>,
    /// What the agent reported of its use.
    pub usage: Option<serde_json::Value>,
    /// Why it failed, or why its end is unknown.
    pub error: Option<TurnError>,
}

/// How far a session has come: everything that moves together with its log, in one log batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The sequence number of its last event.
    pub last_seq: u64,
    /// Its status at that event.
    pub status: SessionStatus,
    /// Why it is in `error`.
    pub error: Option<TurnError>,
    /// Its agent process, from the moment it may have been started until its exit is in the log.
    pub process: Option<ProcessProgress>,
    /// How many agent processes it has had.
    pub runs: u64,
    /// The adapter's serialised state.
    pub adapter: Option<serde_json::Value>,
    /// The turn that runs.
    pub turn: Option<TurnProgress>,
    /// The number of the last prompt accepted.
    pub last_prompt: PromptNumber,
    /// The oldest prompt whose record is kept.
    #[serde(default = "first")]
    pub first_prompt: PromptNumber,
    /// Pending prompts, oldest first.
    pub queue: Vec<PromptNumber>,
    /// How often the prompt that runs or runs next was handed to a process that died before taking it.
    pub attempts: u32,
    /// Whether it was suspended by hand: its queue waits for the next request, over restarts of the daemon too.
    #[serde(default)]
    pub held: bool,
    /// How many permissions were asked for since it was made: what numbers them.
    #[serde(default)]
    pub asked: u64,
    /// Turns of the conversation that ended.
    pub turns: u64,
    /// What it has used up.
    #[serde(default)]
    pub spent: Spent,
    /// Whether the agent is to be started afresh before its next turn.
    #[serde(default)]
    pub dirty: Option<Dirty>,
    /// The agent's own session id, once resumable; the registry's copy is brought up to this at open.
    pub agent_session_id: Option<String>,
    /// When it was closed; the registry's copy is brought up to this at open.
    pub closed: Option<Timestamp>,
    /// When something last happened.
    pub updated: Timestamp,
    /// First text of the conversation, at most 120 characters.
    pub summary: Option<String>,
}

impl Progress {
    /// The progress of a session that nothing has happened to.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            last_seq: 0,
            status: SessionStatus::Suspended,
            error: None,
            process: None,
            runs: 0,
            adapter: None,
            turn: None,
            last_prompt: 0,
            first_prompt: first(),
            queue: Vec::new(),
            attempts: 0,
            held: false,
            asked: 0,
            turns: 0,
            spent: Spent::default(),
            dirty: None,
            agent_session_id: None,
            closed: None,
            updated: now,
            summary: None,
        }
    }
}

/// The number of a session's first prompt.
const fn first() -> PromptNumber {
    1
}
