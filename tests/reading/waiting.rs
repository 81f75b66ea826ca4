//! Rule: with `?wait=true` a key that does not exist yet may be subscribed to, and gets everything from its first event.

use serde_json::json;

use super::support::{Client, Daemon};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_exist_yet_is_subscribed_to_and_gets_everything_from_its_first_event() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let stream = |path: &str| client.request("GET", path).header("accept", "text/event-stream");
    let path = "/v1/sessions/late:one/events";
    let early: Vec<_> = [format!("{path}?wait=true"), format!("{path}?wait=true&after=0")].into();
    let mut waiting = Vec::new();
    for path in early {
        let response = stream(&path).send().await.expect("an answer at once");
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().expect("text")),
            (200, "text/event-stream")
        );
        waiting.push(response);
    }
    // Another session is none of its business.
    client.demo("late:other").await;
    let id = client.demo("late:one").await;
    client.turn(&id, "echo hello").await;
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    let whole = client.events(&id, 0).await.rest().await;
    for response in waiting {
        let text = response.text().await.expect("all of it: it ends with the session");
        let seqs: Vec<u64> =
            text.lines().filter_map(|l| l.strip_prefix("id: ")).map(|n| n.parse().expect("a number")).collect();
        assert_eq!(seqs, (1..=whole.len() as u64).collect::<Vec<_>>());
        assert_eq!(text.matches("\ndata: ").count(), whole.len());
        assert!(!text.contains("late:other"));
    }
    // It exists now: the flag changes nothing.
    let there = stream(&format!("{path}?wait=true")).header("last-event-id", whole.len().to_string());
    assert_eq!(Client::send(there).await.expect("an answer").status, 204);

    let refused = async |request: reqwest::RequestBuilder, status, code| {
        assert_eq!(Client::send(request).await.expect("an answer").problem(status), code);
    };
    refused(stream("/v1/sessions/late:no/events"), 404, "session_not_found").await;
    refused(stream("/v1/sessions/late:no/events?wait=false"), 404, "session_not_found").await;
    refused(client.request("GET", "/v1/sessions/late:no/events?wait=true"), 400, "invalid_parameter").await;
    refused(stream("/v1/sessions/late:no/events?wait=true&after=3"), 400, "future_event_id").await;
    let id = "/v1/sessions/demo_019aa5a0-0000-7000-8000-000000000000/events?wait=true";
    refused(stream(id), 404, "session_not_found").await;
    let body = json!({ "agent": "demo", "key": "late:typed" });
    let mut typed = stream("/v1/sessions/late:typed/events?wait=true&type=turn.ended").send().await.expect("an answer");
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    client.turn(&id, "echo x").await;
    let mut text = String::new();
    while !text.contains("data: ") {
        text.push_str(std::str::from_utf8(&typed.chunk().await.expect("bytes").expect("more")).expect("UTF-8"));
    }
    assert!(text.contains("\"type\":\"turn.ended\"") && !text.contains("session.created"), "{text}");
}
