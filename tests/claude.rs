//! Claude Code, the real package in the workspace image, through the real daemon and against a model API of the tests.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, Daemon, Event, Events, Model, docker, docker_ok, so, until};

/// Secrets that are found nowhere else: what holds one of them in clear has it from the daemon.
const API_KEY: &str = "sk-ant-wharf-c2a9f17be04d";
const SESSION_SECRET: &str = "session-secret-77d1e0b35a6f";
const WORKSPACE_SECRET: &str = "workspace-secret-e90c42d8b1a3";
const MCP_SECRET: &str = "mcp-secret-3b8f6c15d27e";

/// A daemon whose Claude Code asks the tests' model. The daemon's containers go before their network: fields are
/// dropped in order.
struct Stage {
    daemon: Daemon,
    model: Model,
}

impl Stage {
    async fn start(env: &[(&str, &str)]) -> Self {
        let model = Model::start(Duration::from_millis(100));
        let url = model.url();
        let own = [("ANTHROPIC_API_KEY", API_KEY), ("ANTHROPIC_BASE_URL", url.as_str())];
        let daemon = Daemon::start_with(&[&own[..], env].concat(), None).await;
        Self { daemon, model }
    }

    /// Makes a session in a workspace of its own, on the model's network; its id.
    async fn session(&self, key: &str, mut more: Value) -> String {
        more["agent"] = "claude".into();
        more["key"] = key.into();
        if more["workspace"].is_null() {
            more["workspace"] = json!({ "network": self.model.network() });
        }
        let session = self.daemon.client().post("/v1/sessions", more).await.expect(201);
        session["id"].as_str().expect("an id").to_owned()
    }

    /// The only container.
    fn container(&self) -> String {
        let containers = self.daemon.containers();
        assert_eq!(containers.len(), 1, "{containers:?}");
        containers[0].clone()
    }

    /// Every process in the only container, a command line each.
    fn processes(&self) -> Vec<String> {
        docker_ok(&["top", &self.container(), "-eo", "pid,args"]).lines().skip(1).map(str::to_owned).collect()
    }

    /// Whether the container has a file.
    fn has(&self, path: &str) -> bool {
        docker(&["exec", &self.container(), "test", "-e", path]).is_ok()
    }
}

/// Reads a turn to its end: its updates, and the data of its end.
async fn updates(events: &mut Events, prompt: u64) -> (Vec<Value>, Value) {
    let mut updates = Vec::new();
    let end = events
        .until(|e| {
            if e.kind() == "update" && e.json["turn"] == format!("turn_{prompt}") {
                updates.push(e.json["data"].clone());
            }
            e.kind() == "turn.ended" && e.json["data"]["prompt"] == prompt
        })
        .await;
    (updates, end.json["data"].clone())
}

/// Asks, and answers what the agent wants to be allowed; the turn's text and end.
async fn answered(client: &Client, id: &str, prompt: &str, kind: &str) -> (String, Value) {
    let mut events = client.events(id, client.session(id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(id, prompt).await;
    let asked = events.until_kind("permission.requested").await.json["data"].clone();
    assert_eq!(asked["tool_call"]["rawInput"]["command"], prompt.strip_prefix("ask ").expect("an ask"));
    assert_eq!(client.session(id).await["status"], "waiting");
    let path = format!("/v1/sessions/{id}/permissions/{}", asked["id"].as_str().expect("an id"));
    client.post(&path, json!({ "kind": kind })).await.expect(200);
    events.turn(n).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_then_a_new_container_and_it_remembers() {
    let stage = Stage::start(&[("WHARF_LOG", "trace")]).await;
    let client = stage.daemon.client();
    let body = json!({
        "permissions": "allow",
        "env": { "SESSION_SECRET": SESSION_SECRET },
        "workspace": { "network": stage.model.network(), "env": { "WORKSPACE_SECRET": WORKSPACE_SECRET } },
        "mcp_servers": [{ "name": "vault", "command": "/bin/true", "args": [],
                          "env": [{ "name": "MCP_SECRET", "value": MCP_SECRET }] }],
    });
    let id = stage.session("claude:remembers", body).await;
    let mut events = client.events(&id, 0).await;
    // Their lengths prove that the secrets reach the agent, and leave them out of the conversation.
    let command = "echo lengths ${#SESSION_SECRET} ${#WORKSPACE_SECRET}";
    let n = client.prompt(&id, &format!("run {command}")).await;
    let (updates, end) = updates(&mut events, n).await;
    let output = format!("lengths {} {}", SESSION_SECRET.len(), WORKSPACE_SECRET.len());
    check_tool_call(&updates, command, &output);
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("done"), &json!("end_turn")));
    assert!(end["usage"]["totalTokens"].as_u64().is_some_and(|n| n > 0), "{end}");
    let linked = events.until_kind("session.linked").await;
    let agent_id = linked.json["data"]["agent_session_id"].as_str().expect("an id").to_owned();
    assert!(stage.model.asked().iter().all(|ask| ask["auth"] == "x-api-key"), "{:?}", stage.model.asked());

    let before = stage.container();
    docker_ok(&["rm", "-f", &before]);
    let n = client.prompt(&id, "count?").await;
    let started = events.until_kind("agent.started").await;
    assert_eq!(started.json["data"]["resumed"], true);
    assert_eq!(events.turn(n).await.0, "turns=2", "the first turn was sent to the model again");
    assert_ne!(stage.container(), before, "made again");
    for name in [agent_id.as_str(), "claude:remembers"] {
        let found = client.session(name).await;
        assert_eq!((&found["id"], &found["agent_session_id"]), (&json!(id), &json!(agent_id)), "found by {name}");
    }
    secrets_are_kept(&stage, &output);
}

/// A call, its input, its output, and then what the agent says.
fn check_tool_call(updates: &[Value], command: &str, output: &str) {
    let at = |kind: &str, status: &str| {
        let found = updates.iter().position(|u| u["sessionUpdate"] == kind && u["status"] == status);
        found.unwrap_or_else(|| panic!("no {kind} {status} in {updates:#?}"))
    };
    let call = at("tool_call", "pending");
    let running = at("tool_call_update", "in_progress");
    let done = at("tool_call_update", "completed");
    assert_eq!(
        (&updates[running]["title"], &updates[running]["rawInput"]["command"]),
        (&json!(command), &json!(command))
    );
    assert_eq!(updates[done]["content"][0]["content"]["text"], output);
    assert!([running, done].iter().all(|&u| updates[u]["toolCallId"] == updates[call]["toolCallId"]), "{updates:#?}");
    let said = updates.iter().position(|u| u["sessionUpdate"] == "agent_message_chunk").expect("it speaks");
    assert!(call < running && running < done && done < said, "{updates:#?}");
    let text: String = updates[said..].iter().filter_map(|u| u["content"]["text"].as_str()).collect();
    assert_eq!(text, format!("DONE\n{output}"));
}

/// Guarantee 12: nothing that lies anywhere, and nothing that anyone is shown, has a secret in clear.
fn secrets_are_kept(stage: &Stage, said: &str) {
    let container = stage.container();
    let secrets = [API_KEY, SESSION_SECRET, WORKSPACE_SECRET, MCP_SECRET];
    let inspected = docker_ok(&["inspect", &container]);
    let log = stage.daemon.log_text();
    let arguments = stage.processes().join("\n");
    assert!(arguments.contains("claude -p"), "{arguments}");
    for secret in secrets {
        assert!(!inspected.contains(secret), "docker inspect shows {secret}");
        assert!(!log.contains(secret), "the daemon's log shows {secret}");
        assert!(!arguments.contains(secret), "the list of processes shows {secret}");
        assert_eq!(files_with(stage.daemon.state(), secret), Vec::<String>::new(), "in clear: {secret}");
        let tether = docker(&["exec", &container, "grep", "-rlF", secret, "/var/lib/wharf"]);
        assert!(tether.is_err_and(|e| e.is_empty()), "tether's journal holds {secret}");
    }
    // What is there is found: the same search sees what the agent said.
    assert_ne!(files_with(stage.daemon.state(), said), Vec::<String>::new());
}

/// The files below a directory that hold a text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if let Ok(bytes) = std::fs::read(entry.path())
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_one_workspace_with_all_that_happens_to_them() {
    let stage = Stage::start(&[]).await;
    let client = stage.daemon.client();
    let spec = json!({ "name": "shared", "network": stage.model.network() });
    client.post("/v1/workspaces", spec).await.expect(201);
    // Side by side, because each must leave the others alone.
    tokio::join!(permissions(&stage), cancel(&stage), another_model(&stage), api_error(&stage), killed(&stage));
}

async fn permissions(stage: &Stage) {
    let client = stage.daemon.client();
    let id = stage.session("claude:permissions", json!({ "workspace": "shared" })).await;
    let (text, end) = answered(&client, &id, "ask touch /workspace/allowed && echo made", "allow_once").await;
    assert_eq!((text.as_str(), &end["status"]), ("DONE\nmade", &json!("done")));
    assert!(stage.has("/workspace/allowed"));
    let (text, end) = answered(&client, &id, "ask touch /workspace/denied && echo made", "reject_once").await;
    assert_eq!(end["status"], "done", "the turn goes on: {end}");
    assert!(text.starts_with("DONE") && !text.contains("made"), "{text}");
    assert!(!stage.has("/workspace/denied"));
}

async fn cancel(stage: &Stage) {
    let client = stage.daemon.client();
    let id = stage.session("claude:cancel", json!({ "workspace": "shared", "permissions": "allow" })).await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "run setsid sleep 601 & sleep 600").await;
    events.until(|e| e.json["data"]["sessionUpdate"] == "tool_call_update").await;
    let sleeping = || stage.processes().iter().filter(|line| line.contains("sleep 60")).cloned().collect::<Vec<_>>();
    until("both processes of the tool", async || {
        let both = ["sleep 600", "sleep 601"].iter().all(|s| sleeping().iter().any(|line| line.ends_with(s)));
        so(both, stage.processes())
    })
    .await;
    client.post(&format!("/v1/sessions/{id}/cancel"), json!({})).await.expect(200);
    let (_, end) = events.turn(n).await;
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(sleeping(), Vec::<String>::new());
    assert_eq!(client.turn(&id, "say alive").await.0, "alive");
}

async fn another_model(stage: &Stage) {
    let client = stage.daemon.client();
    let id = stage.session("claude:model", json!({ "workspace": "shared", "model": "mock-one" })).await;
    assert_eq!(client.turn(&id, "model?").await.0, "mock-one");
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "slow 10").await;
    events.until(|e| e.chunk().is_some()).await;
    let path = format!("/v1/sessions/{id}");
    assert_eq!(client.patch(&path, json!({ "model": "mock-two" })).await.expect(200)["model"], "mock-two");
    let (rest, end) = events.turn(n).await;
    assert!(rest.ends_with("chunk 10 ") && end["status"] == "done", "the running turn goes on: {rest} {end}");
    assert_eq!(client.turn(&id, "model?").await.0, "mock-two");
}

async fn api_error(stage: &Stage) {
    let client = stage.daemon.client();
    let id = stage.session("claude:error", json!({ "workspace": "shared" })).await;
    let (_, end) = client.turn(&id, "error 400 the prompt was not to its taste").await;
    assert_eq!((&end["status"], &end["error"]["status"]), (&json!("failed"), &json!(400)), "{end}");
    let message = end["error"]["message"].as_str().expect("a message");
    assert!(message.contains("the prompt was not to its taste"), "{message}");
    assert_eq!(client.session(&id).await["status"], "idle");
    assert_eq!(client.turn(&id, "say fine").await.0, "fine");
}

async fn killed(stage: &Stage) {
    let client = stage.daemon.client();
    let id = stage.session("claude:killed", json!({ "workspace": "shared" })).await;
    client.turn(&id, "say one").await;
    let session = client.session(&id).await;
    let agent_id = session["agent_session_id"].as_str().expect("linked");
    let mut events = client.events(&id, session["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "hang 600").await;
    events.until_kind("turn.started").await;
    let (container, own) = (stage.container(), format!("--session-id {agent_id}"));
    let pid = docker_ok(&["exec", &container, "pgrep", "-f", "--", &own]);
    let began = Instant::now();
    docker_ok(&["exec", "--user", "1000", &container, "kill", "-9", &pid]);
    let exited = events.until_kind("agent.exited").await;
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
    assert_eq!(exited.json["data"]["signal"], 9);
    let (_, end) = events.turn(n).await;
    assert_eq!(end["status"], "failed");
    assert!(end["error"]["message"].as_str().expect("a message").contains("signal 9"), "{end}");
    let (text, _) = client.turn(&id, "count?").await;
    assert!(text == "turns=2" || text == "turns=3", "it remembers, and may remember what it died of: {text}");
    assert_eq!(client.session(&id).await["agent_session_id"], agent_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_survives_the_daemon_and_a_stopped_container_rests_until_the_next() {
    let mut stage = Stage::start(&[]).await;
    let client = stage.daemon.client();
    let id = stage.session("claude:survives", json!({})).await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 30").await;
    let mut seen: Vec<Event> = Vec::new();
    while seen.iter().filter(|e| e.chunk().is_some()).count() < 3 {
        seen.push(events.next().await.expect("the stream goes on"));
    }
    stage.daemon.kill();
    seen.extend(events.rest().await);
    stage.daemon.start_again().await;
    let client = stage.daemon.client();
    let mut events = client.events(&id, events.last()).await;
    while seen.last().is_none_or(|e| e.kind() != "turn.ended") {
        seen.push(events.next().await.expect("the stream goes on"));
    }
    let end = &seen.last().expect("events").json["data"];
    assert_eq!((&end["prompt"], &end["status"]), (&json!(n), &json!("done")));
    let chunks: String = seen.iter().filter_map(Event::chunk).collect();
    assert_eq!(chunks, (1..=30).map(|i| format!("chunk {i} ")).collect::<String>());
    assert_eq!(seen.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=seen.len() as u64).collect::<Vec<_>>());
    assert_eq!(stage.model.asked().len(), 1, "the prompt was given once: {:?}", stage.model.asked());

    let container = stage.container();
    docker_ok(&["stop", &container]);
    events.until(|e| e.kind() == "session.status" && e.json["data"]["status"] == "suspended").await;
    assert_eq!(docker_ok(&["inspect", "-f", "{{.State.Running}}", &container]), "false", "nobody needs it");
    assert_eq!(client.turn(&id, "count?").await.0, "turns=2");
    assert_eq!(stage.container(), container, "started, not made again");
    // What the process before wrote went with its container unforgotten; the next start lets go of it.
    until("the end of the old journal", async || {
        let journals = docker_ok(&["exec", &container, "ls", "/var/lib/wharf/processes"]);
        so(journals == format!("{id}-r2"), journals)
    })
    .await;
}
