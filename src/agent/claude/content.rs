//! Content blocks: ACP's to Claude's for a prompt, Claude's to ACP's for a tool's output.

use serde_json::{Value, json};

/// A prompt's blocks in Claude's words. What Claude can't take is put into words.
pub(super) fn to_claude(blocks: &[Value]) -> Vec<Value> {
    let mut made: Vec<_> = blocks.iter().map(block_to_claude).collect();
    if made.is_empty() {
        made.push(text(""));
    }
    made
}

fn block_to_claude(block: &Value) -> Value {
    let word = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    match word("/type") {
        Some("text") => text(word("/text").unwrap_or_default()),
        Some("image") => match (word("/data"), word("/uri")) {
            (Some(data), _) if !data.is_empty() => image(word("/mimeType"), data),
            (_, Some(uri)) if uri.starts_with("http") => {
                json!({"type": "image", "source": {"type": "url", "url": uri}})
            }
            _ => text(&format!("[an image at {}]", word("/uri").unwrap_or("an unknown place"))),
        },
        Some("resource_link") => {
            let (name, uri) = (word("/name").unwrap_or_default(), word("/uri").unwrap_or_default());
            text(&format!("[{name}]({uri})"))
        }
        Some("resource") => resource(block),
        other => text(&format!("[content of the kind {} that can't be shown]", other.unwrap_or("unknown"))),
    }
}

fn resource(block: &Value) -> Value {
    let word = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    let uri = word("/resource/uri").unwrap_or_default();
    match (word("/resource/text"), word("/resource/blob"), word("/resource/mimeType")) {
        (Some(content), ..) => text(&format!("<context ref=\"{uri}\">\n{content}\n</context>")),
        (None, Some(blob), Some(mime)) if mime.starts_with("image/") => image(Some(mime), blob),
        (None, _, mime) => text(&format!("[{uri}: {} that can't be shown]", mime.unwrap_or("binary data"))),
    }
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn image(mime: Option<&str>, data: &str) -> Value {
    let source = json!({"type": "base64", "media_type": mime.unwrap_or("image/png"), "data": data});
    json!({"type": "image", "source": source})
}

/// A tool's output as ACP's tool call content.
pub(super) fn tool_output(content: &Value) -> Vec<Value> {
    let wrap = |block: Value| json!({"type": "content", "content": block});
    match content {
        Value::Null => Vec::new(),
        Value::String(output) => vec![wrap(text(output))],
        Value::Array(blocks) => blocks.iter().map(|block| wrap(block_from_claude(block))).collect(),
        other => vec![wrap(text(&other.to_string()))],
    }
}

fn block_from_claude(block: &Value) -> Value {
    let word = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    match (word("/type"), word("/text"), word("/source/data")) {
        (Some("text"), Some(output), _) => text(output),
        (Some("image"), _, Some(data)) => {
            json!({"type": "image", "data": data, "mimeType": word("/source/media_type").unwrap_or("image/png")})
        }
        (Some("tool_reference"), ..) => text(word("/tool_name").unwrap_or_default()),
        (Some("web_search_result"), ..) => {
            text(&format!("[{}]({})", word("/title").unwrap_or_default(), word("/url").unwrap_or_default()))
        }
        _ => text(&block.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_prompt_block_reaches_the_model() {
        let blocks = [
            json!({"type": "text", "text": "a"}),
            json!({"type": "image", "data": "AA==", "mimeType": "image/gif"}),
            json!({"type": "resource_link", "uri": "file:///x", "name": "x"}),
            json!({"type": "resource", "resource": {"uri": "file:///y", "text": "Y"}}),
            json!({"type": "resource", "resource": {"uri": "u", "blob": "AA==", "mimeType": "image/png"}}),
            json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"}),
        ];
        assert_eq!(
            json!(to_claude(&blocks)),
            json!([
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AA=="}},
                {"type": "text", "text": "[x](file:///x)"},
                {"type": "text", "text": "<context ref=\"file:///y\">\nY\n</context>"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                {"type": "text", "text": "[content of the kind audio that can't be shown]"},
            ])
        );
    }

    #[test]
    fn outputs_of_tools_are_text_or_images() {
        let content = json!([
            {"type": "text", "text": "out"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        ]);
        assert_eq!(
            json!(tool_output(&content)),
            json!([
                {"type": "content", "content": {"type": "text", "text": "out"}},
                {"type": "content", "content": {"type": "image", "data": "AA==", "mimeType": "image/png"}},
            ])
        );
        assert_eq!(
            json!(tool_output(&json!("x"))),
            json!([{"type": "content", "content": {"type": "text", "text": "x"}}])
        );
    }
}
