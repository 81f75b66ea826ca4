//! One turn at a time, and what happens with a prompt that finds the session busy.

use serde_json::{Value, json};

use super::support::{Client, Daemon, Events};
use super::{log, states};

/// A session with a turn that runs: its id, its events, and the turn's prompt.
async fn busy(client: &Client, key: &str) -> (String, Events, u64) {
    let id = client.demo(key).await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 600").await;
    events.until(|e| e.chunk().is_some()).await;
    (id, events, n)
}

async fn when(client: &Client, id: &str, when_busy: &str, text: &str) -> super::support::Answer {
    client.post(&format!("/v1/sessions/{id}/prompts"), json!({ "content": text, "when_busy": when_busy })).await
}

/// The numbers of the prompts whose turns began, and ended, in order.
fn order(log: &[Value]) -> Vec<(String, u64)> {
    let told = log.iter().filter(|e| ["turn.started", "turn.ended"].iter().any(|kind| e["type"] == *kind));
    told.map(|e| (e["type"].as_str().expect("a type").to_owned(), e["data"]["prompt"].as_u64().expect("n"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_session_queues_rejects_or_interrupts_as_asked() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let (id, mut events, running) = busy(&client, "it:busy").await;
    assert_eq!(when(&client, &id, "reject", "echo no").await.problem(409), "session_busy");
    let queued = when(&client, &id, "queue", "echo queued").await.expect(202);
    assert_eq!(queued["position"], 1);
    let urgent = when(&client, &id, "interrupt", "echo urgent").await.expect(202);
    let (queued, urgent) = (queued["id"].as_u64().expect("n"), urgent["id"].as_u64().expect("n"));
    assert_eq!(events.turn(running).await.1["status"], "cancelled");
    assert_eq!(events.turn(urgent).await.0, "urgent");
    assert_eq!(events.turn(queued).await.0, "queued");
    let expected = [(running, "cancelled"), (queued, "done"), (urgent, "done")];
    assert_eq!(states(&client, &id).await, expected.map(|(n, state)| json!([n, state])));
    assert_eq!(when(&client, &id, "reject", "echo yes").await.status, 202, "it is not busy any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_running_turns_own_end_opens_the_gate() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:gate").await;
    let mut events = client.events(&id, 0).await;
    let running = client.prompt(&id, "slow 12").await;
    events.until(|e| e.chunk().is_some()).await;
    let next = client.prompt(&id, "echo next").await;
    // Another prompt's end, and a wake, in the middle of the turn.
    let withdrawn = client.prompt(&id, "echo never").await;
    client.delete(&format!("/v1/sessions/{id}/prompts/{withdrawn}")).await.expect(200);
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    assert_eq!(events.turn(running).await.1["status"], "done");
    assert_eq!(events.turn(next).await.0, "next");
    let (started, ended) = (|n| ("turn.started".to_owned(), n), |n| ("turn.ended".to_owned(), n));
    let expected = [started(running), ended(withdrawn), ended(running), started(next), ended(next)];
    assert_eq!(order(&log(&client, &id).await), expected);
}
