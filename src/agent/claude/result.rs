//! The end of a turn, and what it cost.

use serde_json::{Value, json};

use super::{
    Claude,
    state::{Phase, Prompt},
    stream::Parent,
};
use crate::agent::{
    adapter::{Output, TurnEnd},
    outputs::{clip, failed, update},
};

impl Claude {
    pub(super) fn result(&mut self, message: &Value) -> Vec<Output> {
        if self.state.phase == Phase::Starting {
            return self.refused(message);
        }
        let mut outputs: Vec<_> = usage_update(message, self.state.context).into_iter().collect();
        if self.state.phase != Phase::Turn || (self.state.has_lifecycle && !self.state.prompt.begun) {
            // The end of something that the agent began by itself: not of the prompt.
            return outputs;
        }
        let end = self.turn_end(message);
        if !self.state.prompt.said
            && end.error.is_none()
            && let Some(text) = message["result"].as_str().filter(|text| !text.is_empty())
        {
            // What a command says comes nowhere else.
            outputs.extend(self.say(text, false, &Parent::default()));
        }
        outputs.extend(self.end_turn());
        outputs.push(Output::TurnEnded(end));
        // The transcript is written before the result is.
        outputs.extend(self.link());
        outputs
    }

    /// A result before any prompt: the start has failed.
    fn refused(&mut self, message: &Value) -> Vec<Output> {
        self.state.phase = Phase::Dead;
        let message = error_text(message);
        if self.state.resumed && message.contains("No conversation found") {
            return vec![Output::ResumeFailed { message }];
        }
        vec![Output::Fatal { message }]
    }

    /// The agent is done with the prompt, but gave no result for it.
    pub(super) fn end_without_result(&mut self) -> Vec<Output> {
        let prompt = self.state.prompt.clone();
        let mut outputs = self.end_turn();
        outputs.push(match (prompt.cancelling, prompt.begun) {
            (true, _) => ended("cancelled"),
            (false, true) => ended("end_turn"),
            (false, false) => failed("the agent put the prompt aside without running it".to_owned(), None),
        });
        outputs
    }

    /// Closes what a turn may leave open.
    fn end_turn(&mut self) -> Vec<Output> {
        self.state.phase = Phase::Idle;
        self.state.prompt = Prompt::default();
        self.state.streams.clear();
        let mut outputs = self.withdraw_permissions(false);
        for tool in std::mem::take(&mut self.state.tools) {
            let closed = json!({"sessionUpdate": "tool_call_update", "toolCallId": tool.id, "status": "failed"});
            outputs.extend(update(&closed));
        }
        outputs
    }

    fn turn_end(&self, message: &Value) -> TurnEnd {
        let usage = usage(&message["usage"]);
        let stopped =
            |reason: &str| TurnEnd { stop_reason: Some(reason.to_owned()), usage: usage.clone(), error: None };
        let subtype = message["subtype"].as_str().unwrap_or_default();
        let is_error = message["is_error"] == true || subtype.starts_with("error");
        if message["terminal_reason"].as_str().is_some_and(|reason| reason.starts_with("aborted"))
            || (is_error && self.state.prompt.cancelling)
        {
            return stopped("cancelled");
        }
        if subtype == "error_max_turns" {
            return stopped("max_turn_requests");
        }
        if is_error {
            let status = message["api_error_status"].as_u64().and_then(|status| u16::try_from(status).ok());
            let error = crate::domain::TurnError { message: error_text(message), status };
            return TurnEnd { stop_reason: None, usage, error: Some(error) };
        }
        stopped(match message["stop_reason"].as_str() {
            Some("max_tokens" | "model_context_window_exceeded") => "max_tokens",
            Some("refusal") => "refusal",
            _ => "end_turn",
        })
    }
}

fn ended(reason: &str) -> Output {
    Output::TurnEnded(TurnEnd { stop_reason: Some(reason.to_owned()), ..TurnEnd::default() })
}

/// What a failed result says.
fn error_text(message: &Value) -> String {
    let errors = message["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let errors: Vec<_> = errors.iter().filter_map(Value::as_str).collect();
    let text = match (message["result"].as_str(), errors.is_empty()) {
        (Some(text), _) if !text.is_empty() => text.to_owned(),
        (_, false) => errors.join("; "),
        _ => message["subtype"].as_str().unwrap_or("the agent gave no reason").to_owned(),
    };
    clip(&text, 4000).to_owned()
}

/// A turn's usage in ACP's words.
fn usage(usage: &Value) -> Option<Value> {
    let count = |key: &str| usage[key].as_u64();
    let (input, output) = (count("input_tokens")?, count("output_tokens")?);
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let total = [input, output, read.unwrap_or(0), written.unwrap_or(0)].into_iter().fold(0, u64::saturating_add);
    let mut told = json!({"inputTokens": input, "outputTokens": output, "totalTokens": total});
    let thought = usage["output_tokens_details"]["thinking_tokens"].as_u64().filter(|tokens| *tokens > 0);
    for (key, value) in [("cachedReadTokens", read), ("cachedWriteTokens", written), ("thoughtTokens", thought)] {
        if let Some(value) = value {
            told[key] = json!(value);
        }
    }
    Some(told)
}

/// The context's size and the conversation's cost so far.
fn usage_update(message: &Value, used: u64) -> Option<Output> {
    let models = message["modelUsage"].as_object()?;
    let size = models.values().filter_map(|model| model["contextWindow"].as_u64()).max()?;
    let mut told = json!({"sessionUpdate": "usage_update", "used": used, "size": size});
    if let Some(cost) = message["total_cost_usd"].as_f64() {
        told["cost"] = json!({"amount": cost, "currency": "USD"});
    }
    update(&told)
}
