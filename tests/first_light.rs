//! A session with the demo agent in a container of its own, and what it outlives.

mod support;

use serde_json::{Value, json};
use support::{Client, Daemon, docker_ok, so, until};

/// What a session's agent was given, as it says itself.
async fn recall(client: &Client, session: &str) -> Vec<String> {
    let (text, _) = client.turn(session, "recall").await;
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_found_by_key_and_by_agent_id_and_remembers() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:remembers").await;
    let (text, end) = client.turn(&id, "echo hello").await;
    assert_eq!(text, "hello");
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("done"), &json!("end_turn")));
    let agent_id = client.session(&id).await["agent_session_id"].as_str().expect("linked").to_owned();

    docker_ok(&["stop", "-t", "2", &daemon.containers()[0]]);
    daemon.stop();
    daemon.start_again().await;
    let client = daemon.client();
    for name in ["it:remembers", agent_id.as_str(), id.as_str()] {
        assert_eq!(client.session(name).await["id"], id.as_str(), "found by {name}");
    }
    let restored = client.post("/v1/sessions/it:remembers/restore", json!({})).await.expect(200);
    assert_eq!(restored["status"], "idle");
    assert_eq!(recall(&client, &id).await, ["echo hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_removed_is_made_again_and_the_agent_remembers() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:again").await;
    client.turn(&id, "echo one").await;
    docker_ok(&["rm", "-f", &daemon.containers()[0]]);
    assert_eq!(recall(&client, &id).await, ["echo one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_survives_the_daemon() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:survives").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 50").await;
    let mut seen: Vec<Value> = Vec::new();
    let mut chunks = String::new();
    while chunks.matches("chunk").count() < 10 {
        let event = events.next().await.expect("the stream goes on");
        chunks.push_str(event.chunk().unwrap_or_default());
        seen.push(event.json);
    }
    daemon.kill();
    // What was on its way is read to the end: it was durable, or it would not have been sent.
    for event in events.rest().await {
        chunks.push_str(event.chunk().unwrap_or_default());
        seen.push(event.json);
    }
    let last = events.last();
    daemon.start_again().await;
    let client = daemon.client();
    let mut events = client.events(&id, last).await;
    let end = loop {
        let event = events.next().await.expect("the stream goes on");
        chunks.push_str(event.chunk().unwrap_or_default());
        seen.push(event.json.clone());
        if event.kind() == "turn.ended" {
            break event.json["data"].clone();
        }
    };
    assert_eq!((&end["prompt"], &end["status"], &end["stop_reason"]), (&json!(n), &json!("done"), &json!("end_turn")));
    let expected: String = (1..=50).map(|i| format!("chunk {i} ")).collect();
    assert_eq!(chunks, expected);
    let seqs: Vec<u64> = seen.iter().map(|e| e["seq"].as_u64().expect("a number")).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let page = client.get(&format!("/v1/sessions/{id}/events?limit=1000")).await.expect(200);
    let stored: Vec<Value> = page["items"].as_array().expect("a list").iter().take(seen.len()).cloned().collect();
    assert_eq!(stored, seen, "the log is what the client saw");
    assert_eq!(recall(&client, &id).await, ["slow 50"], "the prompt was given once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_runs_once() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:once").await;
    let path = format!("/v1/sessions/{id}/prompts");
    let send = |text: &'static str| {
        let request = client.request("POST", &path).header("Idempotency-Key", "k1");
        async move { Client::send(request.json(&json!({ "content": text }))).await.expect("an answer") }
    };
    let (first, second) = tokio::join!(send("echo once"), send("echo once"));
    let (first, second) = (first.expect(202), second.expect(202));
    assert_eq!(first["id"], second["id"]);
    assert_eq!(send("echo other").await.problem(422), "idempotency_key_reused");
    assert_eq!(recall(&client, &id).await, ["echo once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_leaves_no_process_behind() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:cancel").await;
    let mut events = client.events(&id, 0).await;
    // One that daemonises itself, too: in a session of its own, with init as its parent.
    let n = client.prompt(&id, "run setsid sleep 601 & sleep 600").await;
    events
        .until(|e| e.json["data"]["sessionUpdate"] == "tool_call_update" || e.json["data"]["status"] == "in_progress")
        .await;
    let running = || daemon.processes().iter().filter(|line| line.contains("sleep 60")).count();
    until("both processes of the tool", async || so(running() == 2, daemon.processes())).await;
    let cancelled = client.post(&format!("/v1/sessions/{id}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["turn"], format!("turn_{n}"));
    let (_, end) = events.turn(n).await;
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("cancelled"), &json!("cancelled")));
    assert_eq!(running(), 0, "{:?}", daemon.processes());
    assert_eq!(client.turn(&id, "echo alive").await.0, "alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_listen_is_ended_by_force() {
    let daemon = Daemon::start_with(&[], Some(DEAF)).await;
    let client = daemon.client();
    let session = client.post("/v1/sessions", json!({ "agent": "deaf", "key": "it:deaf" })).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    let mut events = client.events(id, 0).await;
    let n = client.prompt(id, "slow 100000").await;
    events.until(|e| e.chunk().is_some()).await;
    client.post(&format!("/v1/sessions/{id}/cancel"), json!({})).await.expect(200);
    let (_, end) = events.turn(n).await;
    assert_eq!(end["status"], "cancelled");
    assert_eq!(recall(&client, id).await, ["slow 100000"], "started again, resumed");
}

/// The demo agent behind a filter that keeps every cancel from it.
const DEAF: &str = r#"
[agents.deaf]
protocol = "acp"
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", "trap '' TERM; while read -r line; do case $line in *session/cancel*) ;; *) echo \"$line\" ;; esac; done | /bin/wharf-demo-agent"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_is_answerable_after_a_restart_and_a_stale_answer_is_told() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:permission").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "ask echo allowed-it").await;
    let asked = events.until_kind("permission.requested").await;
    let permission = asked.json["data"]["id"].as_str().expect("an id").to_owned();
    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    assert_eq!(client.session(&id).await["status"], "waiting");
    let pending = client.get(&format!("/v1/sessions/{id}/permissions")).await.expect(200);
    assert_eq!(pending["items"][0]["id"], permission.as_str());
    let path = format!("/v1/sessions/{id}/permissions/{permission}");
    client.post(&path, json!({ "kind": "allow_once" })).await.expect(200);
    let mut events = client.events(&id, 0).await;
    let (text, end) = events.turn(n).await;
    assert!(text.contains("allowed-it"), "{text}");
    assert_eq!(end["status"], "done");
    assert_eq!(client.post(&path, json!({ "kind": "allow_once" })).await.problem(409), "permission_stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_stopped_in_a_turn_says_so_and_the_next_prompt_goes_on() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:stopped").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    docker_ok(&["stop", &daemon.containers()[0]]);
    let mut events = client.events(&id, 0).await;
    let (text, end) = events.turn(n).await;
    assert!(text.starts_with("chunk 1 "), "what it said before is kept: {text}");
    // It had been given to the agent: what became of it can't be known.
    assert_eq!(end["status"], "unknown", "{end}");
    assert!(end["error"]["message"].as_str().expect("a message").contains("workspace stopped"), "{end}");
    assert_eq!(recall(&client, &id).await, ["slow 1000"], "and it was given once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_is_noticed_and_resumed_before_the_next_turn() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:dead").await;
    client.turn(&id, "echo one").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "exit 7").await;
    let exited = events.until_kind("agent.exited").await;
    assert_eq!(exited.json["data"]["code"], 7);
    let (_, end) = events.turn(n).await;
    assert_eq!(end["status"], "failed");
    assert!(end["error"]["message"].as_str().expect("a message").contains("code 7"), "{end}");
    assert_eq!(recall(&client, &id).await, ["echo one", "exit 7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_no_container_no_volume_and_ends_the_subscribers() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:close").await;
    let mut events = client.events(&id, 0).await;
    client.prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    let closed = client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(closed["status"], "closed");
    let rest = events.rest().await;
    assert_eq!(rest.last().expect("events").kind(), "session.closed");
    assert!(rest.iter().any(|e| e.kind() == "turn.ended" && e.json["data"]["status"] == "cancelled"));
    assert_eq!(daemon.containers(), Vec::<String>::new());
    assert!(daemon.volumes().iter().all(|v| v.starts_with("wharf-tether-")), "{:?}", daemon.volumes());
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    let again = client.post(&format!("/v1/sessions/{id}/prompts"), json!({ "content": "echo x" })).await;
    assert_eq!(again.problem(409), "session_closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_run_in_order_and_a_pending_one_can_be_withdrawn() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:queue").await;
    let mut events = client.events(&id, 0).await;
    let first = client.prompt(&id, "slow 5").await;
    let second = client.prompt(&id, "echo two").await;
    let third = client.prompt(&id, "echo three").await;
    let withdrawn = client.delete(&format!("/v1/sessions/{id}/prompts/{second}")).await.expect(200);
    assert_eq!(withdrawn["state"], "cancelled");
    let busy = json!({ "content": "echo no", "when_busy": "reject" });
    assert_eq!(client.post(&format!("/v1/sessions/{id}/prompts"), busy).await.problem(409), "session_busy");
    assert_eq!(events.turn(first).await.0, "chunk 1 chunk 2 chunk 3 chunk 4 chunk 5 ");
    assert_eq!(events.turn(third).await.0, "three");
    assert_eq!(recall(&client, &id).await, ["slow 5", "echo three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_can_not_reach_its_tether_nor_gain_anything() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:confined").await;
    let tried =
        "run ls /run/wharf /var/lib/wharf; kill -9 1; touch /usr/x; grep -E 'CapEff|NoNewPrivs' /proc/self/status";
    let (text, end) = client.turn(&id, tried).await;
    assert_eq!(end["status"], "done", "{text}");
    assert_eq!(text.matches("Permission denied").count(), 2, "{text}");
    assert!(text.contains("Operation not permitted") || text.contains("not permitted"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000") && text.contains("NoNewPrivs:\t1"), "{text}");
    assert_eq!(client.turn(&id, "echo alive").await.0, "alive");
}
