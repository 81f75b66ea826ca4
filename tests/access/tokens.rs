//! Named tokens with scopes, live.

use futures_util::StreamExt as _;
use serde_json::json;

use super::program::Wharf;
use super::support::{Client, Daemon, PATIENCE};
use super::ws::Ws;

async fn token(daemon: &Daemon, name: &str, scope: &str) -> String {
    let made = daemon.client().post("/v1/tokens", json!({ "name": name, "scope": scope })).await.expect(201);
    made["token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_includes_the_one_before_and_no_more() {
    let daemon = Daemon::start().await;
    let unix = daemon.client();
    let id = unix.demo("it:scopes").await;
    let base = daemon.tcp();
    let reader = Client::tcp(&base, Some(&token(&daemon, "reader", "read").await));
    let bot = Client::tcp(&base, Some(&token(&daemon, "bot", "prompt").await));
    let admin = Client::tcp(&base, Some(&token(&daemon, "boss", "admin").await));
    let prompts = format!("/v1/sessions/{id}/prompts");
    for client in [&reader, &bot, &admin] {
        client.get("/v1/sessions").await.expect(200);
        client.get(&format!("/v1/sessions/{id}/events")).await.expect(200);
    }
    let refused = reader.post(&prompts, json!({ "content": "echo x" })).await;
    assert_eq!((&refused.json["scope"], &refused.json["needed"]), (&json!("read"), &json!("prompt")));
    assert_eq!(refused.problem(403), "forbidden_scope");
    assert_eq!(reader.get("/v1/tokens").await.problem(403), "forbidden_scope");
    assert_eq!(unix.get(&prompts).await.expect(200)["items"], json!([]), "nothing was changed");
    assert_eq!(bot.turn(&id, "echo from-bot").await.0, "from-bot");
    for (method, path) in [
        ("DELETE", format!("/v1/sessions/{id}")),
        ("POST", "/v1/workspaces".to_owned()),
        ("GET", "/v1/tokens".to_owned()),
        ("DELETE", "/v1/tokens/reader".to_owned()),
        ("DELETE", "/v1/orphans".to_owned()),
    ] {
        let answer = Client::send(bot.request(method, &path).json(&json!({}))).await.expect("an answer");
        assert_eq!(answer.problem(403), "forbidden_scope", "{method} {path}");
    }
    assert_eq!(admin.get("/v1/tokens").await.expect(200)["items"].as_array().expect("a list").len(), 4);
    admin.delete(&format!("/v1/sessions/{id}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once_and_its_open_streams_end() {
    let daemon = Daemon::start().await;
    let unix = daemon.client();
    let id = unix.demo("it:revoked").await;
    unix.turn(&id, "echo warm").await;
    let secret = token(&daemon, "gone", "prompt").await;
    let client = Client::tcp(&daemon.tcp(), Some(&secret));
    let path = format!("/v1/sessions/{id}/events");
    let response = client.request("GET", &path).header("accept", "text/event-stream").send().await.expect("a stream");
    let mut sse = response.bytes_stream();
    assert!(sse.next().await.expect("a chunk").is_ok());
    let bearer = format!("Bearer {secret}");
    let mut ws = Ws::tcp(&daemon, &path, &[("authorization", &bearer)]).await.expect("a WebSocket");
    assert_eq!(ws.json().await.expect("an event")["seq"], 1);
    let asking = client.request("POST", &format!("/v1/sessions/{id}/prompts?wait=10m"));
    let waiting = tokio::spawn(Client::send(asking.json(&json!({ "content": "slow 100000" }))));
    let mut events = unix.events(&id, 0).await;
    events.until(|e| e.chunk().is_some_and(|text| text.contains("chunk"))).await;

    unix.delete("/v1/tokens/gone").await.expect(200);
    assert_eq!(client.get("/v1/sessions").await.problem(401), "unauthorized");
    let waited = tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
    assert_eq!(waited.expect("an answer").problem(401), "unauthorized");
    let drained = async { while sse.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
    tokio::time::timeout(PATIENCE, drained).await.expect("the stream ends");
    while ws.next().await.is_some() {}
    assert_eq!(unix.delete("/v1/tokens/gone").await.problem(404), "token_not_found");
    assert_eq!(unix.delete("/v1/tokens/default").await.problem(409), "token_needed");
    unix.post(&format!("/v1/sessions/{id}/cancel"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_rotated_and_revoked_by_the_command_line() {
    let mut daemon = Daemon::start().await;
    let (unix, base) = (Wharf::of(&daemon), daemon.tcp());
    let secret = unix.run(&["token", "create", "ci", "--scope", "read"]).await.expect(0).trim().to_owned();
    assert!(secret.starts_with("wharf_"), "{secret}");
    Wharf::at(&base, Some(&secret)).run(&["ls"]).await.expect(0);
    let refused = Wharf::at(&base, Some(&secret)).run(&["new"]).await;
    assert!(refused.err.contains("scope `prompt`"), "{refused:?}");
    refused.expect(7);
    let table = unix.run(&["token"]).await.expect(0);
    assert!(table.contains("ci") && table.contains("default") && !table.contains(&secret[..12]), "{table}");
    unix.run(&["token", "create", "ci"]).await.expect(8);
    unix.run(&["token", "create", "no good"]).await.expect(2);
    let rotated = unix.run(&["token", "rotate", "ci"]).await.expect(0).trim().to_owned();
    Wharf::at(&base, Some(&secret)).run(&["ls"]).await.expect(7);
    Wharf::at(&base, Some(&rotated)).run(&["ls"]).await.expect(0);
    let first = daemon.token();
    unix.run(&["token", "rotate"]).await.expect(0);
    assert_ne!(daemon.token(), first);
    Wharf::at(&base, Some(&first)).run(&["ls"]).await.expect(7);
    daemon.stop();
    daemon.start_again().await;
    let base = daemon.tcp();
    Wharf::at(&base, Some(&daemon.token())).run(&["ls"]).await.expect(0);
    Wharf::at(&base, Some(&rotated)).run(&["ls"]).await.expect(0);
    assert!(unix.run(&["token", "rm", "ci"]).await.expect(0).contains("revoked"));
    Wharf::at(&base, Some(&rotated)).run(&["ls"]).await.expect(7);
    let files = std::process::Command::new("grep").args(["-rl", &rotated]).arg(daemon.state()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&files.stdout), "", "only hashes are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_change_nothing() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    for (body, status, code) in [
        (json!({}), 422, "missing_field"),
        (json!({ "name": "x" }), 422, "missing_field"),
        (json!({ "name": "x", "scope": "root" }), 422, "invalid_field"),
        (json!({ "name": 7, "scope": "read" }), 422, "invalid_field"),
        (json!({ "name": "a/b", "scope": "read" }), 422, "invalid_field"),
        (json!({ "name": "x", "scope": "read", "more": 1 }), 422, "unknown_field"),
        (json!({ "name": "default", "scope": "read" }), 409, "token_taken"),
    ] {
        assert_eq!(client.post("/v1/tokens", body.clone()).await.problem(status), code, "{body}");
    }
    assert_eq!(client.post("/v1/tokens/none/rotate", json!({})).await.problem(404), "token_not_found");
    assert_eq!(client.get("/v1/tokens").await.expect(200)["items"].as_array().expect("a list").len(), 1);
}
