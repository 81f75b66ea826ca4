//! Idleness, by the machine's clock and from outside.

use serde_json::json;

use super::running;
use super::support::{Daemon, docker_ok, so, until};

/// Waits until so many containers run; the engine tells no client of it.
async fn until_running(daemon: &Daemon, wanted: usize) {
    until(&format!("{wanted} containers"), async || so(running(daemon) == wanted, running(daemon))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_has_no_process_no_exec_and_no_container_and_wakes_unnoticed() {
    for transport in ["auto", "exec"] {
        let daemon = Daemon::start_with(&[("WHARF_IDLE_TIMEOUT", "1s"), ("WHARF_TRANSPORT", transport)], None).await;
        let client = daemon.client();
        let id = client.demo("it:idle").await;
        let mut events = client.events(&id, 0).await;
        // Longer than the timeout: a turn in flight is never swept.
        let n = client.prompt(&id, "slow 15").await;
        let (text, end) = events.turn(n).await;
        assert_eq!((text.matches("chunk").count(), &end["status"]), (15, &json!("done")));
        events.until(|e| e.json["data"]["status"] == "suspended").await;
        events.until_kind("agent.exited").await;
        until_running(&daemon, 0).await;
        let container = &daemon.containers()[0];
        assert_eq!(docker_ok(&["inspect", "-f", "{{.State.Running}} {{.ExecIDs}}", container]), "false []");
        let (text, _) = client.turn(&id, "recall").await;
        assert_eq!(text.trim(), "slow 15");
        assert_eq!(running(&daemon), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_another_session_uses_is_not_stopped_and_one_that_nobody_uses_is() {
    let daemon = Daemon::start_with(&[("WHARF_IDLE_TIMEOUT", "1s")], None).await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })).await.expect(201);
    let make = async |key: &str| {
        let body = json!({ "agent": "demo", "workspace": "w", "key": key });
        client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
    };
    let (idle, busy) = (make("it:one").await, make("it:two").await);
    let mut of_idle = client.events(&idle, 0).await;
    let mut of_busy = client.events(&busy, 0).await;
    let n = client.prompt(&busy, "slow 40").await;
    of_idle.until(|e| e.json["data"]["status"] == "suspended").await;
    let (text, end) = of_busy.turn(n).await;
    assert_eq!((text.matches("chunk").count(), &end["status"]), (40, &json!("done")), "nothing was interrupted");
    until_running(&daemon, 0).await;
    // Nor is one left running after its last session was closed, or by a person who went away.
    client.turn(&busy, "echo awake").await;
    for id in [&idle, &busy] {
        client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    }
    until_running(&daemon, 0).await;
    client.post("/v1/workspaces/w/start", json!({})).await.expect(200);
    until_running(&daemon, 0).await;
}
