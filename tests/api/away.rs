//! An engine that can't be reached: the daemon serves what it can, says why it can't do more, and goes on when it is back.

use std::path::PathBuf;

use serde_json::json;

use super::support::{Daemon, so, until};
use super::world::World;

/// A socket where the engine may be put and taken away.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("absent.sock")
    }

    fn config(&self) -> String {
        format!("engine = \"unix://{}\"\n", self.socket().display())
    }

    fn appear(&self) {
        let real = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
        let real = real.strip_prefix("unix://").expect("an engine on a Unix socket");
        std::os::unix::fs::symlink(real, self.socket()).expect("a link");
    }

    fn vanish(&self) {
        std::fs::remove_file(self.socket()).expect("the link goes");
    }
}

/// Polls `/readyz`, for which there is no event.
async fn until_ready(daemon: &Daemon) {
    let client = daemon.client();
    until("readiness", async || {
        let answer = client.get("/readyz").await;
        so(answer.status == 200, answer)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_the_daemon_says_so_and_recovers_when_it_appears() {
    let place = Place::new();
    let daemon = Daemon::start_with(&[], Some(&place.config())).await;
    let client = daemon.client();
    let not_ready = client.get("/readyz").await;
    assert_eq!(not_ready.headers["retry-after"], "2");
    let engine = not_ready.json["components"].as_array().expect("a list").iter().find(|c| c["name"] == "engine");
    let message = engine.expect("the engine")["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("absent.sock") && message.contains("start the engine"), "{message}");
    assert_eq!(not_ready.problem(503), "not_ready");
    client.get("/healthz").await.expect(200);
    let agents = client.get("/v1/agents").await.expect(200);
    assert!(agents["items"].as_array().is_some_and(|a| a.iter().all(|a| a.get("image_present").is_none())));

    let before = World::of(&daemon, &client).await;
    for (path, body) in [
        ("/v1/sessions", json!({ "agent": "demo", "key": "it:away" })),
        ("/v1/sessions", json!({ "agent": "demo", "prompt": "echo x" })),
        ("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })),
    ] {
        let refused = client.post(path, body).await;
        assert!(refused.json["detail"].as_str().expect("text").contains("start the engine"), "{refused:?}");
        assert_eq!(refused.problem(503), "engine_unreachable");
    }
    assert_eq!(client.get("/v1/orphans").await.problem(503), "engine_unreachable");
    before.unchanged(&daemon, &client, "calls without an engine").await;

    place.appear();
    until_ready(&daemon).await;
    let id = client.demo("it:away").await;
    assert_eq!(client.turn(&id, "echo here").await.0, "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_without_an_engine_runs_by_itself_when_it_is_back() {
    let place = Place::new();
    place.appear();
    let mut daemon = Daemon::start_with(&[], Some(&place.config())).await;
    until_ready(&daemon).await;
    let client = daemon.client();
    let shared = json!({ "name": "shared", "image": "wharf/demo:latest" });
    client.post("/v1/workspaces", shared.clone()).await.expect(201);
    let rested = client.demo("it:rested").await;
    client.turn(&rested, "echo one").await;
    let left = client.demo("it:left").await;
    let mut events = client.events(&left, 0).await;
    let lasting = client.prompt(&left, "slow 30").await;
    events.until(|e| e.chunk().is_some()).await;
    daemon.stop();
    place.vanish();
    daemon.start_again().await;
    let client = daemon.client();
    assert_eq!(client.get("/readyz").await.problem(503), "not_ready");

    let waiting = client.prompt(&rested, "echo two").await;
    let refused = client.post(&format!("/v1/sessions/{rested}/restore"), json!({})).await;
    assert_eq!(refused.problem(503), "engine_unreachable");
    assert_eq!(client.post("/v1/workspaces/shared/start", json!({})).await.problem(503), "engine_unreachable");
    let new = json!({ "agent": "demo", "workspace": "shared", "prompt": "echo three", "key": "it:new" });
    let new = client.post("/v1/sessions", new).await.expect(201)["id"].as_str().expect("an id").to_owned();
    assert_eq!(client.session(&new).await["queued"], 1, "kept");
    let running = client.session(&left).await;
    assert_eq!((&running["status"], &running["turn"]), (&json!("running"), &json!(format!("turn_{lasting}"))));
    assert_eq!(client.session(&rested).await["queued"], 1);

    place.appear();
    let mut of_rested = client.events(&rested, 0).await;
    assert_eq!(of_rested.turn(waiting).await.0, "two");
    assert_eq!(client.events(&new, 0).await.turn(1).await.0, "three");
    let all: String = (1..=30).map(|n| format!("chunk {n} ")).collect();
    assert_eq!(client.events(&left, 0).await.turn(lasting).await.0, all, "it worked on meanwhile");
    let (text, _) = client.turn(&rested, "recall").await;
    assert_eq!(text.lines().collect::<Vec<_>>(), ["echo one", "echo two"], "given once");
}
