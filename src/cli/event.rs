//! Events as a client reads them: only what is shown is looked at, so that a newer daemon's events are no error.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::{PermissionOption, PromptNumber, PromptState, Timestamp, TurnError};

/// One entry of a session's log.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    pub(super) seq: u64,
    pub(super) session: String,
    #[serde(default)]
    pub(super) turn: Option<String>,
    pub(super) time: Timestamp,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) data: Value,
    /// As it came.
    #[serde(skip)]
    pub(super) raw: String,
}

/// `turn.ended`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TurnEnded {
    pub(super) prompt: PromptNumber,
    pub(super) status: PromptState,
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) error: Option<TurnError>,
}

/// `permission.requested`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PermissionRequested {
    pub(super) id: String,
    #[serde(default)]
    pub(super) tool_call: Value,
    #[serde(default)]
    pub(super) options: Vec<PermissionOption>,
}

impl Event {
    /// Reads one.
    pub(super) fn parse(json: String) -> Result<Self, String> {
        let mut event: Self = serde_json::from_str(&json).map_err(|e| format!("an event can't be read: {e}"))?;
        event.raw = json;
        Ok(event)
    }

    /// Its data as what its type says.
    pub(super) fn data<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.data).ok()
    }

    /// The end of this prompt's turn.
    pub(super) fn ends(&self, prompt: PromptNumber) -> Option<TurnEnded> {
        if self.kind != "turn.ended" {
            return None;
        }
        self.data::<TurnEnded>().filter(|ended| ended.prompt == prompt)
    }

    /// The number of a prompt in its data.
    pub(super) fn prompt(&self) -> Option<PromptNumber> {
        self.data.get("prompt")?.as_u64()
    }
}

/// What a tool call is about, in a few words.
pub(super) fn tool_title(tool_call: &Value) -> String {
    let text = |key: &str| tool_call.get(key).and_then(Value::as_str);
    let input = tool_call.get("rawInput").and_then(|input| input.get("command")).and_then(Value::as_str);
    match (text("title"), input) {
        (Some(title), Some(command)) if !title.contains(command) => format!("{title}: {command}"),
        (Some(title), _) => title.to_owned(),
        (None, Some(command)) => command.to_owned(),
        (None, None) => text("kind").or(text("toolCallId")).unwrap_or("a tool call").to_owned(),
    }
}
