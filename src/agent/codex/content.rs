//! Content blocks: ACP's to Codex's for a prompt, and those of tools to ACP's.

use agent_client_protocol_schema::v1::ContentBlock;
use serde_json::{Value, json};

/// A prompt's blocks in Codex's words. What Codex can't take is put into words.
pub(super) fn to_codex(blocks: &[Value]) -> Vec<Value> {
    let mut made: Vec<_> = blocks.iter().map(block_to_codex).collect();
    if made.is_empty() {
        made.push(said(""));
    }
    made
}

fn block_to_codex(block: &Value) -> Value {
    let word = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    match word("/type") {
        Some("text") => said(word("/text").unwrap_or_default()),
        Some("image") => match (word("/data"), word("/uri")) {
            (Some(data), _) if !data.is_empty() => image(word("/mimeType"), data),
            (_, Some(uri)) if uri.starts_with("http") || uri.starts_with("data:") => {
                json!({"type": "image", "url": uri})
            }
            _ => said(&format!("[an image at {}]", word("/uri").unwrap_or("an unknown place"))),
        },
        Some("resource_link") => {
            let (name, uri) = (word("/name").unwrap_or_default(), word("/uri").unwrap_or_default());
            said(&format!("[{name}]({uri})"))
        }
        Some("resource") => {
            let uri = word("/resource/uri").unwrap_or_default();
            match (word("/resource/text"), word("/resource/blob"), word("/resource/mimeType")) {
                (Some(content), ..) => said(&format!("<context ref=\"{uri}\">\n{content}\n</context>")),
                (None, Some(blob), Some(mime)) if mime.starts_with("image/") => image(Some(mime), blob),
                (None, _, mime) => said(&format!("[{uri}: {} that can't be shown]", mime.unwrap_or("binary data"))),
            }
        }
        other => said(&format!("[content of the kind {} that can't be shown]", other.unwrap_or("unknown"))),
    }
}

fn said(text: &str) -> Value {
    json!({"type": "text", "text": text, "text_elements": []})
}

fn image(mime: Option<&str>, data: &str) -> Value {
    json!({"type": "image", "url": format!("data:{};base64,{data}", mime.unwrap_or("image/png"))})
}

/// A text as content of a tool call.
pub(super) fn text(text: &str) -> Value {
    json!({"type": "content", "content": {"type": "text", "text": text}})
}

/// What a tool gave, as content of its call: blocks of MCP are those of ACP.
pub(super) fn blocks(list: &Value) -> Vec<Value> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter().map(block).collect()
}

fn block(item: &Value) -> Value {
    match item["type"].as_str() {
        Some("inputText") => return text(item["text"].as_str().unwrap_or_default()),
        Some("inputImage") => {
            if let Some((mime, data)) = item["imageUrl"].as_str().and_then(data_url) {
                return json!({"type": "content", "content": {"type": "image", "mimeType": mime, "data": data}});
            }
        }
        _ if serde_json::from_value::<ContentBlock>(item.clone()).is_ok() => {
            return json!({"type": "content", "content": item});
        }
        _ => {}
    }
    text(&item.to_string())
}

/// The kind and the bytes of a `data:` URL in base64.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_prompt_block_reaches_the_model() {
        let blocks = [
            json!({"type": "text", "text": "a"}),
            json!({"type": "image", "data": "AA==", "mimeType": "image/gif"}),
            json!({"type": "image", "data": "", "mimeType": "image/gif", "uri": "https://x/y.gif"}),
            json!({"type": "resource_link", "uri": "file:///x", "name": "x"}),
            json!({"type": "resource", "resource": {"uri": "file:///y", "text": "Y"}}),
            json!({"type": "resource", "resource": {"uri": "u", "blob": "AA==", "mimeType": "image/png"}}),
            json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"}),
        ];
        let text = |text: &str| json!({"type": "text", "text": text, "text_elements": []});
        assert_eq!(
            to_codex(&blocks),
            [
                text("a"),
                json!({"type": "image", "url": "data:image/gif;base64,AA=="}),
                json!({"type": "image", "url": "https://x/y.gif"}),
                text("[x](file:///x)"),
                text("<context ref=\"file:///y\">\nY\n</context>"),
                json!({"type": "image", "url": "data:image/png;base64,AA=="}),
                text("[content of the kind audio that can't be shown]"),
            ]
        );
        assert_eq!(to_codex(&[]), [text("")]);
    }

    #[test]
    fn outputs_of_tools_are_blocks_of_acp() {
        let list = json!([
            {"type": "text", "text": "a"},
            {"type": "inputText", "text": "b"},
            {"type": "inputImage", "imageUrl": "data:image/png;base64,AA=="},
            {"type": "new"},
        ]);
        let image = json!({"type": "content", "content": {"type": "image", "mimeType": "image/png", "data": "AA=="}});
        assert_eq!(blocks(&list), [text("a"), text("b"), image, text(r#"{"type":"new"}"#)]);
    }
}
