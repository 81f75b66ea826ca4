//! Stopping the daemon: at once, in order, with streams open and turns running, which go on.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Daemon, Event};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_promptly_with_streams_open_and_the_agent_works_on() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:stop").await;
    client.turn(&id, "echo warm").await;
    // Those that hold on: one that reads nothing of a large answer, one that is silent, one that waits for a turn.
    let large = client.demo("it:large").await;
    client.turn(&large, "big 3000000").await;
    let mut stuck = tokio::net::UnixStream::connect(daemon.socket()).await.expect("a connection");
    let ask = format!("GET /v1/sessions/{large}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    stuck.write_all(ask.as_bytes()).await.expect("asked");
    assert_eq!(stuck.read_u8().await.expect("it answers"), b'H');
    let _silent = tokio::net::UnixStream::connect(daemon.socket()).await.expect("a connection");
    let warm = client.session(&id).await["last_seq"].as_u64().expect("a number");
    let mut events = client.events(&id, warm).await;
    let n = client.prompt(&id, "slow 30").await;
    let mut text = String::new();
    while text.matches("chunk").count() < 3 {
        text.push_str(events.next().await.expect("the stream goes on").chunk().unwrap_or_default());
    }
    let waiting = tokio::spawn({
        let (client, path) = (client.clone(), format!("/v1/sessions/{id}/prompts?wait=60s"));
        async move { client.post(&path, json!({ "content": "echo after" })).await }
    });
    let queued = |e: &Event| e.kind() == "prompt.queued" && e.json["data"]["prompt"] == n + 1;
    events
        .until(|e| {
            text.push_str(e.chunk().unwrap_or_default());
            queued(e)
        })
        .await;

    let begun = Instant::now();
    daemon.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}\n{}", daemon.log_text());
    assert!(!daemon.socket().exists(), "its socket is gone");
    assert_eq!(waiting.await.expect("a task").expect(202)["id"], n + 1, "what was accepted is told");
    assert!(daemon.processes_of(0).iter().any(|line| line.contains("demo-agent")), "the agent works on");
    for event in events.rest().await {
        text.push_str(event.chunk().unwrap_or_default());
    }
    let last = events.last();
    daemon.start_again().await;
    let client = daemon.client();
    let mut events = client.events(&id, last).await;
    while text.matches("chunk").count() < 30 {
        text.push_str(events.next().await.expect("the stream goes on").chunk().unwrap_or_default());
    }
    assert_eq!(text, (1..=30).map(|n| format!("chunk {n} ")).collect::<String>());
    assert_eq!(events.turn(n + 1).await.0, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_log_and_a_tidy_end() {
    let mut daemon = Daemon::start().await;
    daemon.stop();
    let log = daemon.log_text();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.iter().any(|line| line.contains("wharf is ready")), "{log}");
    assert!(lines.len() <= 4, "of the crates underneath only what is wrong:\n{log}");
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
