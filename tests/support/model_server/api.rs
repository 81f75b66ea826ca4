//! The APIs that the server speaks, and what they have in common: a request is understood, planned and answered.

use std::io;

use serde_json::{Value, json};

use super::{ask::Ask, chat, http::Connection, messages, plan::Step, responses};

/// One API, by its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Anthropic's `POST /v1/messages`.
    Anthropic,
    /// OpenAI's `POST /v1/responses`.
    Responses,
    /// OpenAI's `POST /v1/chat/completions`, which many others speak too.
    Chat,
}

impl Api {
    /// The API that a route belongs to, whatever follows below it.
    pub(super) fn of(path: &str) -> Option<Self> {
        let below = |route: &str| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below("/v1/messages") {
            Some(Self::Anthropic)
        } else if below("/v1/responses") {
            Some(Self::Responses)
        } else if below("/v1/chat/completions") {
            Some(Self::Chat)
        } else {
            None
        }
    }

    /// Whether the route is the one that asks the model.
    pub(super) fn is_asked(path: &str) -> bool {
        matches!(path, "/v1/messages" | "/v1/responses" | "/v1/chat/completions")
    }

    /// Its name in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Responses => "responses",
            Self::Chat => "chat",
        }
    }

    /// What a body asks.
    pub(super) fn understand(self, body: &Value) -> Ask {
        match self {
            Self::Anthropic => Ask::anthropic(body),
            Self::Responses => Ask::responses(body),
            Self::Chat => Ask::chat(body),
        }
    }

    /// Sends the answer; fails when the client has gone away.
    pub(super) fn answer(self, connection: &mut Connection, ask: &Ask, steps: &[Step]) -> io::Result<()> {
        if let [Step::Fail { status, message }] = steps {
            return self.fail(connection, *status, message);
        }
        match self {
            Self::Anthropic => messages::answer(connection, ask, steps),
            Self::Responses => responses::answer(connection, ask, steps),
            Self::Chat => chat::answer(connection, ask, steps),
        }
    }

    /// Answers with an error of the API.
    pub(super) fn fail(self, connection: &mut Connection, status: u16, message: &str) -> io::Result<()> {
        let kind = match status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        let error = match self {
            Self::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
            Self::Responses | Self::Chat => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
            }
        };
        connection.json(status, &error)
    }
}
