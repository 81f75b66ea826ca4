//! A rate for everything that a client sends over TCP.

use serde_json::json;

use super::support::{Client, Daemon};

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_when_to_ask_again_and_nobody_else_is() {
    let daemon = Daemon::start_with(&[], Some("[rate]\nrequests = 1\nburst = 20\n")).await;
    let unix = daemon.client();
    let made = unix.post("/v1/tokens", json!({ "name": "busy", "scope": "read" })).await.expect(201);
    let busy = Client::tcp(&daemon.tcp(), made["token"].as_str());
    let mut refused = None;
    for _ in 0..60 {
        let answer = busy.get("/v1/tokens/x").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("60 requests are more than 20 and one a second");
    let after: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=20).contains(&after), "{after}");
    assert_eq!(refused.problem(429), "rate_limited");
    Client::tcp(&daemon.tcp(), Some(&daemon.token())).get("/v1/agents").await.expect(200);
    let stranger = Client::tcp(&daemon.tcp(), Some("wharf_wrong"));
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(stranger.get("/v1/agents").await.status);
    }
    assert!(statuses.starts_with(&[401]) && statuses.ends_with(&[429]), "{statuses:?}");
    for _ in 0..60 {
        unix.get("/v1/agents").await.expect(200);
    }
}
