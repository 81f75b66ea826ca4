//! A permission request of an agent, and what became of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PromptNumber, Timestamp};

/// What choosing an option means: ACP's `PermissionOptionKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionOptionKind {
    /// This once.
    AllowOnce,
    /// This and all alike.
    AllowAlways,
    /// Not this once.
    RejectOnce,
    /// Never.
    RejectAlways,
}

/// An option that the agent offers: ACP's `PermissionOption`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// The agent's own id of the option.
    pub option_id: String,
    /// A label for people.
    pub name: String,
    /// What it means.
    pub kind: PermissionOptionKind,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionState {
    /// The agent waits for an answer.
    Pending,
    /// An option was chosen.
    Answered,
    /// The turn or the agent ended before an answer came.
    Withdrawn,
}

/// A permission request of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PermissionRecord {
    /// Unique within the session.
    pub id: String,
    /// The turn's prompt.
    pub prompt: Option<PromptNumber>,
    /// When it was asked.
    pub time: Timestamp,
    /// ACP's `ToolCallUpdate`: what the agent wants to do.
    #[schema(value_type = Object)]
    pub tool_call: serde_json::Value,
    /// What may be answered.
    pub options: Vec<PermissionOption>,
    /// Where it stands.
    pub state: PermissionState,
    /// The chosen option, once it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_id: Option<String>,
}
