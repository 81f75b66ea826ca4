//! What the model says: streamed piece by piece, and once more as a whole.

use serde_json::{Value, json};

use super::Codex;
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, clip, update},
};

/// The most steps of a plan.
const MOST_STEPS: usize = 200;

impl Codex {
    /// A chunk of a text or a thought.
    fn say(&self, text: &str, thought: bool, id: &str, params: &Value) -> Option<Output> {
        if text.is_empty() {
            return None;
        }
        let kind = if thought { "agent_thought_chunk" } else { "agent_message_chunk" };
        let mut chunk = json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}, "messageId": clip(id, LONGEST_ID)});
        self.mark(params, &mut chunk);
        update(&chunk)
    }

    /// Something that ACP has no word for and that a person wants to know.
    pub(super) fn notice(&self, text: &str, params: &Value) -> Option<Output> {
        let mut chunk = json!({
            "sessionUpdate": "agent_thought_chunk",
            "content": {"type": "text", "text": format!("{text}\n")},
            "_meta": {"codex": {"notice": true}},
        });
        self.mark(params, &mut chunk);
        update(&chunk)
    }

    pub(super) fn delta(&mut self, params: &Value, thought: bool) -> Option<Vec<Output>> {
        let (id, text) = (params["itemId"].as_str().filter(|id| id.len() <= LONGEST_ID)?, params["delta"].as_str()?);
        self.state.streamed(id, text.len());
        Some(self.say(text, thought, id, params).into_iter().collect())
    }

    /// A further part of a summary.
    pub(super) fn part_added(&self, params: &Value) -> Vec<Output> {
        if params["summaryIndex"].as_u64().unwrap_or_default() == 0 {
            return Vec::new();
        }
        self.say("\n\n", true, params["itemId"].as_str().unwrap_or_default(), params).into_iter().collect()
    }

    /// Says what of a whole text was not streamed.
    pub(super) fn whole(&mut self, id: &str, text: &str, params: &Value) -> Vec<Output> {
        let said = self.take_streamed(id);
        self.say(text.get(said..).unwrap_or_default(), false, id, params).into_iter().collect()
    }

    /// Tells the thoughts that were not streamed at all.
    pub(super) fn whole_thought(&mut self, id: &str, item: &Value, params: &Value) -> Vec<Output> {
        if self.take_streamed(id) > 0 {
            return Vec::new();
        }
        let parts = |list: &Value| {
            let parts = list.as_array().map_or(&[][..], Vec::as_slice).iter();
            parts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n")
        };
        let summary = parts(&item["summary"]);
        let text = if summary.is_empty() { parts(&item["content"]) } else { summary };
        self.say(&text, true, id, params).into_iter().collect()
    }

    fn take_streamed(&mut self, id: &str) -> usize {
        let at = self.state.streams.iter().position(|stream| stream.id == id);
        at.map_or(0, |at| self.state.streams.remove(at).length)
    }

    /// The plan, which always comes whole.
    pub(super) fn plan(&mut self, params: &Value) -> Option<Vec<Output>> {
        let steps = params["plan"].as_array()?;
        let entry = |step: &Value| {
            let status = match step["status"].as_str() {
                Some("inProgress" | "in_progress") => "in_progress",
                Some("completed") => "completed",
                _ => "pending",
            };
            Some(json!({"content": step["step"].as_str()?, "priority": "medium", "status": status}))
        };
        let entries: Vec<_> = steps.iter().take(MOST_STEPS).filter_map(entry).collect();
        let mut plan = json!({"sessionUpdate": "plan", "entries": entries});
        self.mark(params, &mut plan);
        Some(update(&plan).into_iter().collect())
    }

    pub(super) fn rerouted(&mut self, params: &Value) -> Vec<Output> {
        let word = |key: &str| clip(params[key].as_str().unwrap_or("another model"), LONGEST_ID).to_owned();
        let text = format!("The model was changed from {} to {}.", word("fromModel"), word("toModel"));
        self.notice(&text, params).into_iter().collect()
    }
}
