//! The adapter of Codex's app-server: JSON-RPC without its version field, one thread for the life of the process.

mod approvals;
mod content;
mod diff;
mod errors;
mod handshake;
mod launch;
mod names;
mod options;
mod state;
mod stream;
mod tools;
mod turn;

use serde_json::{Value, json};

pub(super) use self::launch::{PASSED, arguments};
pub(super) use self::options::modes;
use self::{
    errors::RpcError,
    state::{Call, Phase, State},
};
use super::{
    adapter::{Adapter, Output, StartOptions, Unsupported},
    catalogue::{Protocol, tagged, untagged},
    outputs::{send, unparsed},
};
use crate::domain::PermissionPolicy;

/// The adapter; all that it knows is its state.
#[derive(Debug, Default)]
pub(super) struct Codex {
    state: State,
}

impl Codex {
    /// Goes on from a state that [`Adapter::state`] gave.
    pub(super) fn restore(state: &Value) -> serde_json::Result<Self> {
        Ok(Self { state: untagged(Protocol::Codex, state)? })
    }

    /// A request to Codex, whose answer is taken by `call`.
    #[allow(clippy::needless_pass_by_value, reason = "parameters are made to be sent")]
    fn request(&mut self, call: Call, method: &str, params: Value) -> Output {
        self.state.last_id += 1;
        let id = self.state.last_id;
        self.state.calls.insert(id, call);
        send(&json!({"id": id, "method": method, "params": params}))
    }

    /// A message that is understood; `None` if it is not.
    fn understand(&mut self, message: &Value, line: &[u8]) -> Option<Vec<Output>> {
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => self.asked(method, id, &message["params"], line),
            (Some(method), None) => self.notification(method, &message["params"]),
            (None, Some(id)) => self.answered(id.as_u64()?, message, line),
            (None, None) => None,
        }
    }

    fn notification(&mut self, method: &str, params: &Value) -> Option<Vec<Output>> {
        let mut outputs = match method {
            "turn/started" => self.turn_started(params)?,
            "turn/completed" => self.turn_completed(params)?,
            "turn/plan/updated" => self.plan(params)?,
            "item/started" => self.item(params, false)?,
            "item/completed" => self.item(params, true)?,
            "item/agentMessage/delta" | "item/plan/delta" => self.delta(params, false)?,
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => self.delta(params, true)?,
            "item/reasoning/summaryPartAdded" => self.part_added(params),
            "item/commandExecution/outputDelta" => self.output_delta(params)?,
            "item/fileChange/patchUpdated" => self.patch_updated(params)?,
            "item/mcpToolCall/progress" => self.progress(params)?,
            "thread/tokenUsage/updated" => self.token_usage(params)?,
            "error" => self.error(params)?,
            "serverRequest/resolved" => self.resolved(params),
            "model/rerouted" => self.rerouted(params),
            // Shown as it is: there is no turn that it could fail.
            "mcpServer/startupStatus/updated" if params["status"] == "failed" => return None,
            name if names::IGNORED.contains(&name) => Vec::new(),
            _ => return None,
        };
        // An interrupt that came too early is sent again, now that there is something to interrupt.
        if self.state.turn.started && self.is_ours(params) {
            outputs.extend(self.interrupt());
        }
        Some(outputs)
    }

    fn answered(&mut self, id: u64, message: &Value, line: &[u8]) -> Option<Vec<Output>> {
        let call = self.state.calls.remove(&id)?;
        let result = RpcError::of(message).map_or_else(|| Ok(&message["result"]), Err);
        Some(match call {
            Call::Initialize => self.initialized(result.err()),
            Call::Account => self.account(result.ok()),
            Call::Open => self.opened(result),
            Call::Models => self.models(result.ok()),
            Call::Turn => self.turn_accepted(result),
            Call::Interrupt => self.interrupted(result.is_err()),
            Call::Clean => self.cleaned(),
            Call::Other if result.is_err() => vec![unparsed(line)],
            Call::Other => Vec::new(),
        })
    }

    /// Whether something is about the session's own thread, and not about that of a sub-agent.
    fn is_ours(&self, params: &Value) -> bool {
        params["threadId"].as_str().is_none_or(|thread| self.state.thread.as_deref().is_none_or(|ours| ours == thread))
    }

    /// Marks an update of a sub-agent as one.
    fn mark(&self, params: &Value, update: &mut Value) {
        if !self.is_ours(params) {
            update["_meta"]["codex"]["threadId"] = params["threadId"].clone();
        }
    }
}

impl Adapter for Codex {
    fn start(&mut self, options: &StartOptions) -> Vec<Output> {
        self.state = State::new(options);
        if let Err(unsupported) = options::check_mode(&self.state.mode) {
            return self.die(unsupported.0);
        }
        let params = json!({
            "clientInfo": {"name": "wharf", "title": "wharf", "version": env!("CARGO_PKG_VERSION")},
            // For `thread/backgroundTerminals/clean`.
            "capabilities": {"experimentalApi": true, "requestAttestation": false},
        });
        vec![self.request(Call::Initialize, "initialize", params)]
    }

    fn prompt(&mut self, content: &[Value]) -> Vec<Output> {
        self.begin_turn(content)
    }

    fn cancel(&mut self) -> Vec<Output> {
        if self.state.phase != Phase::Turn {
            return Vec::new();
        }
        self.state.turn.cancelling = true;
        let mut outputs = self.withdraw_permissions(true);
        outputs.extend(self.interrupt());
        outputs.extend(self.interrupt_others());
        outputs
    }

    fn set_model(&mut self, model: &str) -> Result<Vec<Output>, Unsupported> {
        self.choose_model(model)
    }

    fn set_mode(&mut self, mode: &str) -> Result<Vec<Output>, Unsupported> {
        self.choose_mode(mode)
    }

    fn set_permissions(&mut self, policy: PermissionPolicy) -> Vec<Output> {
        self.follow(policy)
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
        tagged(Protocol::Codex, &self.state)
    }
}
