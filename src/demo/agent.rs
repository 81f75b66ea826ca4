//! The demo agent's loop: one thread that waits for the client, the running command and the clock at once.

use std::{io, os::fd::AsFd, process::ExitCode, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{
    history::{self, Entry, History},
    turn::{Turn, Work, tool_call},
    verb::{Verb, text_of},
    wire::{self, Inbox, answer, refuse},
};

const MODELS: [(&str, &str); 3] = [("demo-1", "Demo 1"), ("demo-2", "Demo 2"), ("demo-3", "Demo 3")];
const MODES: [(&str, &str); 2] = [("build", "Build"), ("plan", "Plan")];

const BAD_REQUEST: i64 = -32600;
const NO_METHOD: i64 = -32601;
const BAD_PARAMS: i64 = -32602;
const INTERNAL: i64 = -32603;
const NOT_FOUND: i64 = -32002;

/// The session that is open.
struct Session {
    id: String,
    cwd: String,
    history: History,
    model: String,
    mode: String,
    always: bool,
}

/// Everything the agent knows.
#[derive(Default)]
struct Agent {
    sessions: Vec<Session>,
    turn: Option<Turn>,
    requests: u64,
}

/// Runs until the client closes stdin.
pub fn run() -> ExitCode {
    let mut agent = Agent::default();
    let mut inbox = Inbox::default();
    let stdin = io::stdin();
    loop {
        let readable = match wait(&stdin, agent.turn.as_ref()) {
            Ok(readable) => readable,
            Err(error) => return failed(&error),
        };
        if readable {
            // Past the lock's buffer: what it held back would not show in `poll`.
            match inbox.read(RawStdin(&stdin)) {
                Ok(Some(messages)) => messages.iter().for_each(|message| agent.receive(message)),
                Ok(None) => {
                    agent.cancel();
                    return ExitCode::SUCCESS;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return failed(&error),
            }
        }
        agent.step();
    }
}

struct RawStdin<'a>(&'a io::Stdin);

impl io::Read for RawStdin<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0.as_fd(), into)?)
    }
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("wharf-demo-agent: {error}");
    ExitCode::FAILURE
}

/// Waits for the client, the command or the clock; tells whether the client has sent something.
fn wait(stdin: &io::Stdin, turn: Option<&Turn>) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(stdin, PollFlags::IN)];
    if let Some(Work::Run(shell)) = turn.and_then(|turn| turn.work.as_ref()) {
        fds.extend(shell.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    }
    // Rounded up to a millisecond, so that waking early never spins.
    let patience =
        turn.and_then(Turn::patience).map(|left| Duration::from_millis(left.as_micros().div_ceil(1000) as u64));
    let timeout = patience.map(|left| Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }));
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Agent {
    fn receive(&mut self, message: &Value) {
        let params = &message["params"];
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => self.request(method, id, params),
            (Some("session/cancel"), None) => {
                if self.turn.as_ref().is_some_and(|turn| params["sessionId"] == *turn.session) {
                    self.cancel();
                }
            }
            (Some(_), None) => {}
            (None, Some(id)) => self.permitted(id, &message["result"]["outcome"]),
            (None, None) => refuse(&Value::Null, -32700, "no JSON-RPC message", &Value::Null),
        }
    }

    fn request(&mut self, method: &str, id: &Value, params: &Value) {
        let result = match method {
            "initialize" => Ok(initialize()),
            "authenticate" => Ok(json!({})),
            "session/new" => self.new_session(params),
            "session/load" => self.open(params, true),
            "session/resume" => self.open(params, false),
            "session/list" => Ok(list()),
            "session/set_mode" => self.set(params, "mode", &params["modeId"]),
            "session/set_config_option" => match params["configId"].as_str() {
                Some(option @ ("model" | "mode")) => self.set(params, option, &params["value"]),
                _ => Err((BAD_PARAMS, format!("no option {}", params["configId"]))),
            },
            "session/prompt" => return self.prompt(id, params),
            _ => Err((NO_METHOD, format!("no method {method}"))),
        };
        match result {
            Ok(result) => answer(id, &result),
            Err((code, message)) => refuse(id, code, &message, &Value::Null),
        }
    }

    fn new_session(&mut self, params: &Value) -> Result<Value, (i64, String)> {
        let cwd = params["cwd"].as_str().unwrap_or_default().to_owned();
        let internal = |error: io::Error| (INTERNAL, format!("no session can be kept under HOME: {error}"));
        let id = history::new_id().map_err(internal)?;
        let history = History::create(&history::directory(), &id, &cwd).map_err(internal)?;
        let session = Session::new(id, cwd, history);
        let mut result = session.options();
        result["sessionId"] = json!(session.id);
        self.sessions.push(session);
        Ok(result)
    }

    fn open(&mut self, params: &Value, replay: bool) -> Result<Value, (i64, String)> {
        let id = params["sessionId"].as_str().unwrap_or_default().to_owned();
        let history = History::open(&history::directory(), &id).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => (NOT_FOUND, format!("no session {id}")),
            _ => (INTERNAL, format!("session {id} can't be read: {error}")),
        })?;
        let session = Session::new(id, params["cwd"].as_str().unwrap_or_default().to_owned(), history);
        if replay {
            for entry in &session.history.entries {
                match entry {
                    Entry::Prompt(text) => wire::chunk(&session.id, "user_message_chunk", text),
                    Entry::Answer(text) => wire::chunk(&session.id, "agent_message_chunk", text),
                    _ => {}
                }
            }
        }
        let result = session.options();
        self.sessions.retain(|other| other.id != session.id);
        self.sessions.push(session);
        Ok(result)
    }

    fn set(&mut self, params: &Value, option: &str, value: &Value) -> Result<Value, (i64, String)> {
        let session = self.session(params)?;
        let known = if option == "model" { &MODELS[..] } else { &MODES[..] };
        let Some((value, _)) = known.iter().find(|(id, _)| value == id) else {
            return Err((BAD_PARAMS, format!("no {option} {value}")));
        };
        let kept = if option == "model" {
            (*value).clone_into(&mut session.model);
            session.history.add(Entry::Model((*value).to_owned()))
        } else {
            (*value).clone_into(&mut session.mode);
            wire::update(&session.id, &json!({"sessionUpdate": "current_mode_update", "currentModeId": value}));
            session.history.add(Entry::Mode((*value).to_owned()))
        };
        kept.map_err(|error| (INTERNAL, error.to_string()))?;
        Ok(session.options())
    }

    fn session(&mut self, params: &Value) -> Result<&mut Session, (i64, String)> {
        let id = &params["sessionId"];
        let found = self.sessions.iter_mut().find(|session| id == &session.id);
        found.ok_or_else(|| (NOT_FOUND, format!("no session {id}")))
    }

    fn prompt(&mut self, id: &Value, params: &Value) {
        if self.turn.is_some() {
            return refuse(id, BAD_REQUEST, "a prompt is already running", &Value::Null);
        }
        let session = match self.session(params) {
            Ok(session) => session,
            Err((code, message)) => return refuse(id, code, &message, &Value::Null),
        };
        let text = text_of(params["prompt"].as_array().map_or(&[], Vec::as_slice));
        if let Err(error) = session.history.add_prompt(&text) {
            return refuse(id, INTERNAL, &format!("the prompt could not be kept: {error}"), &Value::Null);
        }
        let call = format!("call_{}", session.history.prompts().count());
        let mut turn = Turn { id: id.clone(), session: session.id.clone(), call, said: String::new(), work: None };
        match Verb::parse(&text) {
            Verb::Fail(status, message) => return refuse(id, INTERNAL, &message, &json!({"status": status})),
            Verb::Count => turn.say(&format!("turns={}", session.history.prompts().count())),
            Verb::Exit(code) => std::process::exit(code),
            Verb::Recall => {
                let mut earlier: Vec<_> = session.history.prompts().map(|text| text.replace('\n', " ")).collect();
                earlier.pop();
                turn.say_long(&earlier.join("\n"));
            }
            Verb::Model => turn.say(&session.model),
            Verb::Mode => turn.say(&session.mode),
            Verb::Run(command) => {
                turn.announce(&command);
                turn.run(&command, &session.cwd);
            }
            Verb::Ask(command) if session.always => {
                turn.announce(&command);
                turn.run(&command, &session.cwd);
            }
            Verb::Ask(command) => self.ask(&mut turn, command),
            verb => turn.begin(&verb),
        }
        self.turn = Some(turn);
    }

    fn ask(&mut self, turn: &mut Turn, command: String) {
        self.requests += 1;
        turn.announce(&command);
        wire::send(&json!({
            "jsonrpc": "2.0",
            "id": self.requests,
            "method": "session/request_permission",
            "params": {
                "sessionId": turn.session,
                "toolCall": tool_call(&turn.call, &command),
                "options": [
                    {"optionId": "once", "name": "Allow once", "kind": "allow_once"},
                    {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
                    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
                ],
            },
        }));
        turn.work = Some(Work::Asked { request: self.requests, command });
    }

    /// Takes the answer to a permission request.
    fn permitted(&mut self, id: &Value, outcome: &Value) {
        let Some(turn) = &mut self.turn else { return };
        let Some(Work::Asked { request, command }) = &turn.work else { return };
        if *id != *request {
            return;
        }
        let command = command.clone();
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == turn.session) else { return };
        match outcome["optionId"].as_str() {
            Some(option @ ("once" | "always")) => {
                if option == "always" {
                    session.always = true;
                    // Forgetting it only means to be asked again.
                    let _ = session.history.add(Entry::Always);
                }
                turn.run(&command, &session.cwd);
            }
            Some(_) => {
                turn.tool("failed", Some("rejected"), &Value::Null);
                turn.say("rejected");
                turn.work = None;
            }
            None => self.cancel(),
        }
    }

    fn step(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        turn.step();
        if turn.work.is_none() {
            self.finish("end_turn");
        }
    }

    fn cancel(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.cancel();
            self.finish("cancelled");
        }
    }

    fn finish(&mut self, stop_reason: &str) {
        let Some(turn) = self.turn.take() else { return };
        let mut asked = 0;
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == turn.session) {
            asked = session.history.prompts().next_back().map_or(0, str::len);
            // What was said is kept for a replay only.
            let _ = session.history.add(Entry::Answer(turn.said.clone()));
        }
        let said = turn.said.len();
        let usage = json!({"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said});
        answer(&turn.id, &json!({"stopReason": stop_reason, "usage": usage}));
    }
}

impl Session {
    fn new(id: String, cwd: String, history: History) -> Self {
        let model = history.last(|entry| if let Entry::Model(model) = entry { Some(model) } else { None });
        let mode = history.last(|entry| if let Entry::Mode(mode) = entry { Some(mode) } else { None });
        Self {
            model: model.unwrap_or(MODELS[0].0).to_owned(),
            mode: mode.unwrap_or(MODES[0].0).to_owned(),
            always: history.entries.contains(&Entry::Always),
            id,
            cwd,
            history,
        }
    }

    /// What the client may choose, as `session/new` announces it.
    fn options(&self) -> Value {
        let values = |known: &[(&str, &str)]| -> Vec<Value> {
            known.iter().map(|(value, name)| json!({"value": value, "name": name})).collect()
        };
        let modes: Vec<_> = MODES.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
        json!({
            "configOptions": [{
                "id": "model", "name": "Model", "category": "model", "type": "select",
                "currentValue": self.model, "options": values(&MODELS),
            }],
            "modes": {"currentModeId": self.mode, "availableModes": modes},
        })
    }
}

fn initialize() -> Value {
    json!({
        "protocolVersion": 1,
        "agentCapabilities": {
            "loadSession": true,
            "mcpCapabilities": {"http": true, "sse": true},
            "promptCapabilities": {"embeddedContext": true, "image": true},
            "sessionCapabilities": {"list": {}, "resume": {}},
        },
        "authMethods": [],
        "agentInfo": {"name": "wharf-demo-agent", "title": "wharf demo agent", "version": env!("CARGO_PKG_VERSION")},
    })
}

fn list() -> Value {
    let sessions = history::list(&history::directory());
    json!({"sessions": sessions.iter().map(|(id, cwd)| json!({"sessionId": id, "cwd": cwd})).collect::<Vec<_>>()})
}
