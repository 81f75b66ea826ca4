//! JSON-RPC messages of an ACP agent, read without copying what is passed on.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::SessionUpdate;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::agent::outputs::{LONGEST_ID, clip};

/// One line of the agent.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A JSON-RPC error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Value,
}

/// The error code of ACP for a missing login.
const AUTH_REQUIRED: i64 = -32000;

impl<'a> Message<'a> {
    /// Reads a line; `None` if it is no JSON object.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The id, if it is of a sensible kind and size.
    pub(super) fn id(&self) -> Option<Value> {
        let raw = self.id?.get();
        if raw.len() > LONGEST_ID {
            return None;
        }
        serde_json::from_str(raw).ok().filter(|id: &Value| id.is_number() || id.is_string())
    }

    /// What a response says.
    pub(super) fn outcome(&self) -> Result<Value, RpcError> {
        match (self.error, self.result) {
            (Some(error), _) => Err(serde_json::from_str(error.get())
                .unwrap_or_else(|_| RpcError { message: clip(error.get(), 500).to_owned(), ..RpcError::default() })),
            (None, Some(result)) => Ok(serde_json::from_str(result.get()).unwrap_or_default()),
            (None, None) => Ok(Value::Null),
        }
    }
}

impl RpcError {
    /// Whether a login is missing.
    pub(super) const fn is_auth(&self) -> bool {
        self.code == AUTH_REQUIRED
    }

    /// The message for people, with what the data adds to it.
    pub(super) fn text(&self) -> String {
        let detail = match &self.data {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Object(data) => ["details", "message", "error", "reason"]
                .iter()
                .find_map(|key| data.get(*key).and_then(Value::as_str).map(str::to_owned))
                .or_else(|| (!data.is_empty()).then(|| self.data.to_string())),
            other => Some(other.to_string()),
        };
        let message = if self.message.is_empty() { "the agent answered with an error" } else { &self.message };
        match detail {
            Some(detail) if !message.contains(&detail) => format!("{}: {}", clip(message, 2000), clip(&detail, 2000)),
            _ => clip(message, 2000).to_owned(),
        }
    }

    /// The model API's status, where the data names one.
    pub(super) fn status(&self) -> Option<u16> {
        let places = ["/status", "/statusCode", "/status_code", "/error/status", "/data/statusCode", "/data/status"];
        let found = places.iter().find_map(|place| self.data.pointer(place).and_then(Value::as_u64));
        found.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status))
    }
}

/// A `session/update`.
pub(super) struct Update<'a> {
    /// The session that it is about.
    pub(super) session: Cow<'a, str>,
    /// The update, as the agent wrote it.
    pub(super) raw: &'a RawValue,
    /// What it says.
    pub(super) parsed: SessionUpdate,
    /// Whether it tells of the conversation, and not of what may be chosen.
    pub(super) conversation: bool,
}

/// Reads the parameters of a `session/update`; `None` if they are not what ACP says.
pub(super) fn update(params: &RawValue) -> Option<Update<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params<'a> {
        #[serde(borrow)]
        session_id: Cow<'a, str>,
        #[serde(borrow)]
        update: &'a RawValue,
    }
    let params: Params<'_> = serde_json::from_str(params.get()).ok()?;
    let parsed: SessionUpdate = serde_json::from_str(params.update.get()).ok()?;
    let conversation = matches!(
        parsed,
        SessionUpdate::UserMessageChunk(_)
            | SessionUpdate::AgentMessageChunk(_)
            | SessionUpdate::AgentThoughtChunk(_)
            | SessionUpdate::ToolCall(_)
            | SessionUpdate::ToolCallUpdate(_)
            | SessionUpdate::Plan(_)
    );
    Some(Update { session: params.session_id, raw: params.update, parsed, conversation })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(data: Value) -> RpcError {
        RpcError { code: -32603, message: "Internal error".into(), data }
    }

    #[test]
    fn an_error_tells_all_it_knows() {
        assert_eq!(error(Value::Null).text(), "Internal error");
        assert_eq!(error(json!("no disk")).text(), "Internal error: no disk");
        assert_eq!(error(json!({"details": "no disk", "x": 1})).text(), "Internal error: no disk");
        assert_eq!(error(json!({"service": "s"})).text(), r#"Internal error: {"service":"s"}"#);
        assert_eq!(error(json!({"details": "Internal error"})).text(), "Internal error");
        assert_eq!(error(json!({"status": 429})).status(), Some(429));
        assert_eq!(error(json!({"status": 4})).status(), None);
    }

    #[test]
    fn ids_are_numbers_or_strings_of_sensible_size() {
        let id = |line: &str| Message::parse(line.as_bytes()).unwrap().id();
        assert_eq!(id(r#"{"id":7}"#), Some(json!(7)));
        assert_eq!(id(r#"{"id":"a"}"#), Some(json!("a")));
        assert_eq!(id(r#"{"id":[1]}"#), None);
        assert_eq!(id(&format!(r#"{{"id":"{}"}}"#, "x".repeat(300))), None);
    }
}
