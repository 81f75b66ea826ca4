//! Rule: bad input, each with a clear problem and nothing changed. One table, a row for each kind.

use serde_json::{Value, json};

use super::support::{Client, Daemon};
use super::world::World;

const SITES: &str = "allowed_origins = [\"https://ui.lan\"]\n";
const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A bad request, and what its refusal must be and say.
struct Row {
    name: &'static str,
    method: &'static str,
    path: String,
    body: Option<Vec<u8>>,
    headers: Vec<(&'static str, String)>,
    /// Over TCP with this token; without one over the Unix socket.
    token: Option<String>,
    status: u16,
    code: &'static str,
    says: &'static str,
}

impl Row {
    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header("content-type", "application/json")
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn websocket(self) -> Self {
        WEBSOCKET.iter().fold(self, |row, (name, value)| row.header(name, *value))
    }

    fn tcp(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    async fn ask(&self, daemon: &Daemon) {
        let client = match &self.token {
            Some(token) => Client::tcp(&daemon.tcp(), Some(token.as_str()).filter(|token| !token.is_empty())),
            None => daemon.client(),
        };
        let mut request = client.request(self.method, &self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer = Client::send(request).await.expect("an answer");
        let (name, json) = (self.name, answer.json.clone());
        assert_eq!(answer.status, self.status, "{name}: {json:#}");
        assert_eq!(answer.kind, "application/problem+json", "{name}");
        let detail = json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(self.says), "{name}: {detail:?} does not say {:?}", self.says);
        assert_eq!(answer.problem(self.status), self.code, "{name}");
    }
}

fn row(
    name: &'static str,
    method: &'static str,
    path: impl Into<String>,
    status: u16,
    code: &'static str,
    says: &'static str,
) -> Row {
    Row { name, method, path: path.into(), body: None, headers: Vec::new(), token: None, status, code, says }
}

fn paths(rows: &mut Vec<Row>) {
    let files = "/v1/workspaces/box/files?path=";
    for (name, path, status, code, says) in [
        ("a path with dots", "../../etc/passwd", 422, "path_outside", "/workspace"),
        ("a path with encoded dots", "%2e%2e/%2e%2e/etc/passwd", 422, "path_outside", "/workspace"),
        ("an absolute path elsewhere", "/etc/passwd", 422, "path_outside", "/workspace"),
        ("a link that leads out", "out/passwd", 422, "path_outside", "/workspace"),
        ("no path", "", 400, "invalid_parameter", "which file"),
    ] {
        rows.push(row(name, "GET", format!("{files}{path}"), status, code, says));
        rows.push(row(name, "PUT", format!("{files}{path}"), status, code, says).body("x"));
    }
}

fn bodies(rows: &mut Vec<Row>, session: &str) {
    let sessions = || ("POST", "/v1/sessions");
    let prompts = format!("/v1/sessions/{session}/prompts");
    let (post, path) = sessions();
    rows.extend([
        row("an oversized body", post, "/v1/workspaces", 413, "body_too_large", "1048576").body(vec![b' '; 2 << 20]),
        row("an oversized prompt", post, prompts.clone(), 413, "body_too_large", "16777216").body(vec![b' '; 17 << 20]),
        row("no body", post, path, 400, "invalid_json", "JSON object is needed"),
        row("a broken body", post, path, 400, "invalid_json", "line 1 column 9").body("{\"agent\":"),
        row("two bodies", post, path, 400, "invalid_json", "line 1").body("{\"agent\":\"demo\"}{}"),
        row("no text", post, path, 400, "invalid_json", "line 1").body([b'{', b'"', 0xff, b'"', b'}']),
        row("a list", post, path, 422, "invalid_field", "JSON object is needed").body("[\"demo\"]"),
        row("a list inside", post, "/v1/workspaces", 422, "invalid_field", "`repo` has to be an object")
            .body("{\"repo\":[\"https://git.example/a.git\"]}"),
        row("a list for a spec", post, path, 422, "invalid_field", "`workspace`")
            .body("{\"agent\":\"demo\",\"workspace\":[\"wharf/demo:latest\"]}"),
        row("a form", post, path, 415, "unsupported_media_type", "application/json")
            .body("agent=demo")
            .header("content-type", "application/x-www-form-urlencoded"),
        row("a wrong type", post, path, 422, "invalid_field", "`agent`").json(&json!({ "agent": 7 })),
        row("a wrong type below", post, path, 422, "invalid_field", "`env.A`")
            .json(&json!({ "agent": "demo", "env": { "A": 1 } })),
        row("a number for a text", post, prompts.clone(), 422, "invalid_field", "text or a list")
            .json(&json!({ "content": 5 })),
        row("an unknown field", post, path, 422, "unknown_field", "there are")
            .json(&json!({ "agent": "demo", "modle": "x" })),
        row("more cores than there are", post, "/v1/workspaces", 422, "invalid_field", "cores")
            .json(&json!({ "image": "wharf/demo:latest", "cpus": 4096 })),
        row(
            "a number beyond all",
            "GET",
            format!("{prompts}?after=99999999999999999999"),
            400,
            "invalid_parameter",
            "whole number",
        ),
        row("an unknown parameter", "GET", "/v1/sessions?colour=red", 400, "unknown_parameter", "there are"),
        row("a wrong method", "PUT", "/v1/sessions", 405, "method_not_allowed", "it takes"),
    ]);
}

fn unknown(rows: &mut Vec<Row>, session: &str) {
    rows.extend([
        row("an unknown session", "GET", "/v1/sessions/no:one", 404, "session_not_found", "no:one"),
        row("an unknown session's prompt", "POST", "/v1/sessions/no:one/prompts", 404, "session_not_found", "no:one")
            .json(&json!({ "content": "x" })),
        row("an unknown prompt", "DELETE", format!("/v1/sessions/{session}/prompts/99"), 404, "prompt_not_found", "99"),
        row(
            "an unknown request",
            "POST",
            format!("/v1/sessions/{session}/permissions/p9"),
            404,
            "permission_not_found",
            "p9",
        )
        .json(&json!({ "kind": "allow_once" })),
        row("an unknown workspace", "POST", "/v1/workspaces/none/start", 404, "workspace_not_found", "none"),
        row(
            "an unknown terminal",
            "DELETE",
            "/v1/workspaces/box/terminals/term_0",
            404,
            "terminal_not_found",
            "term_0",
        ),
        row("an unknown token", "DELETE", "/v1/tokens/none", 404, "token_not_found", "none"),
        row("an unknown agent", "POST", "/v1/sessions", 422, "unknown_agent", "demo")
            .json(&json!({ "agent": "nobody" })),
        row("a deleted workspace", "GET", "/v1/workspaces/gone", 404, "workspace_not_found", "gone"),
        row("a deleted workspace's start", "POST", "/v1/workspaces/gone/start", 404, "workspace_not_found", "gone"),
        row("a session in a deleted workspace", "POST", "/v1/sessions", 404, "workspace_not_found", "gone")
            .json(&json!({ "agent": "demo", "workspace": "gone" })),
        row("no such route", "GET", "/v2/sessions", 404, "route_not_found", "/openapi.json"),
    ]);
}

fn strangers(rows: &mut Vec<Row>, session: &str, token: &str, revoked: &str) {
    let events = format!("/v1/sessions/{session}/events");
    let close = format!("/v1/sessions/{session}");
    let protocols = format!("wharf, bearer.{revoked}");
    rows.extend([
        row("no token", "DELETE", close.clone(), 401, "unauthorized", "<state-dir>/token").tcp(""),
        row("a wrong token", "DELETE", close.clone(), 401, "unauthorized", "<state-dir>/token").tcp("wharf_wrong"),
        row("a revoked token", "DELETE", close.clone(), 401, "unauthorized", "<state-dir>/token").tcp(revoked),
        row("another site's Host", "DELETE", close.clone(), 421, "host_not_allowed", "allowed_hosts")
            .tcp(token)
            .header("host", "evil.example"),
        row("another site's Origin", "DELETE", close.clone(), 403, "origin_not_allowed", "allowed_origins")
            .tcp(token)
            .header("origin", "https://evil.example"),
        row("another site's Origin on the socket", "DELETE", close, 403, "origin_not_allowed", "allowed_origins")
            .header("origin", "https://evil.example"),
        row("a WebSocket without a token", "GET", events.clone(), 401, "unauthorized", "<state-dir>/token")
            .tcp("")
            .websocket(),
        row("a WebSocket of everything without a token", "GET", "/v1/events", 401, "unauthorized", "<state-dir>/token")
            .tcp("")
            .websocket(),
        row("a WebSocket with a revoked token", "GET", events.clone(), 401, "unauthorized", "<state-dir>/token")
            .tcp("")
            .websocket()
            .header("sec-websocket-protocol", protocols),
        row("a WebSocket of another site", "GET", events.clone(), 403, "origin_not_allowed", "allowed_origins")
            .tcp(token)
            .websocket()
            .header("origin", "https://evil.example"),
        row("a WebSocket of no version", "GET", events, 400, "invalid_upgrade", "WebSocket")
            .header("connection", "upgrade")
            .header("upgrade", "websocket"),
        row(
            "no WebSocket",
            "GET",
            "/v1/workspaces/box/terminals/term_0",
            426,
            "upgrade_required",
            "Upgrade: websocket",
        ),
    ]);
}

/// Everything that a request could have changed, the totals too.
async fn seen(daemon: &Daemon, client: &Client) -> (World, Value, Value) {
    let mut stats = client.get("/v1/stats").await.expect(200);
    let stats_fields = stats.as_object_mut().expect("an object");
    // They change by themselves.
    for field in ["uptime", "disk_use"] {
        stats_fields.shift_remove(field);
    }
    (World::of(daemon, client).await, stats, client.get("/v1/tokens").await.expect(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_a_clear_problem_each_and_changes_nothing() {
    let daemon = Daemon::start_with(&[], Some(SITES)).await;
    let client = daemon.client();
    let spec = |name: &str| json!({ "name": name, "image": "wharf/demo:latest" });
    client.post("/v1/workspaces", spec("box")).await.expect(201);
    client.post("/v1/workspaces", spec("gone")).await.expect(201);
    client.delete("/v1/workspaces/gone").await.expect(204);
    let made = client.post("/v1/tokens", json!({ "name": "revoked", "scope": "admin" })).await.expect(201);
    client.delete("/v1/tokens/revoked").await.expect(200);
    let session = json!({ "agent": "demo", "workspace": "box", "key": "it:table" });
    let id = client.post("/v1/sessions", session).await.expect(201)["id"].as_str().expect("an id").to_owned();
    client.turn(&id, "run ln -s /etc /workspace/out").await;

    let mut rows = Vec::new();
    paths(&mut rows);
    bodies(&mut rows, &id);
    unknown(&mut rows, &id);
    strangers(&mut rows, &id, &daemon.token(), made["token"].as_str().expect("a token"));
    let before = seen(&daemon, &client).await;
    for row in &rows {
        row.ask(&daemon).await;
        assert_eq!(seen(&daemon, &client).await, before, "{} changed something", row.name);
    }
}
