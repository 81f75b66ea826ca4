//! A prompt: a user message, accepted durably, run in order, and how its turn ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PromptNumber, Timestamp};

/// What to do with a prompt that finds the session busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// Wait behind the others.
    #[default]
    Queue,
    /// Refuse with 409 `session_busy`.
    Reject,
    /// Cancel the running turn, then run this one.
    Interrupt,
}

/// Where a prompt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptState {
    /// Accepted, not yet given to the agent.
    Pending,
    /// Given to the agent: its turn runs.
    Delivered,
    /// Its turn ended by the agent's own word.
    Done,
    /// Its turn ended in an error.
    Failed,
    /// Withdrawn, or its turn was cancelled.
    Cancelled,
    /// It was given to an agent that then was lost: what became of it can't be known.
    Unknown,
}

impl PromptState {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Delivered)
    }
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnError {
    /// For people.
    pub message: String,
    /// The model API's HTTP status, where the agent told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A prompt of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PromptRecord {
    /// Its number in the session, from 1.
    pub id: PromptNumber,
    /// Its turn.
    pub turn: String,
    /// When it was accepted.
    pub time: Timestamp,
    /// ACP content blocks.
    #[schema(value_type = Vec<Object>)]
    pub content: Vec<serde_json::Value>,
    /// Where it stands.
    pub state: PromptState,
    /// How often it was handed to an agent process.
    pub attempts: u32,
    /// The `Idempotency-Key` that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When its turn began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// ACP's stop reason, when the agent gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
    /// What the agent reported of its use, in ACP's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub usage: Option<serde_json::Value>,
}

impl PromptRecord {
    /// The name of prompt `n`'s turn.
    #[must_use]
    pub fn turn_name(n: PromptNumber) -> String {
        format!("turn_{n}")
    }
}
