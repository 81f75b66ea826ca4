//! Control requests of ours and what the agent answers; the handshake.

use serde_json::{Value, json};

use super::{
    Claude,
    state::{Call, Phase},
};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, clip, send, unparsed, update},
};

/// The most models that are told of, and the most bytes of the name of one.
const MOST_MODELS: usize = 32;
const LONGEST_NAME: usize = 120;

impl Claude {
    /// A control request.
    #[allow(clippy::needless_pass_by_value, reason = "a request is made to be sent")]
    pub(super) fn control(&mut self, call: Call, request: Value) -> Output {
        self.state.last_id += 1;
        self.state.calls.insert(self.state.last_id, call);
        let id = self.state.last_id.to_string();
        send(&json!({"type": "control_request", "request_id": id, "request": request}))
    }

    /// Nothing more can come of this process.
    pub(super) fn die(&mut self, message: String) -> Vec<Output> {
        self.state.phase = Phase::Dead;
        vec![Output::Fatal { message }]
    }

    pub(super) fn control_response(&mut self, message: &Value, line: &[u8]) -> Option<Vec<Output>> {
        let response = &message["response"];
        let id = response["request_id"].as_str()?.parse().ok()?;
        let call = self.state.calls.remove(&id)?;
        if response["subtype"] != "success" {
            let error = clip(response["error"].as_str().unwrap_or("it gave no reason"), 2000);
            return Some(match call {
                Call::Initialize => self.die(format!("the agent refused to start: {error}")),
                Call::FirstMode => self.die(format!("the agent refused the mode: {error}")),
                // Shown as they are: there is no turn that they could fail.
                Call::McpServers => std::iter::once(unparsed(line)).chain(self.settled()).collect(),
                Call::Mode | Call::Model | Call::Interrupt | Call::Other => vec![unparsed(line)],
            });
        }
        let told = &response["response"];
        Some(match call {
            Call::Initialize => {
                let mut outputs = commands(&told["commands"]);
                self.learn_models(&told["models"]);
                outputs.extend(self.tell_models());
                outputs.extend(told["current_permission_mode"].as_str().and_then(|mode| self.tell_mode(mode)));
                outputs.extend(self.settled());
                outputs
            }
            Call::McpServers => {
                let failed = told["errors"].as_object().is_some_and(|errors| !errors.is_empty());
                let mut outputs: Vec<_> = failed.then(|| unparsed(line)).into_iter().collect();
                outputs.extend(self.settled());
                outputs
            }
            Call::FirstMode => {
                let mut outputs: Vec<_> = told["mode"].as_str().and_then(|m| self.tell_mode(m)).into_iter().collect();
                outputs.extend(self.settled());
                outputs
            }
            Call::Mode => told["mode"].as_str().and_then(|mode| self.tell_mode(mode)).into_iter().collect(),
            Call::Model => self.tell_models().into_iter().collect(),
            Call::Interrupt | Call::Other => Vec::new(),
        })
    }

    /// Ready, once all of the handshake was answered.
    fn settled(&mut self) -> Vec<Output> {
        let handshake = [Call::Initialize, Call::McpServers, Call::FirstMode];
        if self.state.phase != Phase::Starting || self.state.calls.values().any(|call| handshake.contains(call)) {
            return Vec::new();
        }
        self.state.phase = Phase::Idle;
        let mut outputs = Vec::new();
        if self.state.resumed {
            outputs.extend(self.link());
        }
        outputs.push(Output::Ready);
        outputs
    }

    /// Tells the session id, once.
    pub(super) fn link(&mut self) -> Option<Output> {
        if self.state.linked {
            return None;
        }
        let agent_session_id = self.state.session_id.clone()?;
        self.state.linked = true;
        Some(Output::Linked { agent_session_id })
    }

    /// Tells the mode, where it is another one.
    pub(super) fn tell_mode(&mut self, mode: &str) -> Option<Output> {
        if self.state.mode.as_deref() == Some(mode) || mode.len() > LONGEST_ID {
            return None;
        }
        self.state.mode = Some(mode.to_owned());
        update(&json!({"sessionUpdate": "current_mode_update", "currentModeId": mode}))
    }

    fn learn_models(&mut self, list: &Value) {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        let model = |item: &Value| {
            let value = item["value"].as_str().filter(|value| value.len() <= LONGEST_NAME)?;
            let name = item["displayName"].as_str().unwrap_or(value);
            Some((value.to_owned(), clip(name, LONGEST_NAME).to_owned()))
        };
        self.state.models = list.iter().filter_map(model).take(MOST_MODELS).collect();
    }

    /// Tells which models there are and which is chosen, as ACP's configuration option.
    fn tell_models(&self) -> Option<Output> {
        let mut models: Vec<(&str, &str)> =
            self.state.models.iter().map(|(value, name)| (value.as_str(), name.as_str())).collect();
        let current = self.state.model.as_deref().or_else(|| Some(models.first()?.0))?;
        if models.is_empty() {
            return None;
        }
        if models.iter().all(|(value, _)| *value != current) {
            models.push((current, current));
        }
        let options: Vec<_> = models.iter().map(|(value, name)| json!({"value": value, "name": name})).collect();
        let option = json!({"id": "model", "name": "Model", "category": "model", "type": "select",
            "currentValue": current, "options": options});
        update(&json!({"sessionUpdate": "config_option_update", "configOptions": [option]}))
    }

    /// What became of a prompt, by its id.
    pub(super) fn lifecycle(&mut self, message: &Value) -> Vec<Output> {
        let ours = self.state.prompt.id.as_deref().is_some_and(|id| message["command_uuid"] == id);
        if !ours || self.state.phase != Phase::Turn {
            return Vec::new();
        }
        self.state.has_lifecycle = true;
        match message["state"].as_str() {
            Some("queued") | None => Vec::new(),
            Some("started") => {
                self.state.prompt.begun = true;
                Vec::new()
            }
            // Over without a result: taken out of its queue, or never taken up.
            Some(_) => self.end_without_result(),
        }
    }
}

/// The commands that may begin a prompt.
pub(super) fn commands(list: &Value) -> Vec<Output> {
    let Some(list) = list.as_array() else { return Vec::new() };
    let command = |item: &Value| {
        let name = item["name"].as_str()?;
        let mut command = json!({"name": name, "description": item["description"].as_str().unwrap_or_default()});
        if let Some(hint) = item["argumentHint"].as_str().filter(|hint| !hint.is_empty()) {
            command["input"] = json!({"hint": hint});
        }
        Some(command)
    };
    let commands: Vec<_> = list.iter().filter_map(command).collect();
    update(&json!({"sessionUpdate": "available_commands_update", "availableCommands": commands})).into_iter().collect()
}
