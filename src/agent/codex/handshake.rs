//! From `initialize` to the first prompt: a thread is started or taken up again.

use serde_json::{Value, json};

use super::{
    Codex,
    errors::RpcError,
    launch,
    state::{Call, Phase},
};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, send},
};

impl Codex {
    /// Nothing more can come of this process.
    pub(super) fn die(&mut self, message: String) -> Vec<Output> {
        self.end();
        vec![Output::Fatal { message }]
    }

    fn end(&mut self) {
        self.state.phase = Phase::Dead;
        self.state.start = None;
    }

    pub(super) fn initialized(&mut self, error: Option<RpcError>) -> Vec<Output> {
        if let Some(error) = error {
            return self.die(format!("the agent refused to start: {}", error.text()));
        }
        vec![send(&json!({"method": "initialized"})), self.request(Call::Account, "account/read", json!({}))]
    }

    /// Whether there is a login decides where the key comes from.
    pub(super) fn account(&mut self, account: Option<&Value>) -> Vec<Output> {
        let key = account.is_some_and(|told| told["account"].is_null() && told["requiresOpenaiAuth"] == true);
        self.open(key)
    }

    /// Starts a thread or takes one up again. The container is the sandbox: Codex's own can't work within it.
    fn open(&mut self, key: bool) -> Vec<Output> {
        let Some(start) = &mut self.state.start else { return Vec::new() };
        let mut params = json!({"cwd": start.cwd, "approvalPolicy": self.state.mode, "sandbox": "danger-full-access"});
        if let Some(model) = &start.model {
            params["model"] = json!(model);
        }
        if key {
            params["modelProvider"] = json!(launch::KEY_PROVIDER);
        }
        // Here and not on argv: they may hold secrets, and argv shows in every list of processes.
        let servers = launch::mcp_servers(&std::mem::take(&mut start.mcp_servers));
        if !servers.is_empty() {
            params["config"] = json!({"mcp_servers": servers});
        }
        let method = match &start.resume {
            Some(thread) => {
                params["threadId"] = json!(thread);
                params["excludeTurns"] = json!(true);
                "thread/resume"
            }
            None => "thread/start",
        };
        vec![self.request(Call::Open, method, params)]
    }

    pub(super) fn opened(&mut self, result: Result<&Value, RpcError>) -> Vec<Output> {
        let resumed = self.state.start.as_ref().is_some_and(|start| start.resume.is_some());
        let result = match result {
            Ok(result) => result,
            Err(error) if resumed => {
                self.end();
                return vec![Output::ResumeFailed { message: error.text() }];
            }
            Err(error) => return self.die(error.text()),
        };
        let short = |value: &Value| {
            value.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST_ID).map(str::to_owned)
        };
        let Some(thread) = short(&result["thread"]["id"]) else {
            return self.die("the agent made a thread without an id".to_owned());
        };
        self.state.thread = Some(thread);
        self.state.model = short(&result["model"]);
        self.state.start = None;
        self.state.phase = Phase::Idle;
        let mut outputs: Vec<_> = if resumed { self.link() } else { None }.into_iter().collect();
        outputs.extend(self.tell_mode());
        outputs.push(Output::Ready);
        outputs.push(self.ask_for_models());
        outputs
    }

    /// Tells the thread's id, once.
    pub(super) fn link(&mut self) -> Option<Output> {
        if self.state.linked {
            return None;
        }
        let agent_session_id = self.state.thread.clone()?;
        self.state.linked = true;
        Some(Output::Linked { agent_session_id })
    }
}
