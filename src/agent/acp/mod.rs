//! The adapter of every agent that speaks the Agent Client Protocol over stdio.

mod handshake;
mod message;
mod options;
mod state;
mod turn;

use serde_json::{Value, json, value::RawValue};

use self::{
    message::Message,
    state::{Call, Phase, State},
};
use super::{
    adapter::{Adapter, Output, StartOptions, Unsupported},
    catalogue::{Protocol, tagged, untagged},
    outputs::{failed, send, unparsed, verbatim},
};

/// The adapter; all that it knows is its state.
#[derive(Debug, Default)]
pub(super) struct Acp {
    state: State,
}

impl Acp {
    /// Goes on from a state that [`Adapter::state`] gave.
    pub(super) fn restore(state: &Value) -> serde_json::Result<Self> {
        Ok(Self { state: untagged(Protocol::Acp, state)? })
    }

    /// A request to the agent, whose answer is taken by `call`.
    fn request(&mut self, call: Call, method: &str, params: &Value) -> Output {
        self.state.last_id += 1;
        let id = self.state.last_id;
        self.state.calls.insert(id, call);
        send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    }

    fn notification(&mut self, method: &str, params: &RawValue, line: &[u8]) -> Vec<Output> {
        if method != "session/update" {
            return vec![unparsed(line)];
        }
        let Some(update) = message::update(params) else { return vec![unparsed(line)] };
        if self.state.session_id.as_ref().is_some_and(|ours| *ours != update.session) {
            return vec![unparsed(line)];
        }
        if self.is_replay(update.conversation) {
            return Vec::new();
        }
        self.learn(&update);
        vec![verbatim(update.raw).unwrap_or_else(|| unparsed(line))]
    }

    /// Whether an update repeats what a session that was loaded again went through. Everything that tells of a
    /// conversation is such a repetition until the first prompt: an agent says nothing of itself before it.
    fn is_replay(&mut self, conversation: bool) -> bool {
        let replay = conversation && self.state.replaying;
        self.state.replayed |= replay;
        replay
    }

    fn answered(&mut self, message: &Message<'_>, line: &[u8]) -> Vec<Output> {
        let call = message.id().and_then(|id| id.as_u64()).and_then(|id| self.state.calls.remove(&id));
        let Some(call) = call else { return vec![unparsed(line)] };
        let result = message.outcome();
        match call {
            Call::Initialize => self.initialized(result),
            Call::Open { resumed } => self.opened(resumed, result),
            Call::Setup(choice) => self.set_up(&choice, result),
            Call::Barrier => self.passed_barrier(),
            Call::Prompt => self.prompted(result),
            Call::Choose(choice) => self.chosen(&choice, result, line),
        }
    }
}

impl Adapter for Acp {
    fn start(&mut self, options: &StartOptions) -> Vec<Output> {
        self.state = State { options: Some(options.into()), ..State::default() };
        let params = json!({
            "protocolVersion": 1,
            "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
            "clientInfo": {"name": "wharf", "title": "wharf", "version": env!("CARGO_PKG_VERSION")},
        });
        vec![self.request(Call::Initialize, "initialize", &params)]
    }

    fn prompt(&mut self, content: &[Value]) -> Vec<Output> {
        if self.state.phase != Phase::Idle {
            return Vec::new();
        }
        if let Err(unsupported) = self.check_prompt(content) {
            return vec![failed(unsupported.0, None)];
        }
        self.state.phase = Phase::Turn { cancelling: false };
        self.state.replaying = false;
        let params = json!({"sessionId": self.state.session_id, "prompt": content});
        vec![self.request(Call::Prompt, "session/prompt", &params)]
    }

    fn check_prompt(&self, content: &[Value]) -> Result<(), Unsupported> {
        let takes = self.state.takes;
        let refused = content.iter().find_map(|block| match block["type"].as_str()? {
            "image" if !takes.image => Some("images"),
            "audio" if !takes.audio => Some("audio"),
            "resource" if !takes.resource => Some("embedded resources (a `resource_link` it takes)"),
            _ => None,
        });
        refused.map_or(Ok(()), |what| Err(Unsupported(format!("this agent's prompts can't hold {what}"))))
    }

    fn cancel(&mut self) -> Vec<Output> {
        let Phase::Turn { cancelling } = &mut self.state.phase else { return Vec::new() };
        *cancelling = true;
        let params = json!({"sessionId": self.state.session_id});
        let mut outputs = vec![send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": params}))];
        outputs.extend(self.withdraw_permissions(true));
        outputs
    }

    fn set_model(&mut self, model: &str) -> Result<Vec<Output>, Unsupported> {
        self.choose("model", model)
    }

    fn set_mode(&mut self, mode: &str) -> Result<Vec<Output>, Unsupported> {
        self.choose("mode", mode)
    }

    fn answer_permission(&mut self, id: &str, option_id: &str) -> Vec<Output> {
        let Some(rpc_id) = self.state.permissions.remove(id) else { return Vec::new() };
        let outcome = json!({"outcome": {"outcome": "selected", "optionId": option_id}});
        vec![send(&json!({"jsonrpc": "2.0", "id": rpc_id, "result": outcome}))]
    }

    fn receive(&mut self, line: &[u8]) -> Vec<Output> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        let Some(message) = Message::parse(line) else { return vec![unparsed(line)] };
        match (&message.method, message.id.is_some()) {
            (Some(method), true) => self.asked(method, &message, line),
            (Some(method), false) => match message.params {
                Some(params) => self.notification(method, params, line),
                None => vec![unparsed(line)],
            },
            (None, true) => self.answered(&message, line),
            (None, false) => vec![unparsed(line)],
        }
    }

    fn state(&self) -> Value {
        tagged(Protocol::Acp, &self.state)
    }
}
