//! What the scenarios play on: a daemon and a model server that they share, and a session with an agent.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::agents::{Agent, CONFIG, environment};
use crate::strange;
use crate::support::{Client, Daemon, Events, Model, docker, docker_ok, so, until};

/// A daemon and the model server of its agents. The daemon's containers go before their network: fields are dropped in
/// order.
pub struct Stage {
    /// The daemon.
    pub daemon: Daemon,
    /// The model server.
    pub model: Model,
}

/// What the tests that run at this moment share; the last one takes it away.
static SHARED: Mutex<Weak<Stage>> = Mutex::const_new(Weak::new());

impl Stage {
    /// A new one.
    pub async fn own() -> Self {
        let model = Model::start(Duration::from_millis(100));
        let env = environment(&model.url());
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        Self { daemon: Daemon::start_with(&env, Some(&[CONFIG, strange::CONFIG].concat())).await, model }
    }

    /// The shared one.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(stage) = shared.upgrade() {
            return stage;
        }
        let stage = Arc::new(Self::own().await);
        *shared = Arc::downgrade(&stage);
        stage
    }
}

/// A session with an agent, in a workspace of its own.
pub struct Session {
    /// The agent.
    pub agent: &'static Agent,
    /// Its id.
    pub id: String,
    /// A client of its daemon.
    pub client: Client,
    /// All that happens in it.
    pub events: Events,
    /// What its agent is given to reach the model server.
    network: String,
}

impl Session {
    /// Makes one; `more`: what it is made with beside the agent and its place.
    pub async fn new(stage: &Stage, agent: &'static Agent, mut more: Value) -> Self {
        let client = stage.daemon.client();
        more["agent"] = agent.name.into();
        more["env"] = agent.env(&stage.model.url());
        more["workspace"] = json!({ "network": stage.model.network() });
        let session = client.post("/v1/sessions", more).await.expect(201);
        let id = session["id"].as_str().expect("an id").to_owned();
        let events = client.events(&id, 0).await;
        Self { agent, id, client, events, network: stage.model.network().to_owned() }
    }

    /// One whose agent may do everything.
    pub async fn free(stage: &Stage, agent: &'static Agent) -> Self {
        Self::new(stage, agent, json!({ "permissions": "allow" })).await
    }

    /// Posts to a route below the session's.
    pub async fn post(&self, route: &str, body: Value) -> crate::support::Answer {
        self.client.post(&format!("/v1/sessions/{}/{route}", self.id), body).await
    }

    /// Accepts a prompt; its number.
    pub async fn prompt(&self, text: &str) -> u64 {
        self.client.prompt(&self.id, text).await
    }

    /// Runs a prompt to its end: the agent's text, and the end.
    pub async fn turn(&mut self, text: &str) -> (String, Value) {
        let n = self.prompt(text).await;
        self.events.turn(n).await
    }

    /// Runs a prompt to its good end: the agent's text.
    pub async fn answer(&mut self, text: &str) -> String {
        let (answer, end) = self.turn(text).await;
        assert_eq!((&end["status"], &end["stop_reason"]), (&json!("done"), &json!("end_turn")), "{answer} {end}");
        answer
    }

    /// Asks, and reads until the first words of the answer.
    pub async fn begin(&mut self, text: &str) -> u64 {
        let n = self.prompt(text).await;
        self.events.until(|e| e.chunk().is_some()).await;
        n
    }

    /// As the daemon shows it.
    pub async fn view(&self) -> Value {
        self.client.session(&self.id).await
    }

    /// How many turns the agent remembers, this one among them.
    pub async fn turns(&mut self) -> u64 {
        let text = self.answer("count?").await;
        text.strip_prefix("turns=").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    }

    /// Its container.
    pub async fn container(&self) -> String {
        let workspace = self.view().await["workspace"].as_str().expect("a workspace").to_owned();
        let filter = format!("label=wharf.workspace={workspace}");
        let found = docker_ok(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
        assert_eq!(found.lines().count(), 1, "one container: {found}");
        found
    }

    /// The processes in its container whose command line fits an expression of `grep -E`. Its first word has to be in it:
    /// what looks for them is a process, too.
    pub async fn processes(&self, pattern: &str) -> Vec<String> {
        // Not every image has a pgrep.
        let look = r#"for p in /proc/[0-9]*; do
            tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -qE "$0" && echo "${p#/proc/}"
        done; true"#;
        let found = docker_ok(&["exec", &self.container().await, "/bin/sh", "-c", look, pattern]);
        found.lines().map(str::to_owned).collect()
    }

    /// Waits until so many processes fit.
    pub async fn until_processes(&self, pattern: &str, count: usize) {
        until(&format!("{count} of {pattern}"), async || {
            let found = self.processes(pattern).await;
            so(found.len() == count, found)
        })
        .await;
    }

    /// Kills the agent's process, as something inside of the container could.
    pub async fn kill_agent(&self) {
        let container = self.container().await;
        let found = self.processes(self.agent.process).await;
        let [pid] = &found[..] else { panic!("one {}: {found:?}", self.agent.process) };
        docker_ok(&["exec", "--user", "1000", &container, "kill", "-9", pid]);
    }

    /// Whether its container has a file.
    pub async fn has(&self, path: &str) -> bool {
        docker(&["exec", &self.container().await, "test", "-e", path]).is_ok()
    }

    /// What the model server was asked in this session's turns. Each text is the session's own: it is the tests' part to
    /// make it so.
    pub fn asked(&self, stage: &Stage, text: &str) -> Vec<Value> {
        assert_eq!(stage.model.network(), self.network);
        let asked = stage.model.asked();
        asked.into_iter().filter(|ask| ask["aside"] == false && ask["text"] == text).collect()
    }

    /// The whole log as the daemon has it, checked to be 1 to n without a gap.
    pub async fn log(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let path = format!("/v1/sessions/{}/events?limit=1000&after={}", self.id, all.len());
            let page = self.client.get(&path).await.expect(200);
            all.extend(page["items"].as_array().expect("a list").iter().cloned());
            if page["next"].is_null() {
                break;
            }
        }
        let numbers: Vec<u64> = all.iter().filter_map(|event| event["seq"].as_u64()).collect();
        assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
        all
    }

    /// Ends it, with its container.
    pub async fn close(self) {
        let unparsed: Vec<_> = self.log().await.into_iter().filter(|e| e["type"] == "agent.unparsed").collect();
        assert_eq!(unparsed, Vec::<Value>::new(), "everything that the agent said was understood");
        self.client.delete(&format!("/v1/sessions/{}", self.id)).await.expect(200);
    }
}
