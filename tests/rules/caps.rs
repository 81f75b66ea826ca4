//! What a session may use up, and how long a turn may be silent.

use serde_json::json;

use super::support::{Client, Daemon};

/// The demo agent, which says of a prompt `say costs-N` that the conversation has cost N so far.
const COSTLY: &str = r#"
[caps]
max_turns = 50
[agents.costly]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''
/bin/wharf-demo-agent | while IFS= read -r line; do
  case "$line" in
    *agent_message_chunk*costs-*|*costs-*agent_message_chunk*)
      id=${line#*'"sessionId":"'}; id=${id%%'"'*}; cost=${line#*costs-}; cost=${cost%%'"'*}
      printf '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"%s","update":{"sessionUpdate":"usage_update","used":1,"size":9,"cost":{"amount":%s,"currency":"USD"}}}}\n' "$id" "$cost" ;;
    *) printf '%s\n' "$line" ;;
  esac
done''']
"#;

async fn try_prompt(client: &Client, id: &str) -> super::support::Answer {
    client.post(&format!("/v1/sessions/{id}/prompts"), json!({ "content": "echo more" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn past_a_cap_of_turns_prompts_are_refused_until_it_is_raised() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let body = json!({ "agent": "demo", "key": "it:turns", "max_turns": 2 });
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    client.turn(&id, "echo one").await;
    // What runs or waits counts, too.
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 10").await;
    let refused = try_prompt(&client, &id).await;
    assert_eq!((&refused.json["field"], &refused.json["limit"]), (&json!("max_turns"), &json!(2.0)));
    assert_eq!(refused.problem(409), "cap_reached");
    assert_eq!(events.turn(n).await.1["status"], "done", "what was accepted runs");
    // A reset forgets the conversation, not the bill.
    client.post(&format!("/v1/sessions/{id}/reset"), json!({})).await.expect(200);
    let view = client.session(&id).await;
    assert_eq!((&view["turns"], &view["turns_used"], &view["max_turns"]), (&json!(0), &json!(2), &json!(2)));
    assert_eq!(try_prompt(&client, &id).await.problem(409), "cap_reached");
    client.patch(&format!("/v1/sessions/{id}"), json!({ "max_turns": 0 })).await.expect(200);
    assert_eq!(client.turn(&id, "echo on").await.0, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_a_cap_of_cost_prompts_are_refused_and_the_configuration_has_the_defaults() {
    let daemon = Daemon::start_with(&[], Some(COSTLY)).await;
    let client = daemon.client();
    let body = json!({ "agent": "costly", "key": "it:cost", "max_cost": 1.0 });
    let session = client.post("/v1/sessions", body).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    assert_eq!((&session["max_turns"], &session["max_cost"]), (&json!(50), &json!(1.0)));
    client.turn(id, "say costs-0.75").await;
    assert_eq!(client.session(id).await["cost"], 0.75);
    client.turn(id, "say costs-1.25").await;
    assert_eq!(client.session(id).await["cost"], 1.25, "the agent tells what all of it has cost so far");
    assert_eq!(try_prompt(&client, id).await.problem(409), "cap_reached");
    let path = format!("/v1/sessions/{id}");
    assert_eq!(client.patch(&path, json!({ "max_cost": -1 })).await.problem(422), "invalid_field");
    client.patch(&path, json!({ "max_cost": 5 })).await.expect(200);
    assert_eq!(client.turn(id, "echo on").await.0, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_without_output_fails_after_the_inactivity_limit_and_nothing_of_it_is_left() {
    let daemon = Daemon::start_with(&[("WHARF_TURN_INACTIVITY", "1s")], None).await;
    let client = daemon.client();
    let id = client.demo("it:silent").await;
    let (_, end) = client.turn(&id, "run sleep 600").await;
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("failed"), &json!(null)), "{end}");
    let why = end["error"]["message"].as_str().expect("a message");
    assert!(why.contains("no output for 1 s"), "{why}");
    assert!(!daemon.processes().iter().any(|line| line.contains("sleep 600")), "{:?}", daemon.processes());
    // One that speaks may take as long as it likes; so may one that waits for a person.
    let (text, end) = client.turn(&id, "slow 25").await;
    assert_eq!((text.matches("chunk").count(), &end["status"]), (25, &json!("done")));
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "ask echo allowed").await;
    let asked = events.until_kind("permission.requested").await;
    let (other, begun) = (client.demo("it:meanwhile").await, std::time::Instant::now());
    client.turn(&other, "slow 15").await;
    assert!(begun.elapsed() > std::time::Duration::from_millis(1400), "longer than the limit");
    let answer = format!("/v1/sessions/{id}/permissions/{}", asked.json["data"]["id"].as_str().expect("an id"));
    client.post(&answer, json!({ "kind": "allow_once" })).await.expect(200);
    assert!(events.turn(n).await.0.contains("allowed"));
}
