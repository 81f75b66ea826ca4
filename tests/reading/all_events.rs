//! Rule: `/v1/events` is every session's events in one resumable stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{Client, Daemon, PATIENCE};
use super::ws::Ws;

/// A reader of the stream of everything, which checks that each session's events come once and in order.
struct All {
    response: reqwest::Response,
    buffer: Vec<u8>,
    cursor: Option<String>,
    last: BTreeMap<String, u64>,
    seen: Vec<(String, u64)>,
}

impl All {
    async fn open(client: &Client, query: &str, cursor: Option<&str>, last: BTreeMap<String, u64>) -> Self {
        let mut request = client.request("GET", &format!("/v1/events{query}")).header("accept", "text/event-stream");
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let cursor = cursor.map(str::to_owned);
        Self { response, buffer: Vec::new(), cursor, last, seen: Vec::new() }
    }

    /// The next event; `None` when the connection ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let text = String::from_utf8(frame).expect("UTF-8");
                let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
                self.cursor = field("id: ").or(self.cursor.take());
                let Some(data) = field("data: ") else { continue };
                let event: Value = serde_json::from_str(&data).expect("JSON");
                let session = event["session"].as_str().expect("a session").to_owned();
                let seq = event["seq"].as_u64().expect("a number");
                let before = self.last.insert(session.clone(), seq).unwrap_or(0);
                assert_eq!(seq, before + 1, "a gap or a duplicate in {session}");
                self.seen.push((session, seq));
                return Some(event);
            }
            match tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("bytes in time") {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn until(&mut self, fits: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next().await {
            if fits(&event) {
                return;
            }
        }
        panic!("the stream ended");
    }
}

fn ended(session: &str) -> impl Fn(&Value) -> bool + '_ {
    move |e| e["session"] == session && e["type"] == "turn.ended"
}

/// All pages after a cursor, and where they end.
async fn pages(client: &Client, query: &str, limit: usize) -> (Vec<(String, u64)>, String) {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/events?limit={limit}{query}{after}")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= limit);
        let of =
            |e: &Value| (e["session"].as_str().expect("a session").to_owned(), e["seq"].as_u64().expect("a number"));
        all.extend(items.iter().map(of));
        let cursor = page["cursor"].as_str().expect("a cursor").to_owned();
        if page["next"].is_null() {
            return (all, cursor);
        }
        assert_eq!(page["next"], json!(cursor));
        after = format!("&after={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sessions_events_are_one_stream_that_goes_on_after_a_crash_of_the_daemon() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let (one, two) = (client.demo("all:one").await, client.demo("all:two").await);
    let mut live = All::open(&client, "", None, BTreeMap::new()).await;
    client.turn(&one, "echo hello").await;
    live.until(ended(&one)).await;
    // A crash in the middle of two turns.
    client.prompt(&one, "slow 12").await;
    client.prompt(&two, "slow 8").await;
    live.until(|e| e["data"]["sessionUpdate"] == "agent_message_chunk" && e["session"] == two.as_str()).await;
    daemon.kill();
    while live.next().await.is_some() {}
    daemon.start_again().await;
    let client = daemon.client();
    let mut again = All::open(&client, "", live.cursor.as_deref(), live.last.clone()).await;
    let (mut open, mut ends) = (2, Vec::new());
    while open > 0 {
        let event = again.next().await.expect("the stream goes on");
        if event["type"] == "turn.ended" {
            open -= 1;
            ends.push(event["data"]["status"].clone());
        }
    }
    assert_eq!(ends, ["done", "done"]);
    // What came in two connections is what anyone reads, in the same order, in pages of any size and anew.
    let (whole, end) = pages(&client, "", 1000).await;
    let seen: Vec<(String, u64)> = live.seen.iter().chain(&again.seen).cloned().collect();
    assert_eq!(whole[..seen.len()], seen);
    let (small, _) = pages(&client, "", 7).await;
    assert_eq!(small[..whole.len()], whole);
    let mut anew = All::open(&client, "", None, BTreeMap::new()).await;
    while anew.seen.len() < whole.len() {
        anew.next().await.expect("the stream goes on");
    }
    assert_eq!(anew.seen, whole);
    // Nothing is left after the end, then only what is new.
    assert_eq!(pages(&client, &format!("&after={end}"), 10).await.0, []);
    let mut now = All::open(&client, "?after=now", None, live_of(&client, [&one, &two]).await).await;
    client.prompt(&two, "echo more").await;
    now.until(ended(&two)).await;
    assert!(now.seen.iter().all(|(session, _)| *session == two), "{:?}", now.seen);
}

/// The last event of each session.
async fn live_of<const N: usize>(client: &Client, sessions: [&String; N]) -> BTreeMap<String, u64> {
    let mut last = BTreeMap::new();
    for session in sessions {
        last.insert(session.clone(), client.session(session).await["last_seq"].as_u64().expect("a number"));
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_everything_is_filtered_by_workspace_session_and_type() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let (one, two) = (client.demo("filter:one").await, client.demo("filter:two").await);
    client.turn(&one, "echo one").await;
    client.turn(&two, "echo two").await;
    let workspace = client.session(&two).await["workspace"].as_str().expect("an id").to_owned();
    for query in [format!("&workspace={workspace}"), format!("&session={two}"), "&session=filter:two".to_owned()] {
        let (found, _) = pages(&client, &query, 5).await;
        let last = client.session(&two).await["last_seq"].as_u64().expect("a number");
        assert_eq!(found, (1..=last).map(|seq| (two.clone(), seq)).collect::<Vec<_>>(), "{query}");
    }
    let (typed, _) = pages(&client, "&type=turn.ended,session.created", 1).await;
    assert_eq!(typed.len(), 4, "{typed:?}");
    let mut live = All::open(&client, &format!("?session={one}&type=turn.ended"), None, BTreeMap::new()).await;
    live.last.insert(one.clone(), typed.iter().filter(|(s, _)| *s == one).map(|(_, n)| *n).max().expect("an end") - 1);
    assert_eq!(live.next().await.expect("an event")["type"], "turn.ended");

    let bad = [
        ("?after=x", 400, "invalid_parameter"),
        ("?after=999999.0.1", 400, "future_event_id"),
        ("?type=x", 400, "invalid_parameter"),
        ("?session=nobody", 404, "session_not_found"),
        ("?workspace=nowhere", 404, "workspace_not_found"),
        ("?label=x", 400, "unknown_parameter"),
    ];
    for (query, status, code) in bad {
        assert_eq!(client.get(&format!("/v1/events{query}")).await.problem(status), code, "{query}");
    }
    let header = client.request("GET", "/v1/events").header("accept", "text/event-stream");
    let header = Client::send(header.header("last-event-id", "7")).await.expect("an answer");
    assert_eq!(header.problem(400), "invalid_header");
    // A purged session's events are gone, and the stream goes on over the hole.
    client.delete(&format!("/v1/sessions/{one}?purge=true")).await.expect(200);
    let (left, _) = pages(&client, "", 1000).await;
    assert!(left.iter().all(|(session, _)| *session == two) && !left.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_everything_is_a_websocket_too_with_the_same_events_and_resumed_by_their_cursors() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let (one, two) = (client.demo("ws:one").await, client.demo("ws:two").await);
    let mut live = Ws::unix(&daemon, "/v1/events").await;
    let mut sse = All::open(&client, "", None, BTreeMap::new()).await;
    for session in [&one, &two, &one] {
        client.turn(session, "echo hello").await;
    }
    let last = client.session(&one).await["last_seq"].as_u64().expect("a number");
    let mut cursors = Vec::new();
    loop {
        let event = sse.next().await.expect("the stream goes on");
        let mut message = live.json().await.expect("a message");
        let cursor = message.as_object_mut().expect("an object").shift_remove("cursor").expect("a cursor");
        assert_eq!((&message, cursor.as_str()), (&event, sse.cursor.as_deref()));
        cursors.push(cursor.as_str().expect("text").to_owned());
        if event["session"] == one.as_str() && event["seq"] == last {
            break;
        }
    }
    // From any event's cursor the next one comes, and each after it, once.
    for (n, cursor) in cursors.iter().enumerate().step_by(7) {
        let mut resumed = Ws::unix(&daemon, &format!("/v1/events?after={cursor}")).await;
        for expected in &cursors[n + 1..] {
            assert_eq!(resumed.json().await.expect("a message")["cursor"], expected.as_str());
        }
    }
    let mut ends = Ws::unix(&daemon, &format!("/v1/events?session={one}&type=turn.ended")).await;
    for _ in 0..2 {
        let end = ends.json().await.expect("a message");
        assert_eq!((&end["session"], &end["type"]), (&json!(one), &json!("turn.ended")));
    }
    let mut now = Ws::unix(&daemon, "/v1/events?after=now").await;
    client.prompt(&two, "echo more").await;
    assert_eq!(now.json().await.expect("a message")["session"], two.as_str());
    let late = Ws::unix(&daemon, "/v1/sessions/ws:late/events?wait=true");
    let mut late = late.await;
    client.demo("ws:late").await;
    assert_eq!(late.json().await.expect("an event")["type"], "session.created");
}
