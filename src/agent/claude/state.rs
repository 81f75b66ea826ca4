//! Everything that the adapter of Claude Code knows of its process; all of it bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the conversation with the process stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The handshake goes on.
    #[default]
    Starting,
    /// Ready for a prompt.
    Idle,
    /// A turn runs.
    Turn,
    /// Nothing more can come of this process.
    Dead,
}

/// A control request of ours that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// `initialize`.
    Initialize,
    /// `mcp_set_servers`, part of the handshake.
    McpServers,
    /// `set_permission_mode`, part of the handshake.
    FirstMode,
    /// `set_permission_mode`, later.
    Mode,
    /// `interrupt`.
    Interrupt,
    /// `set_model`.
    Model,
    /// One whose success says nothing.
    Other,
}

/// The prompt whose turn runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Prompt {
    /// Its id, by which the agent tells what became of it.
    pub(super) id: Option<String>,
    /// The agent has begun it: the next result is its result.
    pub(super) begun: bool,
    /// It was asked to end.
    pub(super) cancelling: bool,
    /// Something was said in it.
    pub(super) said: bool,
}

/// A permission request that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Permission {
    /// The tool's name.
    pub(super) tool: String,
    /// The tool's input, where it is small.
    pub(super) input: Option<Value>,
    /// The rules that allowing for ever would set.
    pub(super) rules: Vec<Value>,
}

/// A tool call without a result so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tool {
    pub(super) id: String,
    pub(super) name: String,
    /// Its whole input was told of.
    pub(super) whole: bool,
    /// Its content shows a change of a file, which a plain success must not replace.
    pub(super) diff: bool,
    /// What it does to the list of tasks.
    pub(super) task: Option<Task>,
}

/// A task of the agent's own plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) subject: Option<String>,
    pub(super) status: Option<String>,
}

/// A message that is being streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) message: String,
    /// Its texts and thoughts that were streamed and have not come as a whole yet.
    pub(super) blocks: Vec<Block>,
}

/// A block of a message that is being streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    pub(super) index: u64,
    pub(super) thought: bool,
    /// How many bytes of it were streamed.
    pub(super) length: usize,
}

/// The adapter's state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The number of the last control request.
    pub(super) last_id: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) session_id: Option<String>,
    /// Whether the process takes up an earlier conversation.
    pub(super) resumed: bool,
    /// Whether its session id was told.
    pub(super) linked: bool,
    /// The agent's clock at its first whole message, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_stamp: Option<i64>,
    /// The UUID that the ids of prompts are made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_ids: Option<String>,
    /// How many prompts this process was given.
    pub(super) prompts: u64,
    pub(super) prompt: Prompt,
    /// Whether this version tells what becomes of prompts.
    pub(super) has_lifecycle: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) permissions: BTreeMap<String, Permission>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Tool>,
    /// Messages that are being streamed, by the tool call of the sub-agent (`""`: the agent itself).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) streams: BTreeMap<String, Stream>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tasks: Vec<Task>,
    /// The mode last told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    /// The models that there are, each with its name for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) models: Vec<(String, String)>,
    /// The model that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// Tokens in the context, as the last message told.
    pub(super) context: u64,
}

impl State {
    /// The id of the prompt that is about to be given. The agent silently drops a prompt whose id it has seen before,
    /// in earlier processes of the conversation too: so ids come from the UUID that each start brings along, in which
    /// the low 32 bits count.
    pub(super) fn next_prompt_id(&self) -> Option<String> {
        let base = uuid::Uuid::parse_str(self.prompt_ids.as_ref()?).ok()?;
        Some(uuid::Uuid::from_u128(base.as_u128() ^ u128::from(self.prompts & 0xFFFF_FFFF)).to_string())
    }
}
