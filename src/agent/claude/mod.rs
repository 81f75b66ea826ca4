//! The adapter of Claude Code's stream-json with its control protocol.

mod content;
mod control;
mod launch;
mod permission;
mod plan;
mod result;
mod state;
mod stream;
mod system;
mod tools;

use serde_json::{Value, json};

pub(super) use self::launch::{ENVIRONMENT, PASSED, arguments};
use self::state::{Call, Phase, Prompt, State};
use super::{
    adapter::{Adapter, Output, StartOptions, Unsupported},
    catalogue::{Protocol, tagged, untagged},
    outputs::{LONGEST_ID, clip, send, unparsed},
};

/// The permission modes of Claude Code.
pub(super) const MODES: [&str; 6] = ["default", "acceptEdits", "plan", "auto", "dontAsk", "bypassPermissions"];

/// The adapter; all that it knows is its state.
#[derive(Debug, Default)]
pub(super) struct Claude {
    state: State,
}

impl Claude {
    /// Goes on from a state that [`Adapter::state`] gave.
    pub(super) fn restore(state: &Value) -> serde_json::Result<Self> {
        Ok(Self { state: untagged(Protocol::Claude, state)? })
    }

    /// A message that is understood; `None` if it is not.
    fn understand(&mut self, message: &Value, line: &[u8]) -> Option<Vec<Output>> {
        match message["type"].as_str()? {
            "stream_event" => self.stream_event(message),
            "assistant" => self.assistant(message),
            "user" => Some(self.user(message)),
            "result" => Some(self.result(message)),
            "system" => self.system(message),
            "control_response" => self.control_response(message, line),
            "control_request" => self.control_request(message),
            "control_cancel_request" => Some(self.control_cancel(message)),
            "command_lifecycle" => Some(self.lifecycle(message)),
            // Of use to a terminal only, or told in other words too.
            "keep_alive" | "rate_limit_event" | "tool_progress" | "tool_use_summary" | "auth_status"
            | "prompt_suggestion" | "transcript_mirror" => Some(Vec::new()),
            _ => None,
        }
    }
}

impl Adapter for Claude {
    fn start(&mut self, options: &StartOptions) -> Vec<Output> {
        self.state = State {
            session_id: options.resume.clone().or_else(|| Some(options.fresh_id.clone())),
            resumed: options.resume.is_some(),
            model: options.model.clone(),
            prompt_ids: uuid::Uuid::parse_str(&options.fresh_id).ok().map(|id| id.to_string()),
            ..State::default()
        };
        let mut outputs = vec![self.control(Call::Initialize, json!({"subtype": "initialize", "hooks": null}))];
        // By stdin and not by argv: they may hold secrets, and argv shows in every list of processes.
        let servers = launch::mcp_servers(&options.mcp_servers);
        if !servers.is_empty() {
            let request = json!({"subtype": "mcp_set_servers", "servers": servers});
            outputs.push(self.control(Call::McpServers, request));
        }
        if let Some(mode) = &options.mode {
            outputs.push(self.control(Call::FirstMode, json!({"subtype": "set_permission_mode", "mode": mode})));
        }
        outputs
    }

    fn prompt(&mut self, content: &[Value]) -> Vec<Output> {
        if self.state.phase != Phase::Idle {
            return Vec::new();
        }
        self.state.phase = Phase::Turn;
        self.state.prompts += 1;
        let id = self.state.next_prompt_id();
        let blocks = content::to_claude(content);
        let mut line = json!({"type": "user", "message": {"role": "user", "content": blocks}});
        if let Some(id) = &id {
            line["uuid"] = json!(id);
        }
        self.state.prompt = Prompt { id, ..Prompt::default() };
        vec![send(&line)]
    }

    fn cancel(&mut self) -> Vec<Output> {
        if self.state.phase != Phase::Turn {
            return Vec::new();
        }
        self.state.prompt.cancelling = true;
        let mut outputs = self.withdraw_permissions(true);
        outputs.push(self.control(Call::Interrupt, json!({"subtype": "interrupt"})));
        outputs
    }

    fn set_model(&mut self, model: &str) -> Result<Vec<Output>, Unsupported> {
        self.state.model = Some(clip(model, LONGEST_ID).to_owned());
        Ok(vec![self.control(Call::Model, json!({"subtype": "set_model", "model": model}))])
    }

    fn set_mode(&mut self, mode: &str) -> Result<Vec<Output>, Unsupported> {
        if !MODES.contains(&mode) {
            return Err(Unsupported(format!("Claude Code has no mode {mode:?}; it has {}", MODES.join(", "))));
        }
        Ok(vec![self.control(Call::Mode, json!({"subtype": "set_permission_mode", "mode": mode}))])
    }

    fn answer_permission(&mut self, id: &str, option_id: &str) -> Vec<Output> {
        self.answer(id, option_id)
    }

    fn receive(&mut self, line: &[u8]) -> Vec<Output> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        let message: Option<Value> = serde_json::from_slice(line).ok();
        let understood = message.and_then(|message| self.understand(&message, line));
        understood.unwrap_or_else(|| vec![unparsed(line)])
    }

    fn state(&self) -> Value {
        tagged(Protocol::Claude, &self.state)
    }
}
