//! Bad input gets a clear error and changes nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Client, Daemon};
use super::world::World;

/// An agent whose image the engine does not have.
const ABSENT: &str = "[agents.absent]\nprotocol = \"acp\"\nimage = \"wharf/absent:latest\"\nargv = [\"/bin/x\"]\n";

/// A call, and what its refusal must say.
struct Bad {
    method: &'static str,
    path: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    status: u16,
    code: &'static str,
    says: &'static str,
}

fn bad(method: &'static str, path: impl Into<String>, status: u16, code: &'static str, says: &'static str) -> Bad {
    let headers = vec![("content-type", "application/json".to_owned())];
    Bad { method, path: path.into(), body: Vec::new(), headers, status, code, says }
}

fn post(path: &str, body: Value, status: u16, code: &'static str, says: &'static str) -> Bad {
    Bad { body: body.to_string().into_bytes(), ..bad("POST", path, status, code, says) }
}

impl Bad {
    fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    async fn check(self, client: &Client) {
        let mut request = client.request(self.method, &self.path).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let shown = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned();
        let what = format!("{} {} {shown}", self.method, self.path);
        let answer = Client::send(request).await.expect("an answer");
        assert_eq!(answer.status, self.status, "{what}: {:#}", answer.json);
        let (json, text) = (answer.json.clone(), answer.json.to_string());
        assert_eq!(answer.problem(self.status), self.code, "{what}: {json:#}");
        assert!(text.contains(self.says), "{what}: {json:#} lacks {:?}", self.says);
    }
}

async fn all_refused(daemon: &Daemon, client: &Client, calls: Vec<Bad>) {
    let before = World::of(daemon, client).await;
    for call in calls {
        let what = format!("{} {}", call.method, call.path);
        call.check(client).await;
        before.unchanged(daemon, client, &what).await;
    }
}

/// What no route takes as its body.
fn no_json(path: &str) -> Vec<Bad> {
    vec![
        bad("POST", path, 400, "invalid_json", "empty"),
        bad("POST", path, 400, "invalid_json", "column").raw("{"),
        bad("POST", path, 400, "invalid_json", "line").raw("nonsense"),
        bad("POST", path, 400, "invalid_json", "line").raw([b'"', 0xff, b'"']),
        bad("POST", path, 415, "unsupported_media_type", "application/json").raw("{}").with("content-type", "text/xml"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sessions_make_nothing() {
    let daemon = Daemon::start_with(&[], Some(ABSENT)).await;
    let client = daemon.client();
    let with = |mut more: Value| {
        more["agent"] = more.get("agent").cloned().unwrap_or("demo".into());
        more
    };
    let path = "/v1/sessions";
    let refused = |body: Value, code, says| post(path, body, 422, code, says);
    let many: Value = (0..33).map(|n| (n.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let mut calls = no_json(path);
    calls.extend([
        refused(json!({ "agent": "nobody" }), "unknown_agent", "claude"),
        refused(json!({ "agent": "" }), "unknown_agent", "demo"),
        refused(json!({}), "missing_field", "`agent`"),
        refused(json!([]), "invalid_field", "detail"),
        refused(json!({ "agent": 7 }), "invalid_field", "agent"),
        refused(with(json!({ "modle": "x" })), "unknown_field", "modle"),
        refused(with(json!({ "model": 1 })), "invalid_field", "model"),
        refused(with(json!({ "model": "" })), "invalid_field", "model"),
        refused(with(json!({ "project": "a\u{7}" })), "invalid_field", "project"),
        refused(with(json!({ "permissions": "maybe" })), "invalid_field", "permissions"),
        refused(with(json!({ "cwd": "here" })), "invalid_field", "cwd"),
        refused(with(json!({ "cwd": "/a/../b" })), "invalid_field", "cwd"),
        refused(with(json!({ "key": "" })), "invalid_field", "key"),
        refused(with(json!({ "key": "a:" })), "invalid_field", "app:name"),
        refused(with(json!({ "key": "x".repeat(300) })), "invalid_field", "256"),
        refused(with(json!({ "labels": many })), "invalid_field", "labels"),
        refused(with(json!({ "labels": { "a": 1 } })), "invalid_field", "labels.a"),
        refused(with(json!({ "env": { "A=B": "c" } })), "invalid_field", "env"),
        refused(with(json!({ "env": { "A": "x".repeat(9000) } })), "invalid_field", "env"),
        refused(with(json!({ "mcp_servers": [7] })), "invalid_field", "mcp_servers"),
        refused(with(json!({ "prompt": "" })), "invalid_field", "prompt"),
        refused(with(json!({ "prompt": [{ "type": "smell" }] })), "invalid_field", "content"),
        refused(with(json!({ "workspace": 7 })), "invalid_field", "workspace"),
        refused(with(json!({ "workspace": { "image": "Not An Image" } })), "invalid_field", "image"),
        refused(with(json!({ "workspace": { "image": "a/b:c:d" } })), "invalid_field", "image"),
        refused(with(json!({ "workspace": { "imge": "x" } })), "unknown_field", "workspace.imge"),
        refused(with(json!({ "workspace": { "network": "no-such-net" } })), "invalid_field", "docker network create"),
        refused(with(json!({ "workspace": { "network": "host" } })), "invalid_field", "isolation"),
        refused(with(json!({ "workspace": { "memory": 5 } })), "invalid_field", "6291456"),
        post(path, with(json!({ "workspace": "nowhere" })), 404, "workspace_not_found", "nowhere"),
        post(path, with(json!({ "workspace": "../etc" })), 404, "workspace_not_found", "../etc"),
        post(path, json!({ "agent": "absent" }), 409, "image_missing", "make images"),
        post(path, with(json!({ "workspace": { "image": "nobody/none:1" } })), 409, "image_missing", "docker pull"),
        post("/v1/sessions?color=red", with(json!({})), 400, "unknown_parameter", "color"),
    ]);
    all_refused(&daemon, &client, calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_its_record_is_refused_and_what_fits_is_kept() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let labels: Value =
        (0..32).map(|n| (format!("{n:0>250}"), json!("v".repeat(256)))).collect::<serde_json::Map<_, _>>().into();
    let server = json!({ "name": "s", "command": "/x", "args": ["a".repeat(20_000)], "env": [] });
    let body = |more: Value| {
        let mut body = json!({ "agent": "demo" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let calls = vec![
        post("/v1/sessions", body(json!({ "labels": labels })), 422, "invalid_field", "16384"),
        post("/v1/sessions", body(json!({ "mcp_servers": [server] })), 422, "invalid_field", "16384"),
        post(
            "/v1/workspaces",
            json!({ "image": "wharf/demo:latest", "labels": labels }),
            422,
            "invalid_field",
            "16384",
        ),
    ];
    all_refused(&daemon, &client, calls).await;
    // As much environment as is allowed, which is sealed and has to fit all the same.
    let full = json!({ "env": { "A": "x".repeat(8000) }, "key": "it:full" });
    let id = client.post("/v1/sessions", body(full)).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let (text, _) = client.turn(&id, "run printf %s \"$A\" | wc -c").await;
    assert!(text.contains("8000"), "{text}");
    // A change that would not fit is refused in the middle of a turn, and the turn goes on.
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "slow 5").await;
    events.until(|e| e.chunk().is_some()).await;
    let refused = client.patch(&format!("/v1/sessions/{id}"), json!({ "labels": labels })).await;
    assert_eq!(refused.problem(422), "invalid_field");
    let (text, end) = events.turn(n).await;
    assert!(text.ends_with("chunk 5 "), "{text}");
    assert_eq!(end["status"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_workspaces_make_nothing() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let made = client.post("/v1/workspaces", json!({ "name": "one", "image": "wharf/demo:latest" })).await.expect(201);
    let id = made["id"].as_str().expect("an id");
    let path = "/v1/workspaces";
    let refused = |body: Value, code, says| post(path, body, 422, code, says);
    let image = |more: Value| {
        let mut body = json!({ "image": "wharf/demo:latest" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let mut calls = no_json(path);
    calls.extend([
        refused(json!({ "naem": "x" }), "unknown_field", "name"),
        refused(json!({ "name": 7 }), "invalid_field", "name"),
        refused(json!({ "name": "-x" }), "invalid_field", "name"),
        refused(json!({ "name": "a/b" }), "invalid_field", "letters"),
        refused(json!({ "name": id }), "invalid_field", "ws_"),
        refused(json!({ "image": "UPPER" }), "invalid_field", "image"),
        refused(json!({ "image": "" }), "invalid_field", "image"),
        refused(json!({ "image": "-rm" }), "invalid_field", "image"),
        refused(image(json!({ "cpus": 0 })), "invalid_field", "cpus"),
        refused(image(json!({ "cpus": "two" })), "invalid_field", "cpus"),
        refused(image(json!({ "memory": -1 })), "invalid_field", "memory"),
        refused(image(json!({ "pids": 1 })), "invalid_field", "pids"),
        refused(image(json!({ "network": "no such" })), "invalid_field", "network"),
        refused(image(json!({ "env": { "1A": "x" } })), "invalid_field", "1A"),
        refused(image(json!({ "env": { "A": "\u{0}" } })), "invalid_field", "env"),
        refused(image(json!({ "repo": { "url": "x" } })), "invalid_field", "repo"),
        refused(image(json!({ "repo": {} })), "missing_field", "repo.url"),
        refused(image(json!({ "setup": " " })), "invalid_field", "setup"),
        post(path, json!({ "image": "wharf/none:latest" }), 409, "image_missing", "make images"),
        post(path, image(json!({ "name": "one", "pids": 99 })), 409, "name_taken", "another name"),
        bad("GET", "/v1/workspaces/nothing", 404, "workspace_not_found", "\"looked_up\":\"nothing\""),
        bad("DELETE", "/v1/workspaces/nothing", 404, "workspace_not_found", "nothing"),
        bad("POST", "/v1/workspaces/nothing/start", 404, "workspace_not_found", "nothing"),
        bad("POST", "/v1/workspaces/nothing/stop", 404, "workspace_not_found", "nothing"),
        bad("GET", "/v1/workspaces?limit=0", 400, "invalid_parameter", "1 to 1000"),
        bad("GET", "/v1/workspaces?limit=1001", 400, "invalid_parameter", "1 to 1000"),
        bad("GET", "/v1/workspaces?after=x", 400, "invalid_parameter", "after"),
        bad("GET", "/v1/sessions?after=x", 400, "invalid_parameter", "after"),
        bad("GET", "/v1/workspaces?name=one", 400, "unknown_parameter", "limit"),
    ]);
    all_refused(&daemon, &client, calls).await;
}

async fn with_a_session(key: &str) -> (Daemon, Client, String) {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo(key).await;
    (daemon, client, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_on_a_session_leave_it_as_it_is() {
    let (daemon, client, id) = with_a_session("it:bad").await;
    client.turn(&id, "echo hello").await;
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");
    let own = format!("/v1/sessions/{id}");
    let (prompts, events) = (format!("{own}/prompts"), format!("{own}/events"));
    let content = || json!({ "content": "echo x" });
    let refused = |body: Value, code, says| post(&prompts, body, 422, code, says);
    let mut calls = no_json(&prompts);
    calls.extend([
        refused(json!({}), "missing_field", "content"),
        refused(json!({ "content": "" }), "invalid_field", "content"),
        refused(json!({ "content": [] }), "invalid_field", "content"),
        refused(json!({ "content": [{ "type": "text" }] }), "invalid_field", "content"),
        refused(json!({ "content": "x", "when_busy": "later" }), "invalid_field", "when_busy"),
        refused(json!({ "content": "x", "id": 1 }), "unknown_field", "id"),
        post(&prompts, content(), 400, "invalid_header", "Idempotency-Key").with("idempotency-key", "x".repeat(256)),
        post(&format!("{prompts}?wait=soon"), content(), 400, "invalid_parameter", "60s"),
        post(&format!("{prompts}?wait=11m"), content(), 400, "invalid_parameter", "10 minutes"),
        post(&format!("{prompts}?wait=1s&wait=2s"), content(), 400, "invalid_parameter", "more than once"),
        bad("DELETE", format!("{prompts}/1"), 409, "prompt_not_pending", "done"),
        bad("DELETE", format!("{prompts}/99"), 404, "prompt_not_found", "\"looked_up\":99"),
        bad("DELETE", format!("{prompts}/x"), 400, "invalid_path", "number"),
        bad("GET", format!("{prompts}?limit=1001"), 400, "invalid_parameter", "limit"),
        bad("GET", format!("{prompts}?after=-1"), 400, "invalid_parameter", "after"),
        post(&format!("{own}/permissions/p9"), json!({ "kind": "allow_once" }), 404, "permission_not_found", "p9"),
        post(&format!("{own}/permissions/p9"), json!({ "kind": "perhaps" }), 422, "invalid_field", "kind"),
        post(&format!("{own}/permissions/p9"), json!({}), 422, "invalid_field", "option_id"),
        bad("GET", format!("{events}?limit=0"), 400, "invalid_parameter", "limit"),
        bad("GET", format!("{events}?limit=ten"), 400, "invalid_parameter", "limit"),
        bad("GET", format!("{events}?after=x"), 400, "invalid_parameter", "after"),
        bad("GET", format!("{events}?after={}", last + 1), 400, "future_event_id", "last_seq"),
        bad("GET", format!("{events}?type=news"), 400, "invalid_parameter", "turn.ended"),
        stream(&events, "garbage", "invalid_header", "Last-Event-ID"),
        stream(&events, "-1", "invalid_header", "Last-Event-ID"),
        stream(&events, "99999999999999999999", "invalid_header", "Last-Event-ID"),
        stream(&events, "1000000", "future_event_id", "read it from the start"),
        bad("PATCH", own.clone(), 422, "unknown_field", "key").raw(r#"{"key":"other"}"#),
        bad("PATCH", own.clone(), 422, "invalid_field", "permissions").raw(r#"{"permissions":"all"}"#),
        bad("PATCH", own.clone(), 422, "invalid_field", "project").raw(r#"{"project":""}"#),
        bad("PATCH", own.clone(), 400, "invalid_json", "empty"),
        bad("POST", format!("{own}/cancel?queue=maybe"), 400, "invalid_parameter", "queue"),
        bad("DELETE", format!("{own}?purge=perhaps"), 400, "invalid_parameter", "purge"),
        bad("GET", format!("/v1/sessions/{}", "x".repeat(600)), 400, "invalid_path", "512"),
        bad("GET", "/v1/sessions/%ff", 400, "invalid_path", "UTF-8"),
        bad("GET", "/v1/sessions?status=asleep", 400, "invalid_parameter", "status"),
        bad("GET", "/v1/sessions?label=x", 400, "invalid_parameter", "key=value"),
        bad("GET", "/v1/sessions?workspace=nowhere", 404, "workspace_not_found", "nowhere"),
        bad("GET", "/v1/sessions?limit=1001", 400, "invalid_parameter", "limit"),
    ]);
    for verb in ["", "/events", "/prompts", "/permissions"] {
        calls.push(bad("GET", format!("/v1/sessions/no:one{verb}"), 404, "session_not_found", "no:one"));
    }
    for verb in ["restore", "reset", "cancel"] {
        calls.push(bad("POST", format!("/v1/sessions/no:one/{verb}"), 404, "session_not_found", "no:one"));
    }
    calls.push(bad("DELETE", "/v1/sessions/no%3Aone", 404, "session_not_found", "no:one"));
    calls.push(post("/v1/sessions/no:one/prompts", content(), 404, "session_not_found", "no:one"));
    all_refused(&daemon, &client, calls).await;
    assert_eq!(client.turn(&id, "recall").await.0.trim(), "echo hello");
}

fn stream(path: &str, id: &str, code: &'static str, says: &'static str) -> Bad {
    bad("GET", path, 400, code, says).with("accept", "text/event-stream").with("last-event-id", id)
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_other_routes() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let mut calls = Vec::new();
    for path in ["/", "/v1", "/v2/sessions", "/v1/sessions/", "/v1/sessions/a/b/c/d", "/metrics/x", "/v1/%2e%2e/x"] {
        calls.push(bad("GET", path, 404, "route_not_found", "openapi.json"));
    }
    calls.extend([
        bad("PUT", "/v1/sessions", 405, "method_not_allowed", "POST"),
        bad("DELETE", "/v1/agents", 405, "method_not_allowed", "GET"),
        bad("POST", "/healthz", 405, "method_not_allowed", "GET"),
        bad("GET", "/v1/sessions/a/cancel", 405, "method_not_allowed", "POST"),
    ]);
    all_refused(&daemon, &client, calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb_is_refused_at_once() {
    let daemon = Daemon::start().await;
    let tcp = Client::tcp(&daemon.tcp(), Some(&daemon.token()));
    let id = daemon.client().demo("it:large").await;
    daemon.client().turn(&id, "echo warm").await;
    let before = World::of(&daemon, &daemon.client()).await;
    for client in [daemon.client(), tcp] {
        for path in ["/v1/sessions".to_owned(), "/v1/workspaces".to_owned(), format!("/v1/sessions/{id}/prompts")] {
            for announced in [true, false] {
                let begun = Instant::now();
                let request = client.request("POST", &path).header("content-type", "application/json");
                let request = if announced {
                    request.body(vec![b'x'; 100_000_000])
                } else {
                    let piece = || Ok::<_, std::io::Error>(vec![b' '; 1_000_000]);
                    request.body(reqwest::Body::wrap_stream(futures_util::stream::iter((0..100).map(move |_| piece()))))
                };
                let answer = Client::send(request).await.expect("an answer, not a reset");
                assert_eq!(answer.json["limit"].as_u64().map(|limit| limit <= 16 << 20), Some(true), "{answer:?}");
                assert_eq!(answer.problem(413), "body_too_large");
                assert!(begun.elapsed() < Duration::from_secs(3), "{path} took {:?}", begun.elapsed());
            }
        }
    }
    before.unchanged(&daemon, &daemon.client(), "100 MB").await;
}
