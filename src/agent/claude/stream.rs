//! What the model says: streamed piece by piece, and once more as a whole.

use serde_json::{Value, json};

use super::{
    Claude,
    state::{Block, Phase, Stream},
};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, update},
};

/// The most messages that are streamed at the same time, and the most blocks of one that wait for their whole.
const MOST_STREAMS: usize = 16;
const MOST_BLOCKS: usize = 64;

/// From the first whole message on, the transcript is on disk after so many milliseconds. Measured: it is first
/// written within 200 ms of the prompt, and a process killed before that can't be resumed.
const WRITTEN_AFTER: i64 = 1000;

/// Where something was said: in the agent's own conversation, or in that of a sub-agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Parent {
    /// The tool call that runs the sub-agent.
    tool: Option<String>,
    /// The message.
    message: Option<String>,
}

impl Parent {
    fn of(message: &Value) -> Self {
        let word = |value: &Value| value.as_str().filter(|id| id.len() <= LONGEST_ID).map(str::to_owned);
        Self { tool: word(&message["parent_tool_use_id"]), message: word(&message["message"]["id"]) }
    }

    fn key(&self) -> String {
        self.tool.clone().unwrap_or_default()
    }

    /// Marks an update of a sub-agent as one.
    pub(super) fn mark(&self, update: &mut Value) {
        if let Some(tool) = &self.tool {
            update["_meta"] = json!({"claudeCode": {"parentToolUseId": tool}});
        }
    }
}

impl Claude {
    /// A chunk of a text or a thought.
    pub(super) fn say(&mut self, text: &str, thought: bool, parent: &Parent) -> Option<Output> {
        if text.is_empty() {
            return None;
        }
        self.state.prompt.said |= !thought;
        let kind = if thought { "agent_thought_chunk" } else { "agent_message_chunk" };
        let mut chunk = json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}});
        if let Some(message) = &parent.message {
            chunk["messageId"] = json!(message);
        }
        parent.mark(&mut chunk);
        update(&chunk)
    }

    /// An event of the model's stream; `None` if it is not understood.
    pub(super) fn stream_event(&mut self, message: &Value) -> Option<Vec<Output>> {
        let event = &message["event"];
        let mut parent = Parent::of(message);
        if let Some(stream) = self.state.streams.get(&parent.key()) {
            parent.message = Some(stream.message.clone());
        }
        match event["type"].as_str()? {
            "message_start" => {
                self.begin_stream(&parent, &event["message"]);
                Some(Vec::new())
            }
            "content_block_start" => Some(self.begin_block(&parent, event)),
            "content_block_delta" => {
                let delta = &event["delta"];
                let (text, thought) = match delta["type"].as_str()? {
                    "text_delta" => (delta["text"].as_str()?, false),
                    "thinking_delta" => (delta["thinking"].as_str()?, true),
                    "input_json_delta" | "signature_delta" | "citations_delta" => return Some(Vec::new()),
                    _ => return None,
                };
                self.streamed(&parent, event["index"].as_u64().unwrap_or_default(), text.len(), thought);
                Some(self.say(text, thought, &parent).into_iter().collect())
            }
            "message_delta" => {
                self.count(&parent, &event["usage"]);
                Some(Vec::new())
            }
            "content_block_stop" | "message_stop" | "ping" => Some(Vec::new()),
            _ => None,
        }
    }

    fn begin_stream(&mut self, parent: &Parent, message: &Value) {
        let id = message["id"].as_str().filter(|id| id.len() <= LONGEST_ID).unwrap_or_default();
        let streams = &mut self.state.streams;
        if streams.len() >= MOST_STREAMS && !streams.contains_key(&parent.key()) {
            streams.pop_last();
        }
        streams.insert(parent.key(), Stream { message: id.to_owned(), blocks: Vec::new() });
        self.count(parent, &message["usage"]);
    }

    /// Keeps the size of the agent's own context.
    fn count(&mut self, parent: &Parent, usage: &Value) {
        let keys = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
        if parent.tool.is_none() && usage["input_tokens"].is_u64() {
            let counts = keys.iter().filter_map(|key| usage[*key].as_u64());
            self.state.context = counts.fold(0, u64::saturating_add);
        }
    }

    fn begin_block(&mut self, parent: &Parent, event: &Value) -> Vec<Output> {
        let block = &event["content_block"];
        let index = event["index"].as_u64().unwrap_or_default();
        let (text, thought) = match block["type"].as_str() {
            Some("text") => (&block["text"], false),
            Some("thinking") => (&block["thinking"], true),
            Some("tool_use" | "server_tool_use" | "mcp_tool_use") => return self.announce_tool(block, parent),
            _ => return Vec::new(),
        };
        let text = text.as_str().unwrap_or_default();
        self.streamed(parent, index, text.len(), thought);
        self.say(text, thought, parent).into_iter().collect()
    }

    /// Counts what was streamed of a block, so that its whole does not say it again.
    fn streamed(&mut self, parent: &Parent, index: u64, length: usize, thought: bool) {
        let Some(stream) = self.state.streams.get_mut(&parent.key()) else { return };
        if let Some(block) = stream.blocks.iter_mut().find(|block| block.index == index && block.thought == thought) {
            block.length += length;
            return;
        }
        if stream.blocks.len() >= MOST_BLOCKS {
            stream.blocks.remove(0);
        }
        stream.blocks.push(Block { index, thought, length });
    }

    /// A whole message, or a block of one; `None` if it is not understood.
    pub(super) fn assistant(&mut self, message: &Value) -> Option<Vec<Output>> {
        let blocks = message["message"]["content"].as_array()?;
        let parent = Parent::of(message);
        let mut outputs = Vec::new();
        for block in blocks {
            match block["type"].as_str()? {
                "text" => outputs.extend(self.whole(&parent, block["text"].as_str()?, false)),
                "thinking" => outputs.extend(self.whole(&parent, block["thinking"].as_str()?, true)),
                "tool_use" | "server_tool_use" | "mcp_tool_use" => outputs.extend(self.use_tool(block, &parent)),
                "redacted_thinking" => {}
                kind if kind.ends_with("tool_result") => outputs.extend(self.tool_result(block, &Value::Null, &parent)),
                _ => return None,
            }
        }
        if parent.tool.is_none() && !self.state.streams.contains_key("") {
            self.count(&parent, &message["message"]["usage"]);
        }
        outputs.extend(self.note_time(message));
        Some(outputs)
    }

    /// Says what of a whole text was not streamed.
    fn whole(&mut self, parent: &Parent, text: &str, thought: bool) -> Option<Output> {
        let mut said = 0;
        if let Some(stream) = self.state.streams.get_mut(&parent.key())
            && parent.message.as_deref() == Some(&stream.message)
            && let Some(at) = stream.blocks.iter().position(|block| block.thought == thought)
        {
            said = stream.blocks.remove(at).length;
        }
        self.say(text.get(said..).unwrap_or_default(), thought, parent)
    }

    /// What the user says in Claude's words: the results of tools.
    pub(super) fn user(&mut self, message: &Value) -> Vec<Output> {
        if message["isReplay"] == true {
            return Vec::new();
        }
        let parent = Parent::of(message);
        let blocks = message["message"]["content"].as_array().map_or(&[][..], Vec::as_slice);
        let results: Vec<_> = blocks.iter().filter(|block| block["type"] == "tool_result").collect();
        // It belongs to one result: of several none can be told to be its own.
        let details = if results.len() == 1 { &message["tool_use_result"] } else { &Value::Null };
        let mut outputs: Vec<_> = results.iter().flat_map(|block| self.tool_result(block, details, &parent)).collect();
        outputs.extend(self.note_time(message));
        outputs
    }

    /// Tells the session id as soon as the agent's own clock shows that the transcript must have been written.
    fn note_time(&mut self, message: &Value) -> Option<Output> {
        if self.state.linked || self.state.phase != Phase::Turn {
            return None;
        }
        let stamp = message["timestamp"].as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        let first = *self.state.first_stamp.get_or_insert(stamp);
        if stamp.saturating_sub(first) < WRITTEN_AFTER { None } else { self.link() }
    }
}
