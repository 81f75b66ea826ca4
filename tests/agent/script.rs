//! Plays a recorded transcript: what went to the agent becomes calls of the adapter, what came from it is fed in.

use std::{collections::HashMap, path::Path};

use agent_client_protocol_schema::v1::{SessionUpdate, ToolCallUpdate};
use serde_json::{Value, json};
use wharf::agent::{
    Catalogue,
    adapter::{Adapter, Output, StartOptions},
    lines::Lines,
};

/// How a transcript is fed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    Lines,
    Bytes,
    /// With the adapter's state written and read again before every line and every call.
    Restored,
}

/// One line of a transcript.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) direction: char,
    pub(crate) text: String,
}

pub(crate) fn capture(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| Recorded { direction: line[9..].chars().next().unwrap(), text: line[11..].to_owned() };
    text.lines().map(line).collect()
}

pub(crate) fn catalogue() -> Catalogue {
    let config = json!({"opencode": {"argv": ["opencode", "acp"]}});
    Catalogue::new(serde_json::from_value(config).unwrap()).unwrap()
}

/// An adapter and everything that it said.
pub(crate) struct Player {
    pub(crate) agent: &'static str,
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) said: Vec<String>,
    feed: Feed,
    lines: Lines,
    /// Requests that the adapter sent and no recorded request has been matched with, oldest first.
    sent: Vec<Value>,
    /// The adapter's id of a recorded request.
    ids: HashMap<String, Value>,
    /// Requests that the transcript lacks, answered here.
    unrecorded: Vec<(&'static str, Value)>,
}

impl Player {
    pub(crate) fn new(agent: &'static str, feed: Feed) -> Self {
        let adapter = catalogue().get(agent).unwrap().adapter();
        let lines = Lines::new(0);
        Self {
            agent,
            adapter,
            said: Vec::new(),
            feed,
            lines,
            sent: Vec::new(),
            ids: HashMap::new(),
            unrecorded: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, options: &StartOptions) {
        let outputs = self.adapter.start(options);
        self.take(outputs);
    }

    /// Makes a call; tells whether anything came of it.
    pub(crate) fn call(&mut self, call: impl FnOnce(&mut (dyn Adapter + 'static)) -> Vec<Output>) -> usize {
        self.restore();
        let outputs = call(&mut *self.adapter);
        let count = outputs.len();
        self.take(outputs);
        count
    }

    pub(crate) fn receive(&mut self, line: &str) {
        self.restore();
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        let step = if self.feed == Feed::Bytes { 1 } else { bytes.len() };
        for chunk in bytes.chunks(step) {
            for line in self.lines.push(chunk) {
                let outputs = self.adapter.receive(&line.bytes);
                self.take(outputs);
            }
        }
    }

    fn restore(&mut self) {
        if self.feed == Feed::Restored {
            let text = self.adapter.state().to_string();
            assert!(text.len() < 32 * 1024, "the state has grown to {} bytes", text.len());
            self.adapter = catalogue().restore(self.agent, &serde_json::from_str(&text).unwrap()).unwrap();
        }
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::Send(text) = &output {
                assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text}");
                let message: Value = serde_json::from_str(text).unwrap();
                if message["method"] == "_wharf/barrier" {
                    let answer =
                        json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}});
                    self.said.push(render(&output));
                    self.receive(&answer.to_string());
                    continue;
                }
                if let Some((_, result)) = self.unrecorded.iter().find(|(method, _)| message["method"] == *method) {
                    let answer = json!({"id": message["id"], "result": result});
                    self.said.push(render(&output));
                    self.receive(&answer.to_string());
                    continue;
                }
                self.sent.push(message);
            }
            self.said.push(render(&output));
        }
    }

    /// Plays all lines.
    pub(crate) fn play(&mut self, recorded: &[Recorded]) {
        if self.agent == "codex" {
            let nobody = json!({"account": null, "requiresOpenaiAuth": false});
            let asked = [("account/read", nobody), ("thread/backgroundTerminals/clean", json!({}))];
            let is_recorded =
                |method: &str| recorded.iter().any(|line| line.direction == '>' && line.text.contains(method));
            self.unrecorded = asked.into_iter().filter(|(method, _)| !is_recorded(method)).collect();
        }
        for line in recorded {
            match line.direction {
                '>' => self.call_as_recorded(&serde_json::from_str(&line.text).unwrap()),
                '<' => self.feed_recorded(&line.text),
                // Put in by a test: what no agent means.
                '~' => self.receive(&line.text),
                _ => {}
            }
        }
    }

    fn call_as_recorded(&mut self, message: &Value) {
        let (key, made) = match self.agent {
            "claude" => self.call_claude(message),
            "codex" => self.call_codex(message),
            _ => self.call_acp(message),
        };
        if let Some((key, made)) = key.zip(made) {
            self.ids.insert(key, made);
        }
    }

    fn call_acp(&mut self, message: &Value) -> (Option<String>, Option<Value>) {
        let (id, params) = (&message["id"], &message["params"]);
        let before = self.sent.len();
        match message["method"].as_str() {
            Some("session/prompt") => {
                let blocks = params["prompt"].as_array().unwrap();
                self.call(|adapter| adapter.prompt(blocks));
            }
            Some("session/cancel") => {
                self.call(Adapter::cancel);
                return (None, None);
            }
            Some("session/set_model") => {
                self.call(|adapter| adapter.set_model(params["modelId"].as_str().unwrap()).unwrap());
            }
            // Sent by the adapter on its own.
            Some(method @ ("initialize" | "session/new" | "session/load" | "session/resume")) => {
                let at = self.sent.iter().position(|sent| sent["method"] == method);
                return (Some(id.to_string()), at.map(|at| self.sent.remove(at)["id"].clone()));
            }
            Some(_) => return (None, None),
            None => {
                if let Some(option) = message["result"]["outcome"]["optionId"].as_str() {
                    self.call(|adapter| adapter.answer_permission(&id.to_string(), option));
                }
                return (None, None);
            }
        }
        (Some(id.to_string()), self.sent.drain(before..).next_back().map(|sent| sent["id"].clone()))
    }

    fn call_claude(&mut self, message: &Value) -> (Option<String>, Option<Value>) {
        let request = &message["request"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let before = self.sent.len();
        match (message["type"].as_str(), request["subtype"].as_str()) {
            (Some("user"), _) => {
                let text = match &message["message"]["content"] {
                    Value::String(text) => text.clone(),
                    blocks => word(&blocks[0]["text"]),
                };
                self.call(|adapter| adapter.prompt(&[json!({"type": "text", "text": text})]));
                return (None, None);
            }
            (Some("control_request"), Some("initialize")) => {
                let sent = self.sent.iter().find(|sent| sent["request"]["subtype"] == "initialize");
                return (Some(word(&message["request_id"])), sent.map(|sent| sent["request_id"].clone()));
            }
            (Some("control_request"), Some("set_model")) => {
                self.call(|adapter| adapter.set_model(&word(&request["model"])).unwrap());
            }
            (Some("control_request"), Some("set_permission_mode")) => {
                self.call(|adapter| adapter.set_mode(&word(&request["mode"])).unwrap());
            }
            (Some("control_request"), Some("interrupt")) => {
                self.call(Adapter::cancel);
            }
            (Some("control_response"), _) => {
                let response = &message["response"];
                let option = match response["response"]["behavior"] == "deny" {
                    true => "reject_once",
                    false if response["response"]["updatedPermissions"].is_array() => "allow_always",
                    false => "allow_once",
                };
                self.call(|adapter| adapter.answer_permission(&word(&response["request_id"]), option));
                return (None, None);
            }
            _ => return (None, None),
        }
        let made = self.sent.drain(before..).next_back().map(|sent| sent["request_id"].clone());
        (Some(word(&message["request_id"])), made)
    }

    fn call_codex(&mut self, message: &Value) -> (Option<String>, Option<Value>) {
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str() {
            Some("turn/start") => {
                if let Some(model) = params["model"].as_str() {
                    self.call(|adapter| adapter.set_model(model).unwrap());
                }
                if let Some(mode) = params["approvalPolicy"].as_str() {
                    self.call(|adapter| adapter.set_mode(mode).unwrap());
                }
                let blocks = params["input"].as_array().unwrap();
                self.call(|adapter| adapter.prompt(blocks));
            }
            Some("turn/interrupt") => {
                self.call(Adapter::cancel);
            }
            Some(_) => {}
            None => {
                let said = message["result"]["decision"].as_str().or_else(|| message["result"]["action"].as_str());
                let option = match said {
                    Some("accept") if message["result"]["_meta"].is_object() => "allow_always",
                    Some("accept") => "allow_once",
                    Some("acceptForSession") => "allow_always",
                    Some("decline") => "reject_once",
                    _ => {
                        self.call(Adapter::cancel);
                        return (None, None);
                    }
                };
                self.call(|adapter| adapter.answer_permission(&id.to_string(), option));
                return (None, None);
            }
        }
        // Some of them the adapter sends on its own, before or after the recorded line.
        let at = self.sent.iter().position(|sent| sent["method"] == message["method"]);
        (Some(id.to_string()), at.map(|at| self.sent.remove(at)["id"].clone()))
    }

    /// Feeds a recorded line in, with the adapter's own id in the place of the recorded one. An answer to a request
    /// that the adapter did not make is left out.
    fn feed_recorded(&mut self, text: &str) {
        let mut message: Value = serde_json::from_str(text).unwrap();
        let (place, key) = if message["type"] == "control_response" {
            ("/response/request_id", message["response"]["request_id"].as_str().unwrap().to_owned())
        } else if message["id"].is_u64() && message["method"].is_null() {
            ("/id", message["id"].to_string())
        } else {
            return self.receive(text);
        };
        if let Some(id) = self.ids.remove(&key) {
            *message.pointer_mut(place).unwrap() = id;
            self.receive(&message.to_string());
        }
    }
}

/// An output as one line, checked against the schema of ACP.
pub(crate) fn render(output: &Output) -> String {
    match output {
        Output::Send(text) => format!("send {}", text.trim_end()),
        Output::Ready => "ready".to_owned(),
        Output::Linked { agent_session_id } => format!("linked {agent_session_id}"),
        Output::ResumeFailed { message } => format!("resume failed: {message}"),
        Output::Update(raw) => {
            let typed: Result<SessionUpdate, _> = serde_json::from_str(raw.get());
            assert!(typed.is_ok(), "no update of ACP: {raw}: {typed:?}");
            format!("update {raw}")
        }
        Output::PermissionRequested { id, tool_call, options } => {
            let typed: Result<ToolCallUpdate, _> = serde_json::from_value(tool_call.clone());
            assert!(typed.is_ok(), "no tool call of ACP: {tool_call}: {typed:?}");
            format!("permission {id} {tool_call} {}", serde_json::to_string(options).unwrap())
        }
        Output::PermissionWithdrawn { id } => format!("withdrawn {id}"),
        Output::TurnEnded(end) => format!(
            "turn ended: {} usage={} error={}",
            end.stop_reason.as_deref().unwrap_or("-"),
            end.usage.as_ref().map_or("-".to_owned(), Value::to_string),
            end.error.as_ref().map_or("-".to_owned(), |error| format!("{} ({:?})", error.message, error.status)),
        ),
        Output::Fatal { message } => format!("fatal: {message}"),
        Output::Unparsed { line } => format!("unparsed {line}"),
    }
}

pub(crate) fn options(resume: Option<&str>) -> StartOptions {
    StartOptions {
        cwd: "/workspace".into(),
        fresh_id: "0199aaaa-bbbb-7ccc-8ddd-000000000000".into(),
        resume: resume.map(str::to_owned),
        ..StartOptions::default()
    }
}
