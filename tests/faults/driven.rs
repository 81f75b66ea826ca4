//! A session under load: what it was told, by whom it is watched, and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{
    api::{Api, PATIENCE},
    reader::{Manner, Reader},
    support::Model,
};

/// How many prompts may wait for their end before no more are sent.
const OUTSTANDING: usize = 4;

/// What a prompt asks for, and so what its turn has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its own words back.
    Echo,
    /// A command that takes a moment and prints its words.
    Run,
    /// The same, after a permission.
    Ask,
    /// This many numbered chunks at once.
    Burst(u64),
    /// This many numbered chunks, one each 100 ms.
    Slow(u64),
    /// Its token back, from the demo agent or from a model.
    Say,
    /// A command of so many seconds that prints its token, after a permission that the model's agent asks for.
    Tool(u64),
}

/// A prompt that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What tells it from all others; it is in its text.
    pub token: String,
    /// What it asks for.
    pub kind: Kind,
    /// Its number, from the 202.
    pub n: u64,
    /// Whether it may have been cancelled, because a cancel was under way.
    pub cancelled: bool,
    /// How its turn has to end, where the fault that hit it leaves no choice.
    pub ends: Option<&'static [&'static str]>,
}

impl Sent {
    fn text(&self) -> String {
        let token = &self.token;
        match self.kind {
            Kind::Echo => format!("echo {token}"),
            Kind::Run => format!("run sleep 0.2; echo {token}"),
            Kind::Ask => format!("ask echo {token}"),
            Kind::Burst(n) => format!("burst {n} {token}"),
            Kind::Slow(n) => format!("slow {n} {token}"),
            Kind::Say => format!("say {token}"),
            Kind::Tool(seconds) => format!("ask touch /workspace/{token}; sleep {seconds}; echo {token}"),
        }
    }

    /// The agent's words in a turn that came to its own end; `None`: the words depend on an answer.
    pub fn answer(&self) -> Option<String> {
        match self.kind {
            Kind::Echo | Kind::Say => Some(self.token.clone()),
            Kind::Run => Some(format!("{}\n", self.token)),
            Kind::Ask | Kind::Tool(_) => None,
            Kind::Burst(n) | Kind::Slow(n) => Some((1..=n).map(|i| format!("chunk {i} ")).collect()),
        }
    }
}

/// What load a session is put under.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The most chunks of a burst.
    pub burst: u64,
    /// Whether turns are cancelled now and then.
    pub cancels: bool,
}

/// A session under load.
pub struct Driven {
    pub api: Api,
    pub id: String,
    pub key: String,
    pub workspace: String,
    /// Everything it was told since it was made.
    pub sent: Vec<Sent>,
    pub steady: Reader,
    pub fickle: Reader,
    /// Up to which event the books were checked.
    pub checked: u64,
    /// The last prompt whose books were checked.
    pub accounted: usize,
    pub agent_session: Option<String>,
    /// Who keeps the count of what the agent was given, where it is not the agent itself.
    pub model: Option<Arc<Model>>,
    /// What went wrong on the way in.
    pub wrong: Vec<String>,
    rng: fastrand::Rng,
    count: u64,
    approver: tokio::task::JoinHandle<()>,
}

impl Driven {
    /// Makes a session of the demo agent; `workspace`: an existing one's name, else it gets one of its own.
    pub async fn make(
        api: &Api,
        name: &str,
        workspace: Option<&str>,
        env: &BTreeMap<&str, &str>,
        seed: u64,
    ) -> Result<Self, String> {
        let mut body = json!({ "agent": "demo", "key": format!("faults:{name}"), "env": env });
        if let Some(workspace) = workspace {
            body["workspace"] = json!(workspace);
        }
        Self::of(api, &body, seed, true).await
    }

    /// Makes a session as described; `refuses`: whether its agent is now and then refused what it asks for.
    pub async fn of(api: &Api, body: &Value, seed: u64, refuses: bool) -> Result<Self, String> {
        let (status, session) = api.call("POST", "/v1/sessions", Some(body), None).await?;
        if !matches!(status, 200 | 201) {
            return Err(format!("no session: {status} {session}"));
        }
        let text = |field: &str| session[field].as_str().unwrap_or_default().to_owned();
        let (id, mut rng) = (text("id"), fastrand::Rng::with_seed(seed));
        let (asked, requests) = mpsc::unbounded_channel();
        let steady = Reader::start(api.clone(), id.clone(), Manner::Steady, rng.u64(..), Some(asked));
        let fickle = Reader::start(api.clone(), id.clone(), Manner::Fickle, rng.u64(..), None);
        let approver = tokio::spawn(approve(api.clone(), id.clone(), requests, rng.fork(), refuses));
        Ok(Self {
            api: api.clone(),
            id,
            key: text("key"),
            workspace: text("workspace"),
            sent: Vec::new(),
            steady,
            fickle,
            checked: 0,
            accounted: 0,
            agent_session: None,
            model: None,
            wrong: Vec::new(),
            rng,
            count: 0,
            approver,
        })
    }

    /// Prompts whose end was not seen.
    pub fn outstanding(&self) -> Vec<u64> {
        let ended: BTreeSet<u64> = self.steady.seen(|seen| seen.ended.clone());
        self.sent.iter().map(|sent| sent.n).filter(|n| !ended.contains(n)).collect()
    }

    /// Sends prompts until told to stop.
    pub async fn drive(&mut self, load: Load, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            if self.outstanding().len() >= OUTSTANDING {
                tokio::select! {
                    _ = stop.changed() => {}
                    () = self.steady.more(Duration::from_millis(50)) => {}
                }
                continue;
            }
            if load.cancels && self.rng.u8(..12) == 0 {
                self.cancel().await;
            }
            self.send(load).await;
        }
    }

    async fn send(&mut self, load: Load) {
        let kind = match self.rng.u8(..10) {
            0..4 => Kind::Echo,
            4..6 => Kind::Burst(self.rng.u64(1..=load.burst)),
            6..7 => Kind::Slow(self.rng.u64(1..8)),
            7..9 => Kind::Run,
            _ => Kind::Ask,
        };
        self.ask(kind).await;
    }

    /// Sends one prompt; its number, where it was accepted.
    pub async fn ask(&mut self, kind: Kind) -> Option<u64> {
        self.count += 1;
        let token = format!("{}{}-x", self.mark(), self.count);
        let mut sent = Sent { token, kind, n: 0, cancelled: false, ends: None };
        let body = json!({ "content": sent.text() });
        let path = format!("/v1/sessions/{}/prompts", self.id);
        match self.api.call("POST", &path, Some(&body), Some(&sent.token)).await {
            Ok((202, answer)) => {
                sent.n = answer["id"].as_u64().unwrap_or(0);
                self.sent.push(sent);
                return self.sent.last().map(|sent| sent.n);
            }
            // A session that gave up says so, and is asked to go on.
            Ok((409, problem)) if problem["code"] == "session_failed" => self.restore().await,
            other => self.wrong.push(format!("a prompt was not accepted: {other:?}")),
        }
        None
    }

    /// What the tokens of this session begin with.
    fn mark(&self) -> String {
        format!("tok-{}-", &self.key[self.key.len().saturating_sub(2)..])
    }

    async fn cancel(&mut self) {
        let outstanding = self.outstanding();
        for sent in self.sent.iter_mut().filter(|sent| outstanding.contains(&sent.n)) {
            sent.cancelled = true;
        }
        match self.api.call("POST", &format!("/v1/sessions/{}/cancel", self.id), None, None).await {
            Ok((200 | 202 | 204 | 404 | 409, _)) => {}
            other => self.wrong.push(format!("a cancel was not taken: {other:?}")),
        }
    }

    async fn restore(&self) {
        let _ = self.api.try_call("POST", &format!("/v1/sessions/{}/restore", self.id), None, None).await;
    }

    /// Waits until every prompt has come to its end; a session in `error` is asked to go on.
    pub async fn settle(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outstanding = self.outstanding();
            if outstanding.is_empty() {
                return Ok(());
            }
            let session = self.api.get(&format!("/v1/sessions/{}", self.id)).await?;
            if session["status"] == "error" {
                self.restore().await;
            }
            if Instant::now() > deadline {
                return Err(format!("{}: the prompts {outstanding:?} come to no end; it is {session}", self.id));
            }
            self.steady.more(Duration::from_millis(500)).await;
        }
    }

    /// The events after the last that was checked, to the last that there is.
    pub async fn unchecked(&self) -> Result<Vec<Value>, String> {
        let session = self.api.get(&format!("/v1/sessions/{}", self.id)).await?;
        let last = session["last_seq"].as_u64().unwrap_or(0);
        let (mut events, mut after) = (Vec::new(), self.checked);
        while after < last {
            let page = self.api.get(&format!("/v1/sessions/{}/events?after={after}&limit=1000", self.id)).await?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            let Some(seq) = items.last().and_then(|event| event["seq"].as_u64()) else {
                return Err(format!("{}: its log ends at {after}, and yet it has {last} events", self.id));
            };
            after = seq;
            events.extend(items);
        }
        Ok(events)
    }

    /// The tokens of the prompts that the agent was given, in their order.
    pub async fn given(&self) -> Result<Vec<String>, String> {
        let token = |text: &str| text.split_whitespace().find(|word| word.starts_with("tok-")).map(str::to_owned);
        if let Some(model) = &self.model {
            // It counts for all sessions.
            let mut tokens: Vec<_> = asked(model).iter().filter_map(|ask| token(ask["text"].as_str()?)).collect();
            tokens.retain(|token| token.starts_with(&self.mark()));
            return Ok(tokens);
        }
        let Some(conversation) = &self.agent_session else { return Ok(Vec::new()) };
        let path = format!("/home/agent/.wharf-demo/{conversation}.jsonl");
        let history = self.api.file(&self.workspace, &path).await?;
        let history = String::from_utf8_lossy(&history);
        let entries = history.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let prompts = entries.filter(|entry| entry["type"] == "prompt");
        Ok(prompts.filter_map(|entry| token(entry["value"].as_str()?)).collect())
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.approver.abort();
    }
}

/// What a model was asked with a user's message that was new to it: no titles, and no results of tools.
pub fn asked(model: &Model) -> Vec<Value> {
    let is_new = |ask: &Value| ask["aside"] == false && ask["tool_output"].is_null();
    model.asked().into_iter().filter(is_new).collect()
}

/// Answers what the agent asks, sometimes late; what was withdrawn meanwhile is refused in words.
async fn approve(
    api: Api,
    session: String,
    mut requests: mpsc::UnboundedReceiver<Value>,
    mut rng: fastrand::Rng,
    refuses: bool,
) {
    while let Some(request) = requests.recv().await {
        let path = format!("/v1/sessions/{session}/permissions/{}", request["id"].as_str().unwrap_or_default());
        let kind = if rng.u8(..4) == 0 && refuses { "reject_once" } else { "allow_once" };
        tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
        let _ = api.call("POST", &path, Some(&json!({ "kind": kind })), None).await;
    }
}
