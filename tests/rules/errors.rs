//! What fails sets the session into `error`, tells everybody, and can be got over in two ways.

use serde_json::json;

use super::log;
use super::support::{Client, Daemon, Events, docker_ok};

/// The demo agent, which starts only in a workspace that is in order.
const FLAKY: &str = r#"
[agents.flaky]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", "test -e /workspace/in-order && exec /bin/wharf-demo-agent; echo out of order >&2; exit 3"]
"#;

fn in_order(daemon: &Daemon, what: &str) {
    docker_ok(&["exec", "-u", "1000", &daemon.containers()[0], "/bin/busybox", what, "/workspace/in-order"]);
}

async fn told(events: &mut Events) {
    let error = events.until(|e| e.json["data"]["status"] == "error").await;
    let message = error.json["data"]["error"]["message"].as_str().expect("a message");
    assert!(message.contains("out of order") && message.contains("restore"), "{message}");
}

async fn post(client: &Client, id: &str, verb: &str) -> super::support::Answer {
    client.post(&format!("/v1/sessions/{id}/{verb}"), json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_sets_error_with_the_message_tells_every_subscriber_and_is_got_over_by_restore_or_reset() {
    let daemon = Daemon::start_with(&[], Some(FLAKY)).await;
    let client = daemon.client();
    let body = json!({ "agent": "flaky", "key": "it:flaky", "prompt": "echo first" });
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let (mut one, mut two) = (client.events(&id, 0).await, client.events(&id, 0).await);
    told(&mut one).await;
    told(&mut two).await;
    let view = client.session(&id).await;
    assert_eq!((&view["status"], &view["queued"]), (&json!("error"), &json!(1)));
    assert!(view["error"]["message"].as_str().is_some_and(|message| message.contains("out of order")), "{view}");
    // Restored: what waited goes on.
    in_order(&daemon, "touch");
    post(&client, &id, "restore").await.expect(200);
    assert_eq!(one.turn(1).await.0, "first");
    // Failed again, and reset: it begins anew, and nothing of before waits.
    in_order(&daemon, "rm");
    post(&client, &id, "recreate").await.expect(200);
    client.prompt(&id, "echo forgotten").await;
    two.turn(1).await;
    told(&mut two).await;
    let reset = post(&client, &id, "reset").await.expect(200);
    assert_eq!((&reset["status"], &reset["queued"], &reset["error"]), (&json!("suspended"), &json!(0), &json!(null)));
    in_order(&daemon, "touch");
    assert_eq!(client.turn(&id, "recall").await.0.trim(), "", "it remembers nothing");
    let resets = log(&client, &id).await.iter().filter(|e| e["type"] == "session.reset").count();
    assert_eq!(resets, 1);
}
