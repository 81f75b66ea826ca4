//! WebSockets of events: the same as SSE, refused before they open, and a slow one costs nobody else anything.

use super::support::Daemon;
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
