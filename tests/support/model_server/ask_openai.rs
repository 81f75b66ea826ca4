//! What an agent asked through OpenAI's APIs: Responses and chat completions.

use serde_json::Value;

use super::ask::{Ask, Form, pick, texts};

/// What the title requests of agents say of themselves, and no turn does.
const TITLES: [&str; 3] = ["title generator", "Generate a title", "Generate a brief title"];

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Ask {
    /// Understands the body of OpenAI's `POST /v1/responses`.
    pub(super) fn responses(body: &Value) -> Self {
        let mut ask = Self::of(body);
        items(&body["tools"]).iter().for_each(|tool| ask.offer(tool));
        if let Some(text) = body["input"].as_str() {
            ask.user(text.to_owned());
        }
        for item in items(&body["input"]) {
            match item["type"].as_str().unwrap_or("message") {
                // The newest models of Codex are offered tools in the conversation, some of them in a namespace.
                "additional_tools" => {
                    let tools = items(&item["tools"]).iter();
                    tools.for_each(|tool| match items(&tool["tools"]) {
                        [] => ask.offer(tool),
                        inner => inner.iter().for_each(|tool| ask.offer(tool)),
                    });
                }
                "compaction_trigger" => ask.compaction = true,
                "message" if item["role"] == "user" => {
                    if let Some(text) = pick(&texts(&item["content"])) {
                        ask.user(text);
                    }
                }
                "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                    let output = &item["output"];
                    let output = output.get("content").unwrap_or(output);
                    ask.tool_output = Some(texts(output).join("\n"));
                }
                _ => {}
            }
        }
        ask.aside = ask.is_aside(body["instructions"].as_str().unwrap_or_default());
        ask
    }

    /// Understands the body of OpenAI's `POST /v1/chat/completions`.
    pub(super) fn chat(body: &Value) -> Self {
        let mut ask = Self::of(body);
        items(&body["tools"]).iter().for_each(|tool| ask.offer(tool.get("function").unwrap_or(tool)));
        let mut instructions = String::new();
        for message in items(&body["messages"]) {
            let texts = texts(&message["content"]);
            match message["role"].as_str().unwrap_or_default() {
                "user" => {
                    if let Some(text) = pick(&texts) {
                        ask.user(text);
                    }
                }
                "tool" => ask.tool_output = Some(texts.join("\n")),
                "system" | "developer" => instructions.push_str(&texts.join("\n")),
                _ => {}
            }
        }
        ask.aside = ask.is_aside(&instructions);
        ask
    }

    fn offer(&mut self, tool: &Value) {
        let form = if tool["type"] == "custom" { Form::Text } else { Form::Json };
        if let Some(name) = tool["name"].as_str().or_else(|| tool["type"].as_str()) {
            self.tools.insert(name.to_owned(), form);
        }
    }

    fn is_aside(&self, instructions: &str) -> bool {
        self.tools.is_empty() && TITLES.iter().any(|title| instructions.contains(title))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn responses_have_their_turns_in_items() {
        let mut input = vec![
            json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "say wrong"}]}),
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>x"}]}),
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say one"}]}),
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]}),
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "run pwd"}]}),
            json!({"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}"}),
            json!({"type": "function_call_output", "call_id": "c", "output": "/workspace"}),
        ];
        let tools = json!([{"type": "function", "name": "shell"}, {"type": "custom", "name": "apply_patch"},
                           {"type": "local_shell"}]);
        let ask = Ask::responses(&json!({"model": "m", "stream": true, "tools": tools, "input": input}));
        assert_eq!((ask.text.as_str(), ask.turns, ask.model.as_str(), ask.stream), ("run pwd", 2, "m", true));
        assert_eq!(ask.tool_output.as_deref(), Some("/workspace"));
        let forms: Vec<_> = ask.tools.iter().map(|(name, form)| (name.as_str(), *form)).collect();
        assert_eq!(forms, [("apply_patch", Form::Text), ("local_shell", Form::Json), ("shell", Form::Json)]);
        input.push(json!({"role": "user", "content": "count?"}));
        let ask = Ask::responses(&json!({"input": input}));
        assert_eq!((ask.text.as_str(), ask.turns, ask.tool_output), ("count?", 3, None));
    }

    #[test]
    fn tools_may_come_in_the_conversation() {
        let added = json!({"type": "additional_tools", "tools": [
            {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]},
            {"type": "function", "name": "wait"},
        ]});
        let ask = Ask::responses(&json!({"input": [added]}));
        assert_eq!(ask.tools.get("exec"), Some(&Form::Text));
        assert_eq!(ask.tools.get("wait"), Some(&Form::Json));
    }

    #[test]
    fn chat_has_its_turns_in_messages_and_titles_are_told_apart() {
        let messages = json!([
            {"role": "system", "content": "You are an agent"},
            {"role": "user", "content": [{"type": "text", "text": "run pwd"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "bash", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "/workspace"},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "bash"}}]);
        let ask = Ask::chat(&json!({"tools": tools, "messages": messages}));
        assert_eq!((ask.text.as_str(), ask.tool_output.as_deref(), ask.turns), ("run pwd", Some("/workspace"), 1));
        assert!(ask.tools.contains_key("bash") && !ask.aside);
        let title =
            json!([{"role": "system", "content": "You are a title generator."}, {"role": "user", "content": "hang 9"}]);
        assert!(Ask::chat(&json!({"messages": title})).aside);
    }
}
