//! Subscribers, however many and however slow, and `?wait=`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Client, Daemon, PATIENCE};

/// The sequence numbers of a stream's raw text, which must go up by one.
fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_gets_everything_once_and_a_slow_one_costs_nobody_anything() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:slow").await;
    client.turn(&id, "echo warm").await;
    // One that reads nothing for a while, with the smallest buffers: it is asked for and left alone.
    let mut slow = tokio::net::UnixStream::connect(daemon.socket()).await.expect("a connection");
    let ask = format!("GET /v1/sessions/{id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    slow.write_all(ask.as_bytes()).await.expect("asked");
    let (mut one, mut two) = (client.events(&id, 0).await, client.events(&id, 0).await);
    // Far more than socket buffers and the tail in memory hold.
    let n = client.prompt(&id, "big 4000000").await;
    let ((first, _), (second, _)) = tokio::join!(one.turn(n), two.turn(n));
    assert_eq!((first.len(), second.len()), (4_000_000, 4_000_000));
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");

    let mut raw = Vec::new();
    let whole = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = slow.read(&mut buffer).await.expect("bytes");
            assert!(read > 0, "the stream ended early");
            raw.extend_from_slice(&buffer[..read]);
            // A chunk's head may cut a line, so only the end is looked at.
            if String::from_utf8_lossy(&raw[raw.len().saturating_sub(2048)..]).contains(&format!("id: {last}\n")) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("all of it in time");
    assert_eq!(numbers(&unchunked(&raw)), (1..=last).collect::<Vec<_>>());
}

/// The body of a chunked answer, as far as it has come.
fn unchunked(raw: &[u8]) -> String {
    let at = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let (mut rest, mut body) = (&raw[at..], Vec::new());
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("text"), 16).expect("a length");
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        if chunk.len() < length + 2 {
            break;
        }
        rest = &chunk[length + 2..];
    }
    String::from_utf8(body).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_where_it_is_told_and_ends_with_the_session() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:resume").await;
    client.turn(&id, "echo one").await;
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");
    let path = format!("/v1/sessions/{id}/events");
    let pages = async |query: &str| client.get(&format!("{path}{query}")).await.expect(200);
    let all = pages("?limit=1000").await["items"].as_array().expect("a list").clone();
    assert_eq!(all.len() as u64, last);
    let (mut paged, mut after) = (Vec::new(), json!(0));
    while let Some(from) = after.as_u64() {
        let page = pages(&format!("?limit=3&after={from}")).await;
        paged.extend(page["items"].as_array().expect("a list").clone());
        after = page["next"].clone();
    }
    assert_eq!(paged, all);
    assert_eq!(pages(&format!("?after={last}")).await, json!({ "items": [], "next": null }));
    let typed = pages("?type=turn.ended,turn.started&limit=1000").await;
    let kinds: Vec<&Value> = typed["items"].as_array().expect("a list").iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["turn.started", "turn.ended"]);

    // `Last-Event-ID` wins over `after`, as a browser keeps the address when it comes again.
    let request = client.request("GET", &format!("{path}?after=0")).header("accept", "text/event-stream");
    let mut response = request.header("last-event-id", (last - 1).to_string()).send().await.expect("an answer");
    let mut text = String::new();
    while !text.contains("\ndata: ") {
        text.push_str(std::str::from_utf8(&response.chunk().await.expect("bytes").expect("more")).expect("UTF-8"));
    }
    assert_eq!(numbers(&text), [last]);

    let mut events = client.events(&id, last).await;
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(events.rest().await.last().map(|e| e.kind().to_owned()).as_deref(), Some("session.closed"));
    let end = events.last();
    let again = client.request("GET", &path).header("accept", "text/event-stream").header("last-event-id", end);
    assert_eq!(Client::send(again).await.expect("an answer").status, 204, "a browser stops at that");
    assert_eq!(client.events(&id, 0).await.rest().await.len() as u64, end, "and its log can still be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_can_be_waited_for() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:wait").await;
    let path = |wait: &str| format!("/v1/sessions/{id}/prompts?wait={wait}");
    let said = client.post(&path("60s"), json!({ "content": "echo hello" })).await.expect(200);
    assert_eq!(
        (&said["text"], &said["status"], &said["stop_reason"]),
        (&json!("hello"), &json!("done"), &json!("end_turn"))
    );
    let failed = client.post(&path("60s"), json!({ "content": "fail" })).await.expect(200);
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{failed}");
    let begun = Instant::now();
    let short = client.post(&path("200ms"), json!({ "content": "slow 20" })).await.expect(202);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(short["id"], 3);
    // Behind it, and it is not taken for it.
    let behind = client.post(&path("60s"), json!({ "content": "echo behind" })).await.expect(200);
    assert_eq!(behind["text"], "behind");
    // The same key again: the same turn's end, which is long past.
    let keyed = async || {
        let request = client.request("POST", &path("60s")).header("idempotency-key", "k");
        Client::send(request.json(&json!({ "content": "echo keyed" }))).await.expect("an answer").expect(200)
    };
    let first = keyed().await;
    client.turn(&id, "echo between").await;
    assert_eq!(keyed().await, first);
    assert_eq!(first["text"], "keyed");
}
