//! Terminals: they outlive connections and daemons, never wait unread, and are ended with proof.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::program::Wharf;
use super::support::{Client, Daemon};
use super::ws::Ws;

async fn workspace(client: &Client) {
    let body = json!({ "name": "box", "image": "wharf/demo:latest" });
    client.post("/v1/workspaces", body).await.expect(201);
}

async fn terminal(client: &Client, body: Value) -> String {
    let made = client.post("/v1/workspaces/box/terminals", body).await.expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

/// Reads output until it holds this; all of it.
async fn until(ws: &mut Ws, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match ws.next().await.unwrap_or_else(|| panic!("closed without {text:?}: {seen}")) {
            Message::Binary(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => seen.push_str(other.to_text().expect("text")),
        }
    }
    seen
}

async fn type_in(ws: &mut Ws, text: &str) {
    ws.send(Message::Binary(Bytes::copy_from_slice(text.as_bytes()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_survives_connection_and_daemon_and_is_resized() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = terminal(&client, json!({ "cols": 90, "rows": 30, "env": { "GREETING": "hello" } })).await;
    let path = format!("/v1/workspaces/box/terminals/{id}");
    let mut ws = Ws::unix(&daemon, &path).await;
    assert_eq!(ws.json().await.expect("where it begins")["type"], "attached");
    type_in(&mut ws, "stty size; echo $GREETING-there\r").await;
    let seen = until(&mut ws, "hello-there").await;
    assert!(seen.contains("30 90"), "{seen}");
    ws.send(Message::text(r#"{"type":"resize","cols":101,"rows":41}"#)).await;
    type_in(&mut ws, "kept=yes; stty size\r").await;
    until(&mut ws, "41 101").await;
    drop(ws);
    let listed = client.get("/v1/workspaces/box/terminals").await.expect(200);
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["running"]), (&json!(id), &json!(true)));

    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    let listed = client.get("/v1/workspaces/box/terminals").await.expect(200);
    assert_eq!(listed["items"][0]["id"], json!(id), "found again: {listed:#}");
    let mut ws = Ws::unix(&daemon, &path).await;
    until(&mut ws, "hello-there").await;
    type_in(&mut ws, "echo it-is-$kept; exit 7\r").await;
    until(&mut ws, "it-is-yes").await;
    let end = until(&mut ws, r#""type":"exit""#).await;
    assert!(end.contains(r#""code":7"#), "{end}");
    assert!(ws.next().await.is_none());
    super::support::until("forgetting it once its end was told", async || {
        let items = &client.get("/v1/workspaces/box/terminals").await.expect(200)["items"];
        super::support::so(*items == json!([]), items)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_terminal_neither_waits_nor_grows_and_its_end_is_proven() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    workspace(&client).await;
    let script = "i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123; \
                  i=$((i+1)); done; echo written; touch /workspace/done; exec sleep 1000";
    let id = terminal(&client, json!({ "argv": ["/bin/sh", "-c", script] })).await;
    let path = format!("/v1/workspaces/box/terminals/{id}");
    let waiting =
        terminal(&client, json!({ "argv": ["/bin/sh", "-c", "until [ -e /workspace/done ]; do sleep 0.05; done"] }));
    let mut done = Ws::unix(&daemon, &format!("/v1/workspaces/box/terminals/{}", waiting.await)).await;
    until(&mut done, r#""type":"exit""#).await;
    let mut ws = Ws::unix(&daemon, &path).await;
    let seen = until(&mut ws, "written").await;
    assert!((200_000..600_000).contains(&seen.len()), "{} of 2.6 MB are kept", seen.len());
    assert!(daemon.processes().iter().any(|p| p == "sleep 1000"), "{:?}", daemon.processes());
    let ended = client.delete(&path).await.expect(200);
    assert_eq!(ended["running"], false);
    assert!(!daemon.processes().iter().any(|p| p.contains("sleep 1000")), "{:?}", daemon.processes());
    until(&mut ws, r#""type":"exit""#).await;
    assert_eq!(client.delete(&path).await.problem(404), "terminal_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_the_command_has_pipes_and_gives_its_exit_code() {
    let daemon = Daemon::start().await;
    workspace(&daemon.client()).await;
    let wharf = Wharf::of(&daemon);
    let said = wharf.run(&["shell", "box", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    assert_eq!((said.err.as_str(), said.code), ("err\n", 7), "{said:?}");
    assert_eq!(said.expect(7), "out\n");
    let big: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    let counted = wharf.fed(&["shell", "box", "--", "wc", "-c"], &big).await.expect(0);
    assert_eq!(counted.trim(), big.len().to_string(), "all of a large input");
    let script = "i=1; while [ $i -le 200000 ]; do echo $i; i=$((i+1)); done";
    let written = wharf.run(&["shell", "box", "--", "/bin/sh", "-c", script]).await.expect(0);
    assert!(written == big, "all of a large output: {} of {} bytes", written.len(), big.len());
    assert_eq!(wharf.run(&["shell", "box", "--", "/bin/sh", "-c", "kill -9 $$"]).await.code, 137);
    assert_eq!(wharf.fed(&["shell", "box"], "echo from-stdin\n").await.expect(0), "from-stdin\n");
    let absent = wharf.run(&["shell", "box", "--", "/no/such/program"]).await;
    assert!(absent.err.contains("/no/such/program"), "{absent:?}");
    absent.expect(2);
    wharf.run(&["shell", "nowhere"]).await.expect(6);
    wharf.run(&["shell", "--attach", "term_x"]).await.expect(6);
    assert!(wharf.run(&["shell", "box", "--list"]).await.err.contains("no terminals"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_terminals_change_nothing() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    workspace(&client).await;
    let path = "/v1/workspaces/box/terminals";
    for (body, status, code) in [
        (json!({ "cols": 0 }), 422, "invalid_field"),
        (json!({ "cols": -1 }), 422, "invalid_field"),
        (json!({ "argv": "sh" }), 422, "invalid_field"),
        (json!({ "argv": [""] }), 422, "invalid_field"),
        (json!({ "cwd": "here" }), 422, "invalid_field"),
        (json!({ "env": { "A=B": "c" } }), 422, "invalid_field"),
        (json!({ "size": 3 }), 422, "unknown_field"),
    ] {
        assert_eq!(client.post(path, body.clone()).await.problem(status), code, "{body}");
    }
    assert_eq!(client.post("/v1/workspaces/none/terminals", json!({})).await.problem(404), "workspace_not_found");
    let one = format!("{path}/term_0199aaaaaaaa7aaa8aaaaaaaaaaaaaaa");
    assert_eq!(client.get(&one).await.problem(426), "upgrade_required");
    assert_eq!(client.delete(&one).await.problem(404), "terminal_not_found");
    assert_eq!(client.get(path).await.expect(200), json!({ "items": [], "next": null }));
    assert_eq!(daemon.containers(), Vec::<String>::new(), "none was started for it");
}
