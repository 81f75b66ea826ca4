//! From `initialize` to the first prompt: a session is made or taken up again, then model and mode are chosen.

use serde_json::{Value, json};

use super::{
    Acp,
    message::RpcError,
    state::{Call, Choice, Phase, Takes},
};
use crate::agent::{
    adapter::Output,
    catalogue::check_mcp,
    outputs::{LONGEST_ID, clip},
};

/// The most barriers that a replay is waited for with. Each follows at least one repeated update.
const MOST_BARRIERS: u32 = 10_000;

impl Acp {
    /// Nothing more can come of this process.
    pub(super) fn die(&mut self, message: String) -> Vec<Output> {
        self.end();
        vec![Output::Fatal { message }]
    }

    fn end(&mut self) {
        self.state.phase = Phase::Dead;
        self.state.options = None;
        self.state.setup.clear();
    }

    fn resume_failed(&mut self, message: String) -> Vec<Output> {
        self.end();
        vec![Output::ResumeFailed { message }]
    }

    pub(super) fn initialized(&mut self, result: Result<Value, RpcError>) -> Vec<Output> {
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.die(self.explain(&error)),
        };
        let version = &result["protocolVersion"];
        if version != 1 {
            return self.die(format!("the agent speaks version {version} of ACP; wharf speaks version 1"));
        }
        let capabilities = &result["agentCapabilities"];
        let load = capabilities["loadSession"] == true;
        let resume = capabilities["sessionCapabilities"]["resume"].is_object();
        self.state.resumable = load || resume;
        let prompt = &capabilities["promptCapabilities"];
        self.state.takes = Takes {
            image: prompt["image"] == true,
            audio: prompt["audio"] == true,
            resource: prompt["embeddedContext"] == true,
        };
        let methods = result["authMethods"].as_array().map_or(&[][..], Vec::as_slice);
        let names = methods.iter().filter_map(|method| method["name"].as_str().or_else(|| method["id"].as_str()));
        self.state.auth_methods = names.take(8).map(|name| clip(name, 100).to_owned()).collect();
        // Over stdio every agent can; the other ways it has to announce.
        let ways = ["http", "sse"].into_iter().filter(|way| capabilities["mcpCapabilities"][*way] == true);
        let ways: Vec<_> = std::iter::once("stdio").chain(ways).collect();
        let servers = self.state.options.as_ref().map_or(&[][..], |options| &options.mcp_servers);
        match check_mcp("the agent", servers, &ways) {
            Ok(()) => self.open(load, resume),
            Err(unsupported) => self.die(unsupported.0),
        }
    }

    /// Makes a session, or takes one up again in the best way that the agent knows.
    fn open(&mut self, load: bool, resume: bool) -> Vec<Output> {
        let Some(options) = &mut self.state.options else { return Vec::new() };
        let mut params = json!({"cwd": options.cwd, "mcpServers": std::mem::take(&mut options.mcp_servers)});
        let Some(session) = options.resume.clone() else {
            return vec![self.request(Call::Open { resumed: false }, "session/new", &params)];
        };
        params["sessionId"] = json!(session);
        self.state.session_id = Some(session);
        match (resume, load) {
            (true, _) => vec![self.request(Call::Open { resumed: true }, "session/resume", &params)],
            (false, true) => {
                self.state.replaying = true;
                vec![self.request(Call::Open { resumed: true }, "session/load", &params)]
            }
            (false, false) => self.resume_failed("this agent can't take an earlier conversation up again".to_owned()),
        }
    }

    pub(super) fn opened(&mut self, resumed: bool, result: Result<Value, RpcError>) -> Vec<Output> {
        let result = match result {
            Ok(result) => result,
            // Without a login nothing is known of the conversation: it is not lost.
            Err(error) if resumed && !error.is_auth() => return self.resume_failed(error.text()),
            Err(error) => return self.die(self.explain(&error)),
        };
        if !resumed {
            match result["sessionId"].as_str() {
                Some(id) if !id.is_empty() && id.len() <= LONGEST_ID => self.state.session_id = Some(id.to_owned()),
                _ => return self.die("the agent made a session without an id".to_owned()),
            }
        }
        let mut outputs = Vec::new();
        if let Some(id) = self.state.session_id.clone().filter(|_| self.state.resumable) {
            outputs.push(Output::Linked { agent_session_id: id });
        }
        outputs.extend(self.announce(&result));
        if let Some(options) = self.state.options.take() {
            let wanted = [("mode", options.mode), ("model", options.model)];
            let wanted =
                wanted.into_iter().filter_map(|(what, value)| Some(Choice { what: what.to_owned(), value: value? }));
            self.state.setup = wanted.collect();
        }
        outputs.extend(self.next_setup());
        outputs
    }

    /// The last step before the first prompt. One agent repeats a loaded session's history after it has answered, so
    /// a request that it can't know is sent behind, again for as long as something repeated comes before its answer:
    /// once a whole round trip stays silent the history is at its end.
    pub(super) fn open_gate(&mut self) -> Vec<Output> {
        if self.state.replaying {
            return self.barrier();
        }
        self.state.phase = Phase::Idle;
        vec![Output::Ready]
    }

    fn barrier(&mut self) -> Vec<Output> {
        self.state.replayed = false;
        self.state.barriers += 1;
        vec![self.request(Call::Barrier, "_wharf/barrier", &json!({}))]
    }

    pub(super) fn passed_barrier(&mut self) -> Vec<Output> {
        if self.state.replayed && self.state.barriers < MOST_BARRIERS {
            return self.barrier();
        }
        self.state.phase = Phase::Idle;
        vec![Output::Ready]
    }

    /// An error of the handshake, for people.
    pub(super) fn explain(&self, error: &RpcError) -> String {
        let text = error.text();
        if !error.is_auth() {
            return text;
        }
        let ways = if self.state.auth_methods.is_empty() {
            String::new()
        } else {
            format!(" (the agent offers: {})", self.state.auth_methods.join(", "))
        };
        format!(
            "the agent is not logged in: {text}{ways}; give it credentials in the session's or the agent's environment"
        )
    }
}
