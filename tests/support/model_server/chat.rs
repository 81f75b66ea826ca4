//! The answer as OpenAI's chat completions give it, streamed or whole.

use std::io;

use serde_json::{Value, json};

use super::{
    ask::{Ask, tokens},
    http::Connection,
    plan::Step,
    server::new_id,
};

/// A completion under way.
struct Completion<'a> {
    connection: &'a mut Connection,
    stream: bool,
    id: String,
    model: &'a str,
    text: String,
    thought: String,
    calls: Vec<Value>,
}

/// Sends the answer; fails when the client has gone away.
pub(super) fn answer(connection: &mut Connection, ask: &Ask, steps: &[Step]) -> io::Result<()> {
    if ask.stream {
        connection.stream()?;
    }
    let (text, thought) = (String::new(), String::new());
    let id = new_id("chatcmpl-");
    let mut completion =
        Completion { connection, stream: ask.stream, id, model: &ask.model, text, thought, calls: Vec::new() };
    completion.chunk(&json!({"role": "assistant", "content": ""}), None)?;
    for step in steps {
        completion.step(step)?;
    }
    completion.finish(ask)
}

impl Completion<'_> {
    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Text(text) => {
                self.text.push_str(text);
                self.chunk(&json!({"content": text}), None)
            }
            // OpenAI shows no thoughts here; those who do have settled on this name.
            Step::Think(text) => {
                self.thought.push_str(text);
                self.chunk(&json!({"reasoning_content": text}), None)
            }
            Step::Tool { name, input } => {
                let function = json!({"name": name, "arguments": input.to_string()});
                let mut call = json!({"id": new_id("call_"), "type": "function", "function": function});
                self.calls.push(call.clone());
                call["index"] = (self.calls.len() - 1).into();
                self.chunk(&json!({"tool_calls": [call]}), None)
            }
            Step::Wait(time) => self.connection.wait(*time),
            // An error is an answer of its own, sent before it comes to this; and this API compacts nothing.
            Step::Fail { .. } | Step::Compaction => Ok(()),
        }
    }

    /// What every document of the answer begins with.
    fn head(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": 0, "model": self.model})
    }

    fn chunk(&mut self, delta: &Value, finish: Option<&str>) -> io::Result<()> {
        if !self.stream {
            return Ok(());
        }
        let mut chunk = self.head("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        self.connection.event(&chunk)
    }

    fn finish(mut self, ask: &Ask) -> io::Result<()> {
        let output: usize = [&self.text, &self.thought].map(|text| tokens(text)).iter().sum();
        let usage = json!({"prompt_tokens": ask.size, "completion_tokens": output, "total_tokens": ask.size + output});
        let finish = if self.calls.is_empty() { "stop" } else { "tool_calls" };
        if self.stream {
            self.chunk(&json!({}), Some(finish))?;
            let mut last = self.head("chat.completion.chunk");
            last["choices"] = json!([]);
            last["usage"] = usage;
            self.connection.event(&last)?;
            self.connection.done()?;
            return self.connection.end();
        }
        let mut whole = self.head("chat.completion");
        let content = if self.text.is_empty() { Value::Null } else { self.text.into() };
        let mut message = json!({"role": "assistant", "content": content});
        if !self.thought.is_empty() {
            message["reasoning_content"] = self.thought.into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
        }
        whole["choices"] = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        whole["usage"] = usage;
        self.connection.json(200, &whole)
    }
}
