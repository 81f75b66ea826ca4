//! Everything that the adapter of ACP agents knows of its process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::Choices;
use crate::agent::adapter::StartOptions;

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
    Turn {
        /// It was asked to end.
        cancelling: bool,
    },
    /// Nothing more can come of this process.
    Dead,
}

/// What was asked of the agent and is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// `initialize`.
    Initialize,
    /// `session/new`, `session/load` or `session/resume`.
    Open {
        /// Whether it takes up an earlier conversation.
        resumed: bool,
    },
    /// A model or a mode before the first prompt.
    Setup(Choice),
    /// A request of no meaning, whose answer shows that all before it was answered.
    Barrier,
    /// `session/prompt`.
    Prompt,
    /// A model or a mode for the next prompts.
    Choose(Choice),
}

/// A model or a mode that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Choice {
    /// `model` or `mode`.
    pub(super) what: String,
    /// The chosen one.
    pub(super) value: String,
}

/// What of the start is still needed while the handshake goes on; dropped with it, because it may hold secrets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) cwd: String,
    pub(super) model: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) mcp_servers: Vec<Value>,
    pub(super) resume: Option<String>,
}

impl From<&StartOptions> for Start {
    fn from(options: &StartOptions) -> Self {
        Self {
            cwd: options.cwd.clone(),
            model: options.model.clone(),
            mode: options.mode.clone(),
            mcp_servers: options.mcp_servers.clone(),
            resume: options.resume.clone(),
        }
    }
}

/// What an agent's prompts may hold beside text and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Takes {
    pub(super) image: bool,
    pub(super) audio: bool,
    pub(super) resource: bool,
}

impl Default for Takes {
    /// Nothing is refused of which nothing is known.
    fn default() -> Self {
        Self { image: true, audio: true, resource: true }
    }
}

/// The adapter's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The id of the last request that was sent.
    pub(super) last_id: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) session_id: Option<String>,
    /// Whether the agent can take a conversation up again.
    #[serde(default)]
    pub(super) resumable: bool,
    /// What its prompts may hold beside text and links, as it announced.
    #[serde(default)]
    pub(super) takes: Takes,
    /// Names of the ways to log in that the agent offers, for the message of an authentication error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) auth_methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<Start>,
    /// What is still to be chosen before the first prompt, first last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) setup: Vec<Choice>,
    #[serde(default)]
    pub(super) model: Choices,
    #[serde(default)]
    pub(super) mode: Choices,
    /// Checksum of the configuration options last told of, so that an answer does not tell of them again.
    #[serde(default)]
    pub(super) told_options: u32,
    /// The mode last told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told_mode: Option<String>,
    /// Permission requests that wait: our id, and the agent's own as JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) permissions: BTreeMap<String, Value>,
    /// The session was loaded and no prompt was given since: the agent may still be repeating its history.
    #[serde(default)]
    pub(super) replaying: bool,
    /// Whether something was repeated since the last barrier.
    #[serde(default)]
    pub(super) replayed: bool,
    /// Barriers passed.
    #[serde(default)]
    pub(super) barriers: u32,
}
