//! Codex's errors for people, with the model API's status where it can be told.

use serde_json::Value;

use crate::{agent::outputs::clip, domain::TurnError};

/// The longest message, in bytes.
const LONGEST: usize = 4000;

/// An error that answers a request.
#[derive(Clone, Debug)]
pub(super) struct RpcError(String);

impl RpcError {
    /// The error of an answer, if it is one.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let error = answer.get("error").filter(|error| !error.is_null())?;
        let message = error["message"].as_str().filter(|message| !message.is_empty());
        Some(Self(clip(message.unwrap_or("it gave no reason"), LONGEST).to_owned()))
    }

    /// In Codex's words.
    pub(super) fn text(self) -> String {
        self.0
    }
}

/// A `TurnError` of Codex.
pub(super) fn of_turn(error: &Value) -> TurnError {
    let text = error["message"].as_str().unwrap_or_default();
    // What the API answered comes whole, as JSON in the message.
    let body: Value = serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_default();
    let inner = body["error"]["message"].as_str().or_else(|| body["message"].as_str());
    let mut message = inner.unwrap_or(text).to_owned();
    if message.is_empty() {
        "the agent gave no reason".clone_into(&mut message);
    }
    if let Some(details) = error["additionalDetails"].as_str().filter(|details| !message.contains(*details)) {
        message = format!("{message}: {details}");
    }
    let status = status_of_info(&error["codexErrorInfo"])
        .or_else(|| status_of_body(&body))
        .or_else(|| status_in_words(&message))
        .or_else(|| named(error["codexErrorInfo"].as_str()?));
    TurnError { message: clip(&message, LONGEST).to_owned(), status }
}

fn http(status: u64) -> Option<u16> {
    u16::try_from(status).ok().filter(|status| (400..600).contains(status))
}

/// The status that comes with some kinds of error.
fn status_of_info(info: &Value) -> Option<u16> {
    info.as_object()?.values().find_map(|details| http(details["httpStatusCode"].as_u64()?))
}

/// The status in the API's own answer.
fn status_of_body(body: &Value) -> Option<u16> {
    let places = ["/status", "/error/status", "/error/code", "/error/status_code"];
    places
        .iter()
        .find_map(|place| http(body.pointer(place)?.as_u64()?))
        .or_else(|| (body.pointer("/error/type").is_some_and(|kind| kind == "invalid_request_error")).then_some(400))
}

/// The status in "unexpected status 404 Not Found".
fn status_in_words(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once("status")?;
    let digits = rest.trim_start_matches([' ', ':']);
    http(digits.get(..3)?.parse().ok()?)
}

/// The status that a kind of error stands for.
fn named(info: &str) -> Option<u16> {
    match info {
        "badRequest" | "contextWindowExceeded" => Some(400),
        "unauthorized" => Some(401),
        "modelNotFound" => Some(404),
        "usageLimitExceeded" | "rateLimitExceeded" => Some(429),
        "internalServerError" => Some(500),
        "serverOverloaded" => Some(503),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(message: &str, info: &Value) -> (String, Option<u16>) {
        let error = of_turn(&json!({"message": message, "codexErrorInfo": info, "additionalDetails": null}));
        (error.message, error.status)
    }

    #[test]
    fn the_status_is_found_wherever_it_is() {
        let attempts = json!({"responseTooManyFailedAttempts": {"httpStatusCode": 429}});
        assert_eq!(told("exceeded", &attempts), ("exceeded".into(), Some(429)));
        assert_eq!(told("high demand", &json!("internalServerError")), ("high demand".into(), Some(500)));
        let body = r#"{"type": "error", "error": {"type": "invalid_request_error", "message": "bad", "code": null}}"#;
        assert_eq!(told(body, &json!("other")), ("bad".into(), Some(400)));
        let body = r#"{"error": {"message": "bad", "code": 422}}"#;
        assert_eq!(told(body, &json!("other")), ("bad".into(), Some(422)));
        assert_eq!(told("unexpected status 404 Not Found", &json!("other")).1, Some(404));
        assert_eq!(told("last status: 503 x", &Value::Null).1, Some(503));
        assert_eq!(told("status é", &Value::Null).1, None);
        let missing = "Missing environment variable: `OPENAI_API_KEY`.";
        assert_eq!(told(missing, &json!("other")), (missing.into(), None));
        assert_eq!(told("", &Value::Null), ("the agent gave no reason".into(), None));
    }

    #[test]
    fn an_answer_without_an_error_is_none() {
        assert!(RpcError::of(&json!({"id": 1, "result": {}})).is_none());
        assert!(RpcError::of(&json!({"id": 1, "error": null})).is_none());
        assert_eq!(RpcError::of(&json!({"error": {"code": 1, "message": "no"}})).unwrap().text(), "no");
        assert_eq!(RpcError::of(&json!({"error": 7})).unwrap().text(), "it gave no reason");
    }
}
