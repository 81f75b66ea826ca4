//! A lack of memory: whatever it hits, it is named, the session goes on or can be restored, and the others go on.

use serde_json::{Value, json};

use super::demo_but;
use super::support::{Client, Daemon, Events, docker_ok};

/// The demo agent's process itself takes all memory when a prompt says so.
const HOG: &str = "*take-all-memory*) exec tail -c 300000000 /dev/zero ;;";
/// What the demo agent runs for a tool that takes all memory: what tail keeps of a file without lines is all of it.
const TOOL: &str = "run head -c 300000000 /dev/zero | tail -c 300000000 | wc -c";

/// The same by many processes, of which none is large.
const MANY: &str =
    "run for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 300000000 /dev/zero | tail -c 8000000 | wc -c & done; wait";

struct Scene {
    daemon: Daemon,
    client: Client,
    /// The session that it happens to, another one in the same workspace, and one elsewhere.
    hog: String,
    beside: String,
    elsewhere: String,
}

async fn scene() -> Scene {
    let daemon = Daemon::start_with(&[], Some(&demo_but("hog", HOG))).await;
    let client = daemon.client();
    let small = json!({ "name": "small", "image": "wharf/demo:latest", "memory": 67_108_864 });
    client.post("/v1/workspaces", small).await.expect(201);
    let make = async |body: Value| {
        client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
    };
    let hog = make(json!({ "agent": "hog", "workspace": "small" })).await;
    let beside = make(json!({ "agent": "demo", "workspace": "small" })).await;
    let elsewhere = make(json!({ "agent": "demo" })).await;
    for id in [&hog, &beside, &elsewhere] {
        client.turn(id, "echo before").await;
    }
    Scene { daemon, client, hog, beside, elsewhere }
}

impl Scene {
    /// A turn of another session that lasts over what happens.
    async fn lasting(&self, id: &str) -> (Events, u64) {
        let mut events = self.client.events(id, 0).await;
        let n = self.client.prompt(id, "slow 40").await;
        let turn = format!("turn_{n}");
        events.until(|e| e.json["turn"] == turn.as_str() && e.chunk().is_some()).await;
        (events, n)
    }
}

async fn whole((mut events, n): (Events, u64)) {
    let (text, end) = events.turn(n).await;
    assert!(text.ends_with("chunk 40 ") && end["status"] == "done", "{text} {end}");
}

fn names_memory(error: &Value) -> bool {
    error["message"].as_str().is_some_and(|message| message.contains("memory limit of 64 MiB"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_for_lack_of_memory_says_so_can_be_restored_and_the_others_go_on() {
    let scene = scene().await;
    let (client, id) = (&scene.client, &scene.hog);
    let others = (scene.lasting(&scene.beside).await, scene.lasting(&scene.elsewhere).await);
    for time in 1..=3 {
        let (_, end) = client.turn(id, "take-all-memory").await;
        assert!(names_memory(&end["error"]) && end["status"] == "failed", "{time}: {end}");
    }
    // The third within a minute: it is not tried any more until somebody says so.
    let view = client.session(id).await;
    assert!(names_memory(&view["error"]) && view["status"] == "error", "{view}");
    let refused = client.post(&format!("/v1/sessions/{id}/prompts"), json!({ "content": "echo x" })).await;
    assert_eq!(refused.problem(409), "session_failed");
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    let (text, _) = client.turn(id, "recall").await;
    assert!(text.lines().any(|line| line == "echo before"), "{text}");
    whole(others.0).await;
    whole(others.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_killed_for_lack_of_memory_is_an_event_and_its_turn_goes_on() {
    let scene = scene().await;
    let other = scene.lasting(&scene.beside).await;
    let mut events = scene.client.events(&scene.hog, 0).await;
    let n = scene.client.prompt(&scene.hog, TOOL).await;
    let told = events.until(|e| e.kind() == "workspace.status" && e.json["data"]["reason"].is_string()).await;
    assert!(told.json["data"]["reason"].as_str().is_some_and(|why| why.contains("memory limit of 64 MiB")));
    // The agent is alive and ends its turn itself, whether before or after the engine has told.
    let prompts = format!("/v1/sessions/{}/prompts", scene.hog);
    super::support::until("the turn's end", async || {
        let state = scene.client.get(&prompts).await.expect(200)["items"][1]["state"].clone();
        super::support::so(state == "done", state)
    })
    .await;
    assert_eq!(n, 2);
    whole(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_for_lack_of_memory_says_so_is_put_right_and_the_others_go_on() {
    let scene = scene().await;
    let other = scene.lasting(&scene.elsewhere).await;
    let workspace = scene.client.session(&scene.hog).await["workspace"].as_str().expect("an id").to_owned();
    let filter = format!("label=wharf.workspace={workspace}");
    let container = docker_ok(&["ps", "-q", "--filter", &filter]);
    let pid = docker_ok(&["inspect", "-f", "{{.State.Pid}}", &container]);
    // The kernel is told whom to take first.
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").expect("it is our container's");
    let mut events = scene.client.events(&scene.hog, 0).await;
    let n = scene.client.prompt(&scene.hog, MANY).await;
    // tether is gone before the engine tells why: which of the two events comes first is not said.
    let mut states = scene.client.events(&scene.hog, 0).await;
    let (_, end) = events.turn(n).await;
    let told = states.until(|e| e.kind() == "workspace.status" && e.json["data"]["status"] == "stopped").await;
    let reason = told.json["data"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("memory limit of 64 MiB"), "{}", told.json);
    assert!(names_memory(&end["error"]) && end["status"] == "unknown", "{end}");
    for id in [&scene.hog, &scene.beside] {
        let (text, _) = scene.client.turn(id, "recall").await;
        assert!(text.lines().any(|line| line == "echo before"), "{text}");
    }
    whole(other).await;
    assert_eq!(scene.daemon.containers().len(), 2);
}
