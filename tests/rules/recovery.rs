//! Many sessions that wait for a daemon to start: they are woken a few at a time.

use serde_json::{Value, json};

use super::log;
use super::support::Daemon;

/// More than three times as many as may wake at once.
const SESSIONS: usize = 26;
/// What the daemon promises.
const AT_ONCE: usize = 8;

/// When a session began to wake and when its turn began, after the daemon's restart.
fn interval(log: &[Value], restarted_after: u64) -> (String, String) {
    let time = |e: &Value| e["time"].as_str().expect("a time").to_owned();
    let new = || log.iter().filter(|e| e["seq"].as_u64() > Some(restarted_after));
    let begun = new().find(|e| e["data"]["status"] == "starting").expect("it starts");
    let ready = new().find(|e| e["type"] == "turn.started").expect("its turn begins");
    (time(begun), time(ready))
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_at_start_is_no_stampede() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })).await.expect(201);
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let body = json!({ "agent": "demo", "workspace": "w", "key": format!("it:{n}") });
        let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
        let mut events = client.events(&id, 0).await;
        client.prompt(&id, "slow 6000").await;
        let waiting = client.prompt(&id, &format!("echo {n}")).await;
        events.until(|e| e.chunk().is_some()).await;
        sessions.push((id, waiting));
    }
    // All of them come to rest with a prompt that waits.
    client.post("/v1/workspaces/w/stop", json!({})).await.expect(200);
    let mut rested = Vec::new();
    for (id, waiting) in sessions {
        let view = client.session(&id).await;
        assert_eq!((&view["status"], &view["queued"]), (&json!("suspended"), &json!(1)));
        rested.push((id, waiting, view["last_seq"].as_u64().expect("a number")));
    }
    daemon.stop();
    daemon.start_again().await;
    let client = daemon.client();
    let mut intervals = Vec::new();
    for (n, (id, waiting, last)) in rested.iter().enumerate() {
        assert_eq!(client.events(id, *last).await.turn(*waiting).await.0, n.to_string());
        intervals.push(interval(&log(&client, id).await, *last));
    }
    // RFC 3339 in one form: its order is that of time. Only what overlaps by more than an instant is at once.
    let most =
        intervals.iter().map(|(at, _)| intervals.iter().filter(|(from, to)| from <= at && at < to).count()).max();
    assert!(most <= Some(AT_ONCE), "{most:?} at once: {intervals:?}");
}
