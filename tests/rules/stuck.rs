//! States that nothing could lead out of: each has a way out, and what was promised holds.

use serde_json::{Value, json};

use super::support::{Daemon, so, until};
use super::{demo_but, log};

/// The demo agent floods its output, or says one line of bytes that are long in JSON, when a prompt says so.
const LOUD: &str = r#"
    *flood-the-output*) yes "no message of the protocol" | head -n 60000; printf '%s\n' "$line" >&9 ;;
    *one-long-line*) head -c 12000000 /dev/zero | tr '\0' '\1'; echo; printf '%s\n' "$line" >&9 ;;"#;

async fn loud(daemon: &Daemon) -> String {
    let session = daemon.client().post("/v1/sessions", json!({ "agent": "loud" })).await.expect(201);
    session["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_floods_its_output_keeps_no_request_out() {
    let daemon = Daemon::start_with(&[], Some(&demo_but("loud", LOUD))).await;
    let client = daemon.client();
    let id = loud(&daemon).await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "flood-the-output").await;
    events.until_kind("agent.unparsed").await;
    drop(events);
    client.patch(&format!("/v1/sessions/{id}"), json!({ "channel": "flooded" })).await.expect(200);
    // The flood was not over when the request was served.
    let served = client.get(&format!("/v1/sessions/{id}/events?type=session.changed")).await.expect(200);
    let served = served["items"][0]["seq"].as_u64().expect("it was served");
    until("the turn's end", async || {
        let page = client.get(&format!("/v1/sessions/{id}/prompts")).await.expect(200);
        so(page["items"][0]["state"] == "done", &page["items"][0]["state"])
    })
    .await;
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");
    assert!(last > 60_000 && served < 55_000, "served as event {served} of {last}, turn {n}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_would_be_too_long_for_the_store_comes_in_pieces_and_the_session_goes_on() {
    let daemon = Daemon::start_with(&[], Some(&demo_but("loud", LOUD))).await;
    let client = daemon.client();
    let id = loud(&daemon).await;
    let n = client.prompt(&id, "one-long-line").await;
    until("the turn's end", async || {
        let page = client.get(&format!("/v1/sessions/{id}/prompts")).await.expect(200);
        so(page["items"][0]["state"] == "done", &page["items"][0]["state"])
    })
    .await;
    assert_eq!(n, 1);
    let (mut bytes, mut after) = (0, 0);
    loop {
        let page = client.get(&format!("/v1/sessions/{id}/events?type=agent.unparsed&limit=1&after={after}")).await;
        let page = page.expect(200);
        let Some(event) = page["items"].get(0) else { break };
        let line = event["data"]["line"].as_str().expect("a line");
        assert!(line.bytes().all(|b| b == 1));
        bytes += line.len();
        after = event["seq"].as_u64().expect("a number");
    }
    assert_eq!(bytes, 12_000_000, "nothing of it is lost");
    assert_eq!(client.session(&id).await["status"], "idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_agent_is_not_configured_any_more_can_be_closed_and_its_turn_works_on_until_then() {
    let mut daemon = Daemon::start_with(&[], Some(&demo_but("loud", LOUD))).await;
    let (kept, closed) = (loud(&daemon).await, loud(&daemon).await);
    let client = daemon.client();
    let mut turns = Vec::new();
    for id in [&kept, &closed] {
        let mut events = client.events(id, 0).await;
        turns.push(client.prompt(id, "slow 80").await);
        events.until(|e| e.chunk().is_some()).await;
    }
    daemon.stop();
    daemon.configure("");
    daemon.start_again().await;
    let client = daemon.client();
    let path = format!("/v1/sessions/{closed}");
    for (method, verb) in [("POST", "/restore"), ("POST", "/reset"), ("POST", "/cancel")] {
        let request = client.request(method, &format!("{path}{verb}")).json(&json!({}));
        let refused = super::support::Client::send(request).await.expect("an answer");
        assert_eq!(refused.problem(409), "session_failed", "{verb}");
    }
    assert_eq!(client.delete(&path).await.expect(200)["status"], "closed");
    assert_eq!(super::states(&client, &closed).await, [json!([1, "cancelled"])]);
    assert_eq!(client.session(&kept).await["status"], "running");
    daemon.stop();
    daemon.configure(&demo_but("loud", LOUD));
    daemon.start_again().await;
    let (text, end) = daemon.client().events(&kept, 0).await.turn(turns[0]).await;
    assert_eq!((text.matches("chunk").count(), &end["status"]), (80, &json!("done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_by_hand_stays_so_when_the_daemon_starts_again() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })).await.expect(201);
    let body = json!({ "agent": "demo", "workspace": "w", "key": "it:held" });
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let mut events = client.events(&id, 0).await;
    client.prompt(&id, "slow 1000").await;
    let waiting = client.prompt(&id, "echo waited").await;
    events.until(|e| e.chunk().is_some()).await;
    client.post("/v1/workspaces/w/stop", json!({})).await.expect(200);
    for graceful in [true, false] {
        if graceful {
            daemon.stop();
        } else {
            daemon.kill();
        }
        daemon.start_again().await;
        let log = daemon.log_text();
        let ready = log.lines().rfind(|line| line.contains("wharf is ready")).expect("it is ready");
        assert!(ready.contains("taken_up=0"), "{ready}");
        let view = daemon.client().session(&id).await;
        assert_eq!((&view["status"], &view["queued"]), (&json!("suspended"), &json!(1)));
        assert_eq!(super::running(&daemon), 0);
    }
    // The next request brings all of it on, in order.
    let client = daemon.client();
    let next = client.prompt(&id, "echo next").await;
    let mut events = client.events(&id, 0).await;
    assert_eq!(events.turn(waiting).await.0, "waited");
    assert_eq!(events.turn(next).await.0, "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_as_large_as_is_allowed_has_room_for_all_that_comes() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let body = |labels: usize, last: usize| {
        let value = |n: usize| if n + 1 == labels { "v".repeat(last) } else { "v".repeat(256) };
        let labels: serde_json::Map<String, Value> =
            (0..labels).map(|n| (format!("{n:0>200}"), json!(value(n)))).collect();
        json!({ "agent": "demo", "key": "it:large", "env": { "A": "x".repeat(6000) }, "labels": labels })
    };
    let mut made = None;
    'most: for labels in (1..=32).rev() {
        if client.post("/v1/sessions", body(labels, 0)).await.status != 422 {
            made = Some("it fits without the last value");
            break 'most;
        }
        for last in (1..=256).rev().filter(|_| labels > 1) {
            // As far as the last byte that fits.
            if client.post("/v1/sessions", body(labels - 1, last)).await.status == 201 {
                made = Some("to the last byte");
                break 'most;
            }
            if last % 64 == 0 && client.post("/v1/sessions", body(labels - 1, last - 63)).await.status == 422 {
                break;
            }
        }
    }
    println!("{made:?}");
    let id = client.session("it:large").await["id"].as_str().expect("an id").to_owned();
    let (text, _) = client.turn(&id, "echo linked").await;
    assert_eq!(text, "linked");
    assert!(client.session(&id).await["agent_session_id"].is_string());
    assert_eq!(client.delete(&format!("/v1/sessions/{id}")).await.expect(200)["status"], "closed");
    let last = log(&client, &id).await.last().expect("an event")["type"].clone();
    assert_eq!(last, "session.closed");
}
