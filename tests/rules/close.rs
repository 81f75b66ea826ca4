//! Reset and close, whatever state the agent and the engine are in.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Daemon, docker_ok};
use super::{log, states};

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_counts_from_zero_keeps_everything_else_and_is_one_event() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:reset").await;
    client.turn(&id, "echo one").await;
    let mut events = client.events(&id, 0).await;
    let running = client.prompt(&id, "slow 600").await;
    let turn = format!("turn_{running}");
    events.until(|e| e.json["turn"] == turn.as_str() && e.chunk().is_some()).await;
    let path = format!("/v1/sessions/{id}/reset");
    let reset = client.post(&path, json!({})).await.expect(200);
    assert_eq!((&reset["turns"], &reset["key"]), (&json!(0), &json!("it:reset")));
    // The same subscriber hears of it, once, and of what follows.
    events.until_kind("session.reset").await;
    let n = client.prompt(&id, "count?").await;
    assert_eq!(events.turn(n).await.1["status"], "done");
    let resets = log(&client, &id).await.iter().filter(|e| e["type"] == "session.reset").count();
    assert_eq!(resets, 1);
    assert_eq!(client.session(&id).await["turns"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_idempotent_and_ends_subscribers_with_session_closed() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:close").await;
    let mut events = client.events(&id, 0).await;
    let running = client.prompt(&id, "run sleep 600").await;
    let waiting = client.prompt(&id, "echo never").await;
    events.until(|e| e.kind() == "turn.started").await;
    let path = format!("/v1/sessions/{id}");
    let (one, two) = tokio::join!(client.delete(&path), client.delete(&path));
    assert_eq!((&one.expect(200)["status"], &two.expect(200)["status"]), (&json!("closed"), &json!("closed")));
    let rest = events.rest().await;
    assert_eq!(rest.last().map(|e| e.kind().to_owned()).as_deref(), Some("session.closed"), "and then the end");
    let again = client.delete(&path).await.expect(200);
    assert_eq!(again["last_seq"], rest.last().expect("an event").seq, "the third changes nothing");
    assert_eq!(states(&client, &id).await, [json!([running, "cancelled"]), json!([waiting, "cancelled"])]);
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_tolerates_a_dead_agent_and_a_dead_engine() {
    let place = tempfile::tempdir().expect("a directory");
    let (socket, real) = (place.path().join("e.sock"), std::env::var("DOCKER_HOST").unwrap_or_default());
    let real = real.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
    std::os::unix::fs::symlink(real, &socket).expect("a link");
    let daemon = Daemon::start_with(&[], Some(&format!("engine = \"unix://{}\"\n", socket.display()))).await;
    let client = daemon.client();
    let (dead, away) = (client.demo("it:dead").await, client.demo("it:away").await);
    client.turn(&dead, "echo x").await;
    client.turn(&away, "echo x").await;
    let of_dead = client.session(&dead).await["workspace"].as_str().expect("an id").to_owned();
    let filter = format!("label=wharf.workspace={of_dead}");
    docker_ok(&["rm", "-f", &docker_ok(&["ps", "-q", "--filter", &filter])]);
    assert_eq!(client.delete(&format!("/v1/sessions/{dead}")).await.expect(200)["status"], "closed");
    std::fs::remove_file(&socket).expect("the engine goes");
    let begun = Instant::now();
    assert_eq!(client.delete(&format!("/v1/sessions/{away}")).await.expect(200)["status"], "closed");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let last = log(&client, &away).await.last().expect("an event")["type"].clone();
    assert_eq!(last, "session.closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_all_at_shutdown_never_hangs() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })).await.expect(201);
    let mut ids = Vec::new();
    for n in 0..12 {
        let body = json!({ "agent": "demo", "workspace": "w", "key": format!("it:{n}") });
        let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
        let mut events = client.events(&id, 0).await;
        client.prompt(&id, "run sleep 600").await;
        events.until(|e| e.kind() == "turn.started").await;
        ids.push(id);
    }
    // Frozen: no agent can be ended, and nobody answers.
    let container = daemon.containers()[0].clone();
    docker_ok(&["pause", &container]);
    let closing: Vec<_> = ids
        .iter()
        .map(|id| {
            let request = client.request("DELETE", &format!("/v1/sessions/{id}"));
            tokio::spawn(async move { request.send().await.map(|r| r.status().as_u16()) })
        })
        .collect();
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    for task in closing {
        // Asked or not, nobody is left waiting.
        task.await.expect("a task").ok();
    }
    docker_ok(&["unpause", &container]);
    daemon.start_again().await;
    let client = daemon.client();
    for id in &ids {
        assert_eq!(client.delete(&format!("/v1/sessions/{id}")).await.expect(200)["status"], "closed");
    }
    assert!(!daemon.processes().iter().any(|line| line.contains("sleep 600")), "{:?}", daemon.processes());
}
