//! A prompt's content as it comes in: a text, or ACP content blocks.

use agent_client_protocol_schema::v1::ContentBlock;
use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};

use super::SessionError;

/// How many blocks a prompt may have.
const BLOCKS_MAX: usize = 256;

/// Checks a prompt's content and gives it as ACP content blocks, verbatim.
pub(super) fn blocks(content: Value) -> Result<Vec<Value>, SessionError> {
    let blocks = match content {
        Value::String(text) if text.trim().is_empty() => return Err(invalid("the text is empty")),
        Value::String(text) => return Ok(vec![json!({ "type": "text", "text": text })]),
        Value::Array(blocks) => blocks,
        _ => return Err(invalid("it must be a text or a list of ACP content blocks")),
    };
    if blocks.is_empty() {
        return Err(invalid("the list is empty"));
    }
    if blocks.len() > BLOCKS_MAX {
        return Err(invalid(&format!("it has {} blocks, and {BLOCKS_MAX} are the most", blocks.len())));
    }
    for (i, block) in blocks.iter().enumerate() {
        if let Err(e) = serde_json::from_value::<ContentBlock>(block.clone()) {
            return Err(invalid(&format!("block {i} is no ACP content block: {e}")));
        }
    }
    Ok(blocks)
}

fn invalid(message: &str) -> SessionError {
    SessionError::Invalid { field: "content", message: message.to_owned() }
}

/// What clients are told of it.
fn described() -> OneOfBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("\\S"));
    let kind = ObjectBuilder::new().schema_type(Type::String);
    let block = ObjectBuilder::new().property("type", kind).required("type").description(Some("An ACP ContentBlock."));
    let blocks = ArrayBuilder::new().items(block).min_items(Some(1)).max_items(Some(BLOCKS_MAX));
    OneOfBuilder::new().description(Some("A text, or ACP content blocks.")).item(text).item(blocks)
}

/// The schema of a prompt's content.
pub(super) fn schema() -> Schema {
    described().build().into()
}

/// The same where there need be none.
pub(super) fn no_or_schema() -> Schema {
    described().item(ObjectBuilder::new().schema_type(Type::Null)).build().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_text_or_acp_blocks_and_nothing_else() {
        assert_eq!(blocks(json!("hi")).unwrap(), [json!({"type": "text", "text": "hi"})]);
        let link = json!([{"type": "resource_link", "uri": "file:///x", "name": "x"}]);
        assert_eq!(blocks(link.clone()).unwrap(), *link.as_array().unwrap());
        for bad in [
            json!(""),
            json!(" \n"),
            json!([]),
            json!(5),
            json!({}),
            json!([1]),
            json!([{"type": "nope"}]),
            json!([{"type": "text"}]),
        ] {
            assert!(blocks(bad.clone()).is_err(), "{bad}");
        }
    }
}
