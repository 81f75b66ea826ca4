//! The answer as OpenAI's Responses API gives it, streamed or whole.

use std::io;

use serde_json::{Value, json};

use super::{
    ask::{Ask, tokens},
    http::Connection,
    plan::Step,
    server::new_id,
};

/// A response under way: its finished items, the one that is being written, and the events that tell of them.
struct Response<'a> {
    connection: &'a mut Connection,
    stream: bool,
    events: usize,
    items: Vec<Value>,
    writing: Option<Value>,
    output_tokens: usize,
}

/// Sends the answer; fails when the client has gone away.
pub(super) fn answer(connection: &mut Connection, ask: &Ask, steps: &[Step]) -> io::Result<()> {
    let mut head = json!({"id": new_id("resp_"), "object": "response", "created_at": 0, "status": "in_progress",
                          "model": ask.model, "output": [], "parallel_tool_calls": true, "tool_choice": "auto",
                          "tools": [], "error": null, "incomplete_details": null, "instructions": null,
                          "metadata": {}, "usage": null});
    if ask.stream {
        connection.stream()?;
    }
    let mut response =
        Response { connection, stream: ask.stream, events: 0, items: Vec::new(), writing: None, output_tokens: 0 };
    response.event("response.created", json!({"response": head}))?;
    response.event("response.in_progress", json!({"response": head}))?;
    for step in steps {
        response.step(step)?;
    }
    response.close()?;
    let (input, output) = (ask.size, response.output_tokens);
    head["status"] = "completed".into();
    head["output"] = std::mem::take(&mut response.items).into();
    head["usage"] = json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": output,
                           "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output});
    if !ask.stream {
        return response.connection.json(200, &head);
    }
    response.event("response.completed", json!({"response": head}))?;
    response.connection.end()
}

impl Response<'_> {
    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Text(text) => self.text(text),
            Step::Think(text) => self.think(text),
            Step::Tool { name, input } => self.call(name, input),
            Step::Compaction => self.compaction(),
            Step::Wait(time) => self.connection.wait(*time),
            // An error is an answer of its own; the server sends it before it comes to this.
            Step::Fail { .. } => Ok(()),
        }
    }

    fn event(&mut self, kind: &str, mut data: Value) -> io::Result<()> {
        if !self.stream {
            return Ok(());
        }
        data["type"] = kind.into();
        data["sequence_number"] = self.events.into();
        self.events += 1;
        self.connection.event(&data)
    }

    /// Starts an item of that kind, unless the one that is being written is.
    fn open(&mut self, kind: &str, item: Value) -> io::Result<bool> {
        if self.writing.as_ref().is_some_and(|item| item["type"] == kind) {
            return Ok(false);
        }
        self.close()?;
        self.event("response.output_item.added", json!({"output_index": self.items.len(), "item": item}))?;
        self.writing = Some(item);
        Ok(true)
    }

    /// Adds to a part of the item that is being written; its id.
    fn add(&mut self, part: &str, text: &str) -> Value {
        self.output_tokens += tokens(text);
        let Some(item) = &mut self.writing else { return Value::Null };
        let old = item[part][0]["text"].as_str().unwrap_or_default();
        item[part][0]["text"] = format!("{old}{text}").into();
        item["id"].clone()
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let item = json!({"id": new_id("msg_"), "type": "message", "role": "assistant", "status": "in_progress",
                          "content": []});
        let id = item["id"].clone();
        if self.open("message", item)? {
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            let told = json!({"item_id": id, "output_index": self.items.len(), "content_index": 0, "part": part});
            self.event("response.content_part.added", told)?;
            if let Some(item) = &mut self.writing {
                item["content"] = json!([part]);
            }
        }
        let id = self.add("content", text);
        let told = json!({"item_id": id, "output_index": self.items.len(), "content_index": 0, "delta": text});
        self.event("response.output_text.delta", told)
    }

    fn think(&mut self, text: &str) -> io::Result<()> {
        let item = json!({"id": new_id("rs_"), "type": "reasoning", "summary": [], "encrypted_content": null});
        let id = item["id"].clone();
        if self.open("reasoning", item)? {
            let part = json!({"type": "summary_text", "text": ""});
            let told = json!({"item_id": id, "output_index": self.items.len(), "summary_index": 0, "part": part});
            self.event("response.reasoning_summary_part.added", told)?;
            if let Some(item) = &mut self.writing {
                item["summary"] = json!([part]);
            }
        }
        let id = self.add("summary", text);
        let told = json!({"item_id": id, "output_index": self.items.len(), "summary_index": 0, "delta": text});
        self.event("response.reasoning_summary_text.delta", told)
    }

    fn call(&mut self, name: &str, input: &Value) -> io::Result<()> {
        self.close()?;
        let (index, call) = (self.items.len(), new_id("call_"));
        self.output_tokens += tokens(&input.to_string());
        let item = match input.as_str() {
            Some(text) => json!({"id": new_id("ctc_"), "type": "custom_tool_call", "status": "completed",
                                 "call_id": call, "name": name, "input": text}),
            None => json!({"id": new_id("fc_"), "type": "function_call", "status": "completed", "call_id": call,
                           "name": name, "arguments": input.to_string()}),
        };
        self.event("response.output_item.added", json!({"output_index": index, "item": item}))?;
        if let Some(arguments) = item.get("arguments") {
            let told = json!({"item_id": item["id"], "output_index": index, "delta": arguments});
            self.event("response.function_call_arguments.delta", told)?;
            let told = json!({"item_id": item["id"], "output_index": index, "arguments": arguments});
            self.event("response.function_call_arguments.done", told)?;
        }
        self.event("response.output_item.done", json!({"output_index": index, "item": item}))?;
        self.items.push(item);
        Ok(())
    }

    fn compaction(&mut self) -> io::Result<()> {
        self.close()?;
        let item = json!({"id": new_id("cmp_"), "type": "compaction", "encrypted_content": "c2hvcnRlcg=="});
        self.event("response.output_item.added", json!({"output_index": self.items.len(), "item": item}))?;
        self.event("response.output_item.done", json!({"output_index": self.items.len(), "item": item}))?;
        self.items.push(item);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(mut item) = self.writing.take() else { return Ok(()) };
        let index = self.items.len();
        let told = |part: &str| json!({"item_id": item["id"], "output_index": index, part: 0});
        if item["type"] == "message" {
            let (part, mut text, mut whole) = (&item["content"][0], told("content_index"), told("content_index"));
            text["text"] = part["text"].clone();
            whole["part"] = part.clone();
            self.event("response.output_text.done", text)?;
            self.event("response.content_part.done", whole)?;
            item["status"] = "completed".into();
        } else {
            let (part, mut text, mut whole) = (&item["summary"][0], told("summary_index"), told("summary_index"));
            text["text"] = part["text"].clone();
            whole["part"] = part.clone();
            self.event("response.reasoning_summary_text.done", text)?;
            self.event("response.reasoning_summary_part.done", whole)?;
        }
        self.event("response.output_item.done", json!({"output_index": index, "item": item}))?;
        self.items.push(item);
        Ok(())
    }
}
