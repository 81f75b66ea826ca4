//! The answer as Anthropic's Messages API gives it, streamed or whole.

use std::io;

use serde_json::{Value, json};

use super::{
    ask::{Ask, tokens},
    http::Connection,
    plan::Step,
    server::new_id,
};

/// A message under way: its content blocks, and the events that tell of them where the answer is streamed.
struct Message<'a> {
    connection: &'a mut Connection,
    stream: bool,
    blocks: Vec<Value>,
    open: bool,
    output_tokens: usize,
}

/// Sends the answer; fails when the client has gone away.
pub(super) fn answer(connection: &mut Connection, ask: &Ask, steps: &[Step]) -> io::Result<()> {
    let usage = |output: usize| {
        json!({"input_tokens": ask.size, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
               "output_tokens": output, "service_tier": "standard"})
    };
    let mut head = json!({"id": new_id("msg_"), "type": "message", "role": "assistant", "model": ask.model, "content": [],
                          "stop_reason": null, "stop_sequence": null, "usage": usage(1)});
    if ask.stream {
        connection.stream()?;
        connection.event(&json!({"type": "message_start", "message": head}))?;
        connection.event(&json!({"type": "ping"}))?;
    }
    let mut message = Message { connection, stream: ask.stream, blocks: Vec::new(), open: false, output_tokens: 0 };
    for step in steps {
        message.step(step)?;
    }
    message.close()?;
    let stop = if steps.iter().any(|step| matches!(step, Step::Tool { .. })) { "tool_use" } else { "end_turn" };
    let Message { connection, blocks, output_tokens, .. } = message;
    if ask.stream {
        let delta = json!({"stop_reason": stop, "stop_sequence": null});
        connection.event(&json!({"type": "message_delta", "delta": delta, "usage": usage(output_tokens)}))?;
        connection.event(&json!({"type": "message_stop"}))?;
        return connection.end();
    }
    head["content"] = blocks.into();
    head["stop_reason"] = stop.into();
    head["usage"] = usage(output_tokens);
    connection.json(200, &head)
}

impl Message<'_> {
    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Text(text) => self.write("text", text),
            Step::Think(text) => self.write("thinking", text),
            Step::Tool { name, input } => self.call(name, input),
            Step::Wait(time) => self.connection.wait(*time),
            // An error is an answer of its own, sent before it comes to this; and this API compacts nothing.
            Step::Fail { .. } | Step::Compaction => Ok(()),
        }
    }

    fn event(&mut self, data: &Value) -> io::Result<()> {
        if self.stream { self.connection.event(data) } else { Ok(()) }
    }

    fn start(&mut self, block: Value) -> io::Result<()> {
        self.close()?;
        self.event(&json!({"type": "content_block_start", "index": self.blocks.len(), "content_block": block}))?;
        self.blocks.push(block);
        self.open = true;
        Ok(())
    }

    fn delta(&mut self, delta: &Value) -> io::Result<()> {
        self.event(&json!({"type": "content_block_delta", "index": self.blocks.len() - 1, "delta": delta}))
    }

    /// Goes on with the block of that kind, `text` or `thinking`, or starts one.
    fn write(&mut self, kind: &str, text: &str) -> io::Result<()> {
        if !self.open || self.blocks.last().is_none_or(|block| block["type"] != kind) {
            let mut block = json!({"type": kind, kind: ""});
            if kind == "thinking" {
                block["signature"] = "".into();
            }
            self.start(block)?;
        }
        if let Some(block) = self.blocks.last_mut() {
            block[kind] = format!("{}{text}", block[kind].as_str().unwrap_or_default()).into();
        }
        self.output_tokens += tokens(text);
        self.delta(&json!({"type": format!("{kind}_delta"), kind: text}))
    }

    fn call(&mut self, name: &str, input: &Value) -> io::Result<()> {
        self.start(json!({"type": "tool_use", "id": new_id("toolu_"), "name": name, "input": {}}))?;
        let text = input.to_string();
        self.output_tokens += tokens(&text);
        self.delta(&json!({"type": "input_json_delta", "partial_json": text}))?;
        if let Some(block) = self.blocks.last_mut() {
            block["input"] = input.clone();
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        if self.blocks.last().is_some_and(|block| block["type"] == "thinking") {
            // Clients keep thinking blocks only with a signature; what it is they cannot check.
            self.delta(&json!({"type": "signature_delta", "signature": "c2lnbmVk"}))?;
        }
        self.event(&json!({"type": "content_block_stop", "index": self.blocks.len() - 1}))
    }
}
