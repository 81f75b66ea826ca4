//! Everything that the adapter of Codex knows of its process; all of it bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::adapter::StartOptions,
    domain::{PermissionPolicy, TurnError},
};

/// The most tool calls, texts and sub-agents that are followed at the same time; the oldest is forgotten beyond.
pub(super) const MOST_TOOLS: usize = 64;
const MOST_STREAMS: usize = 32;
const MOST_OTHERS: usize = 16;

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
    /// The turn was interrupted; what it left running is being ended.
    Cleaning,
    /// Nothing more can come of this process.
    Dead,
}

/// What was asked of Codex and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// `initialize`.
    Initialize,
    /// `account/read`, part of the handshake.
    Account,
    /// `thread/start` or `thread/resume`.
    Open,
    /// `model/list`.
    Models,
    /// `turn/start`.
    Turn,
    /// `turn/interrupt` of the prompt's turn.
    Interrupt,
    /// `thread/backgroundTerminals/clean` after an interrupt.
    Clean,
    /// One whose answer says nothing.
    Other,
}

/// The turn that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Turn {
    /// Codex's id of it, once it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Codex has begun it: before that it can't be interrupted.
    pub(super) started: bool,
    /// It was asked to end.
    pub(super) cancelling: bool,
    /// An interrupt is on its way.
    pub(super) interrupting: bool,
    /// How many interrupts were refused.
    pub(super) refused: u32,
    /// The conversation's use before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Tokens>,
    /// The last error that was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<TurnError>,
}

/// Counts of tokens, in Codex's sense: the cached ones are part of the input, the thoughts part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tokens {
    pub(super) total_tokens: u64,
    pub(super) input_tokens: u64,
    pub(super) cached_input_tokens: u64,
    pub(super) cache_write_input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) reasoning_output_tokens: u64,
}

impl Tokens {
    /// What was used since an earlier count.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            total_tokens: self.total_tokens.saturating_sub(before.total_tokens),
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_sub(before.cached_input_tokens),
            cache_write_input_tokens: self.cache_write_input_tokens.saturating_sub(before.cache_write_input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            reasoning_output_tokens: self.reasoning_output_tokens.saturating_sub(before.reasoning_output_tokens),
        }
    }
}

/// What an answer to a permission request looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A command or a change of files.
    Action,
    /// The same in the words of older versions.
    Legacy,
    /// A wider set of permissions.
    Profile,
    /// A tool of an MCP server, or a question of one that only wants a yes.
    Elicitation,
}

/// A permission request that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Permission {
    /// Codex's id of the request.
    pub(super) rpc_id: Value,
    pub(super) kind: Kind,
    /// The permissions that would be given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) profile: Value,
}

/// A tool call without an end so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tool {
    pub(super) id: String,
    /// It may outlive its turn: a command in the background.
    pub(super) lasting: bool,
    /// Its end was told, though Codex may still tell it.
    pub(super) closed: bool,
    /// The MCP server, whose requests do not name the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    /// What was told of it, for a permission request that does not repeat it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<Value>,
}

/// A text that is being streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) id: String,
    /// How many bytes of it were told.
    pub(super) length: usize,
}

/// What of the start is still needed while the handshake goes on; dropped with it, because it may hold secrets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) cwd: String,
    pub(super) model: Option<String>,
    pub(super) mcp_servers: Vec<Value>,
    pub(super) resume: Option<String>,
}

/// The adapter's state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The id of the last request that was sent.
    pub(super) last_id: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) calls: BTreeMap<u64, Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Start>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thread: Option<String>,
    /// Whether the thread's id was told: Codex can resume it.
    pub(super) linked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// The approval policy.
    pub(super) mode: String,
    /// Whether a client chose it; else it follows the session's policy for permissions.
    pub(super) mode_chosen: bool,
    /// Model or mode were changed since the last turn began.
    pub(super) changed: bool,
    pub(super) turn: Turn,
    /// What the conversation has used so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) used: Option<Tokens>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) permissions: BTreeMap<String, Permission>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) streams: Vec<Stream>,
    /// The running turns of sub-agents, by thread.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) others: BTreeMap<String, String>,
}

impl State {
    /// The state of a process that is about to be started.
    pub(super) fn new(options: &StartOptions) -> Self {
        let start = Start {
            cwd: options.cwd.clone(),
            model: options.model.clone(),
            mcp_servers: options.mcp_servers.clone(),
            resume: options.resume.clone(),
        };
        let mode = options.mode.clone().unwrap_or_else(|| asking(options.permissions).to_owned());
        Self { start: Some(start), mode, mode_chosen: options.mode.is_some(), ..Self::default() }
    }

    pub(super) fn tool(&mut self, id: &str) -> Option<&mut Tool> {
        self.tools.iter_mut().find(|tool| tool.id == id)
    }

    pub(super) fn keep_tool(&mut self, tool: Tool) {
        if tool.shown.is_some() {
            // One at a time: they are the only part of the state that may be large.
            self.tools.iter_mut().for_each(|other| other.shown = None);
        }
        if self.tools.len() >= MOST_TOOLS {
            self.tools.remove(0);
        }
        self.tools.push(tool);
    }

    /// Counts what was told of a text.
    pub(super) fn streamed(&mut self, id: &str, length: usize) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.length = stream.length.saturating_add(length);
            return;
        }
        if self.streams.len() >= MOST_STREAMS {
            self.streams.remove(0);
        }
        self.streams.push(Stream { id: id.to_owned(), length });
    }

    /// A turn of a sub-agent has begun.
    pub(super) fn keep_other(&mut self, thread: &str, turn: &str) {
        if self.others.len() < MOST_OTHERS || self.others.contains_key(thread) {
            self.others.insert(thread.to_owned(), turn.to_owned());
        }
    }
}

/// The approval policy that a session's policy stands for: what is allowed anyway need not be asked.
pub(super) fn asking(permissions: PermissionPolicy) -> &'static str {
    if permissions == PermissionPolicy::Allow { "never" } else { "untrusted" }
}
