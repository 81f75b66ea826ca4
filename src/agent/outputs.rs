//! What all adapters need to say things: updates as raw JSON, bounded words, and lines given back whole.

use serde_json::{Value, value::RawValue};

use super::adapter::{Output, TurnEnd};
use crate::domain::TurnError;

/// The longest id of an agent that is kept, in bytes; nothing real comes near it.
pub(super) const LONGEST_ID: usize = 256;

/// The most permission requests that wait at the same time.
pub(super) const MOST_PERMISSIONS: usize = 64;

/// An update made by an adapter.
pub(super) fn update(value: &Value) -> Option<Output> {
    serde_json::value::to_raw_value(value).ok().map(Output::Update)
}

/// An update of an agent's own words. Between tokens JSON allows carriage returns, but they would cut an event in
/// two for subscribers, and within strings they can't stand.
pub(super) fn verbatim(raw: &RawValue) -> Option<Output> {
    let text = raw.get();
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], " ") } else { text.to_owned() };
    RawValue::from_string(text).ok().map(Output::Update)
}

/// A line that is not understood, whole.
pub(super) fn unparsed(line: &[u8]) -> Output {
    Output::Unparsed { line: String::from_utf8_lossy(line).into_owned() }
}

/// A line to the agent.
pub(super) fn send(message: &Value) -> Output {
    Output::Send(format!("{message}\n"))
}

/// A turn that failed.
pub(super) fn failed(message: String, status: Option<u16>) -> Output {
    Output::TurnEnded(TurnEnd { error: Some(TurnError { message, status }), ..TurnEnd::default() })
}

/// A name for a JSON-RPC request that no other request has: a string that looks like a number keeps its quotes.
pub(super) fn permission_id(rpc_id: &Value) -> String {
    match rpc_id.as_str() {
        Some(text) if !text.is_empty() && text.parse::<f64>().is_err() && !text.starts_with('"') => text.to_owned(),
        _ => rpc_id.to_string(),
    }
}

/// At most `most` bytes of a text, cut at a character.
pub(super) fn clip(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn permission_ids_never_meet() {
        assert_eq!(permission_id(&json!(4)), "4");
        assert_eq!(permission_id(&json!("4")), "\"4\"");
        assert_eq!(permission_id(&json!("a-b")), "a-b");
        assert_eq!(permission_id(&json!("\"4\"")), "\"\\\"4\\\"\"");
    }

    #[test]
    fn a_verbatim_update_has_no_line_breaks_and_is_otherwise_untouched() {
        let raw = RawValue::from_string("{\"a\":\r1.50,\n\"b\":\"x\\r\"}".to_owned()).unwrap();
        let Some(Output::Update(raw)) = verbatim(&raw) else { panic!() };
        assert_eq!(raw.get(), "{\"a\": 1.50, \"b\":\"x\\r\"}");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
    }
}
