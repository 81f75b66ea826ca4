//! Marked sessions: their agents are started afresh before their next turns.

use serde_json::json;

use super::log;
use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn dirty_starts_the_agent_afresh_before_its_next_turn_and_never_during_one() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:dirty").await;
    client.turn(&id, "echo before").await;
    let mut events = client.events(&id, 0).await;
    let running = client.prompt(&id, "slow 10").await;
    let chunk = format!("turn_{running}");
    events.until(|e| e.json["turn"] == chunk.as_str() && e.chunk().is_some()).await;
    let path = format!("/v1/sessions/{id}/recreate?reason=new%20key");
    assert_eq!(client.post(&path, json!({})).await.expect(200), json!({ "marked": 1 }));
    let (text, end) = events.turn(running).await;
    assert!(text.ends_with("chunk 10 ") && end["status"] == "done", "{text} {end}");
    // The mark outlives the daemon.
    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    assert_eq!(client.session(&id).await["dirty"], true);
    let (text, _) = client.turn(&id, "recall").await;
    assert_eq!(text.lines().collect::<Vec<_>>(), ["echo before", "slow 10"], "it takes its conversation up again");
    assert_eq!(client.session(&id).await["dirty"], false);
    let log = log(&client, &id).await;
    let starts: Vec<_> = log.iter().filter(|e| e["type"] == "agent.started").map(|e| &e["data"]["resumed"]).collect();
    assert_eq!(starts, [&json!(false), &json!(true)]);
    let changes: Vec<_> = log.iter().filter(|e| e["type"] == "session.changed").map(|e| &e["data"]).collect();
    assert_eq!(changes, [&json!({ "dirty": true, "reason": "new key" }), &json!({ "dirty": false })]);
    // Once is enough.
    client.turn(&id, "echo again").await;
    assert_eq!(daemon.processes().iter().filter(|line| line.contains("demo-agent")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn marking_a_project_or_all_answers_how_many() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    for (key, project) in [("it:a", "p"), ("it:b", "p"), ("it:c", "q"), ("it:closed", "p")] {
        let body = json!({ "agent": "demo", "key": key, "project": project });
        client.post("/v1/sessions", body).await.expect(201);
    }
    client.delete("/v1/sessions/it:closed").await.expect(200);
    let mark = async |query: &str| client.post(&format!("/v1/sessions/recreate{query}"), json!({})).await.expect(200);
    assert_eq!(mark("?project=p&reason=x").await, json!({ "marked": 2 }));
    assert_eq!(client.session("it:c").await["dirty"], false);
    assert_eq!(mark("").await, json!({ "marked": 3 }));
    assert_eq!(mark("?project=nobody").await, json!({ "marked": 0 }));
    assert_eq!(client.post("/v1/sessions/it:closed/recreate", json!({})).await.problem(409), "session_closed");
    assert_eq!(client.post("/v1/sessions/recreate?reason=", json!({})).await.problem(422), "invalid_field");
}
