//! WebSockets of events: the same as SSE, refused before they open, and a slow one costs nobody else anything.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::support::{Client, Daemon, PATIENCE, so, until};
use super::ws::Ws;

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_the_same_events_and_is_resumed() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:ws").await;
    client.turn(&id, "echo one").await;
    let path = format!("/v1/sessions/{id}/events");
    let page = client.get(&format!("{path}?limit=1000")).await.expect(200);
    let wanted = page["items"].as_array().expect("a list").clone();
    let mut ws = Ws::unix(&daemon, &path).await;
    for event in &wanted {
        assert_eq!(ws.json().await.as_ref(), Some(event));
    }
    client.turn(&id, "echo two").await;
    let live = ws.json().await.expect("an event");
    assert_eq!(live["seq"], wanted.len() as u64 + 1);
    let mut resumed = Ws::unix(&daemon, &format!("{path}?after=3")).await;
    assert_eq!(resumed.json().await.expect("an event")["seq"], 4);
    let mut ends = Ws::unix(&daemon, &format!("{path}?type=turn.ended")).await;
    for _ in 0..2 {
        assert_eq!(ends.json().await.expect("an event")["type"], "turn.ended");
    }
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    let mut last = live;
    while let Some(event) = ws.json().await {
        last = event;
    }
    assert_eq!(last["type"], "session.closed", "then it is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_needs_token_host_and_origin_as_any_request() {
    let daemon = Daemon::start_with(&[], Some("allowed_origins = [\"https://ui.lan\"]\n")).await;
    let id = daemon.client().demo("it:ws-access").await;
    let path = format!("/v1/sessions/{id}/events");
    let (secret, wrong) = (daemon.token(), "Bearer wharf_wrong".to_owned());
    let bearer = format!("Bearer {secret}");
    let protocols = format!("wharf, bearer.{secret}");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[], 401),
        (&[("authorization", &wrong)], 401),
        (&[("sec-websocket-protocol", "wharf, bearer.wharf_wrong")], 401),
        (&[("authorization", &bearer), ("host", "evil.example")], 421),
        (&[("authorization", &bearer), ("origin", "https://evil.example")], 403),
        (&[("sec-websocket-protocol", &protocols), ("origin", "https://evil.example")], 403),
    ];
    for (headers, status) in cases {
        let refused = Ws::tcp(&daemon, &path, headers).await.err().expect("refused");
        assert_eq!(refused.0, *status, "{headers:?} {:#}", refused.1);
    }
    let in_url = Ws::tcp(&daemon, &format!("{path}?token={secret}"), &[]).await;
    assert_eq!(in_url.err().expect("refused").0, 401);
    let allowed: &[&[(&str, &str)]] =
        &[&[("authorization", &bearer)], &[("sec-websocket-protocol", &protocols), ("origin", "https://ui.lan")]];
    for headers in allowed {
        let mut ws = Ws::tcp(&daemon, &path, headers).await.expect("open");
        assert_eq!(ws.json().await.expect("an event")["seq"], 1);
    }
    let unknown = Ws::tcp(&daemon, "/v1/sessions/no:one/events", &[("authorization", &bearer)]).await;
    assert_eq!(unknown.err().expect("refused").0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_never_dropped_and_costs_nobody_else() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:ws-slow").await;
    let path = format!("/v1/sessions/{id}/events");
    let mut slow = Ws::unix(&daemon, &path).await;
    let mut quick = Ws::unix(&daemon, &path).await;
    // More than the sockets' buffers take.
    for _ in 0..12 {
        client.turn(&id, &format!("echo {}", "x".repeat(100_000))).await;
    }
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");
    for ws in [&mut quick, &mut slow] {
        for seq in 1..=last {
            assert_eq!(ws.json().await.expect("an event")["seq"], seq);
        }
    }
}

/// A WebSocket that was opened by hand: it reads nothing, and so answers no ping.
async fn silent(daemon: &Daemon, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).await.expect("a connection");
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.expect("asked");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

async fn subscribers(client: &Client, wanted: u64) {
    until("the number of subscribers", async || {
        let now = &client.get("/v1/stats").await.expect(200)["subscribers"];
        so(*now == wanted, now)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_is_let_go_and_who_does_is_kept() {
    let daemon = Daemon::start_with(&[], Some("ping_interval = \"100ms\"\n")).await;
    let client = daemon.client();
    let id = client.demo("it:ping").await;
    client.turn(&id, "echo one").await;
    let path = format!("/v1/sessions/{id}/events");
    let mut kept = Ws::unix(&daemon, &format!("{path}?after=1")).await;
    let kept = tokio::spawn(async move {
        while let Some(event) = kept.json().await {
            if event["type"] == "session.closed" {
                return true;
            }
        }
        false
    });
    let mut gone = [silent(&daemon, &path).await, silent(&daemon, "/v1/events").await];
    subscribers(&client, 3).await;
    subscribers(&client, 1).await;
    for stream in &mut gone {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        read.expect("bytes");
        let told = String::from_utf8_lossy(&rest);
        assert!(told.contains("no ping was answered"), "{told}");
    }
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    assert!(kept.await.expect("no panic"), "who answers is there to the end");
    subscribers(&client, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminals_client_that_answers_no_ping_is_let_go_too() {
    let daemon = Daemon::start_with(&[], Some("ping_interval = \"100ms\"\n")).await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "box", "image": "wharf/demo:latest" })).await.expect(201);
    let path = "/v1/workspaces/box/terminals";
    let made = client.post(path, json!({ "argv": ["/bin/sh", "-c", "exec sleep 1000"] })).await.expect(201);
    let viewers = async |wanted: u64| {
        until("the number of viewers", async || {
            let now = &client.get(path).await.expect(200)["items"][0]["viewers"];
            so(*now == wanted, now)
        })
        .await;
    };
    let _silent = silent(&daemon, &format!("{path}/{}", made["id"].as_str().expect("an id"))).await;
    viewers(1).await;
    viewers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_of_server_sent_events_says_that_it_lives_and_a_client_that_is_gone_is_noticed() {
    let daemon = Daemon::start_with(&[], Some("ping_interval = \"100ms\"\n")).await;
    let client = daemon.client();
    let id = client.demo("it:comments").await;
    client.turn(&id, "echo one").await;
    for path in [format!("/v1/sessions/{id}/events"), "/v1/events".to_owned()] {
        let request = client.request("GET", &path).header("accept", "text/event-stream");
        let mut response = request.send().await.expect("a stream");
        let mut text = String::new();
        while text.matches(": ping\n").count() < 3 {
            let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("in time").expect("bytes");
            text.push_str(&String::from_utf8_lossy(&chunk.expect("it goes on")));
        }
        subscribers(&client, 1).await;
        drop(response);
        subscribers(&client, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_socket_takes_of_its_client_is_bounded() {
    use futures_util::SinkExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:frames").await;
    client.turn(&id, "echo one").await;
    let mut ws = Ws::unix(&daemon, &format!("/v1/sessions/{id}/events?type=session.closed")).await;
    ws.send(Message::text("x".repeat(4096))).await;
    // It may be closed before all of it is written.
    let _ = ws.0.send(Message::text("x".repeat(5000))).await;
    assert!(ws.next().await.is_none(), "a subscriber has nothing to say that is so long");
    let path = format!("/v1/workspaces/{}/terminals", client.session(&id).await["workspace"].as_str().expect("an id"));
    let made = client.post(&path, json!({ "argv": ["/bin/sh", "-c", "wc -c"], "pty": false })).await.expect(201);
    let terminal = format!("{path}/{}", made["id"].as_str().expect("an id"));
    let mut ws = Ws::unix(&daemon, &terminal).await;
    assert_eq!(ws.json().await.expect("where it begins")["type"], "attached");
    ws.send(Message::Binary(vec![b'x'; 1 << 20].into())).await;
    let _ = ws.0.send(Message::Binary(vec![b'x'; (1 << 20) + 1].into())).await;
    while ws.next().await.is_some() {}
    // What was taken of it is with the program, and it runs on.
    let mut again = Ws::unix(&daemon, &terminal).await;
    again.send(Message::text(r#"{"type":"eof"}"#)).await;
    let mut said = String::new();
    while let Some(message) = again.next().await {
        said.push_str(&String::from_utf8_lossy(&message.into_data()));
    }
    assert!(said.contains("1048576") && said.contains(r#""code":0"#), "{said}");
    assert_eq!(client.get("/healthz").await.expect(200)["status"], "ok");
}
