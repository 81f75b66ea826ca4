//! The router as clients see it, as far as no manager is needed: access, errors, limits and the description.

mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{Access, AgentAbilities, AgentInfo, ApiState, Component, Limits, Listeners, Tokens, router, serve};
use crate::agent::Catalogue;
use crate::engine::Engine;
use crate::seal::Sealer;
use crate::session::{Rules, Sessions, Timeouts};
use crate::store::{Options, Store};
use crate::terminal::Terminals;
use crate::workspace::{WorkspaceConfig, Workspaces};

fn state(components: Vec<Component>) -> ApiState {
    let agent = AgentInfo {
        name: "demo".into(),
        protocol: "acp".into(),
        description: None,
        image: "wharf/demo:latest".into(),
        image_present: Some(true),
        hint: None,
        in_image: Some(true),
        version: None,
        can: AgentAbilities::default(),
    };
    let (sessions, workspaces) = managers();
    let tokens = TOKENS.with(|(tokens, _)| tokens.clone());
    ApiState {
        sessions,
        terminals: Terminals::new(workspaces.clone(), TaskTracker::new(), CancellationToken::new()),
        workspaces,
        tokens,
        agents: Arc::new(move |_| std::future::ready(vec![agent.clone()]).boxed()),
        ready: Arc::new(move || std::future::ready(components.clone()).boxed()),
        ping: Duration::from_secs(15),
        stop: CancellationToken::new(),
    }
}

/// Managers over an empty store, with an engine that is not there.
fn managers() -> (Sessions, Workspaces) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let sealer = Sealer::open_or_create(dir.path()).unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let engine = Engine::new(&format!("unix://{}/engine.sock", dir.path().display())).unwrap();
    let config = WorkspaceConfig::new(dir.path().join("run"), sealer.clone());
    let workspaces = Workspaces::new(store.clone(), engine, config, tracker.clone(), stop.clone());
    let catalogue = Arc::new(Catalogue::new(BTreeMap::new()).unwrap());
    let (nothing, times) = (Arc::new(()), Timeouts::default());
    let sessions =
        Sessions::new(store, workspaces.clone(), catalogue, sealer, nothing, times, Rules::default(), tracker, stop);
    (sessions, workspaces)
}

thread_local! {
    /// The tokens of a test, which has a thread of its own, and the first one's secret.
    static TOKENS: (Tokens, String) = super::grants::fixture();
}

fn access() -> Access {
    let tokens = TOKENS.with(|(tokens, _)| tokens.clone());
    Access { tokens, rate: None, rate_on_socket: false, allowed_hosts: vec![], allowed_origins: vec![] }
}

/// One for each test, which has a thread of its own: a store takes its time to be made.
fn app() -> Router {
    thread_local! {
        static APP: Router = router(state(vec![]), access());
    }
    APP.with(Clone::clone)
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    let builder = Request::builder().method(method).uri(path).header("host", "localhost");
    builder.header("authorization", bearer())
}

fn bearer() -> String {
    format!("Bearer {}", TOKENS.with(|(_, secret)| secret.clone()))
}

async fn answer(request: Request<Body>) -> (StatusCode, Response, Value) {
    parts(app().oneshot(request).await.unwrap()).await
}

async fn parts(response: Response) -> (StatusCode, Response, Value) {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (head.status, Response::from_parts(head, Body::empty()), json)
}

async fn get(path: &str) -> (StatusCode, Response, Value) {
    answer(request("GET", path).body(Body::empty()).unwrap()).await
}

async fn post(path: &str, kind: &str, body: &'static str) -> (StatusCode, Response, Value) {
    answer(request("POST", path).header("content-type", kind).body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_problem_has_all_its_fields() {
    let (status, head, body) = get("/v1/nothing?token=x").await;
    assert_eq!(status, 404);
    assert_eq!(head.headers()["content-type"], "application/problem+json");
    assert_eq!(
        body,
        json!({
            "type": "urn:wharf:problem:route_not_found", "title": "Route not found", "status": 404,
            "code": "route_not_found", "instance": "/v1/nothing", "looked_up": "/v1/nothing",
            "detail": "there is no route `/v1/nothing`; /openapi.json lists them all",
        })
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let (status, head, body) = answer(request("PUT", "/v1/sessions").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), &body["code"]), (405, &json!("method_not_allowed")));
    let allow = head.headers()["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn access_comes_before_everything() {
    let bare = |path: &str| Request::builder().uri(path).header("host", "localhost").body(Body::empty()).unwrap();
    let (status, head, body) = answer(bare("/v1/nothing")).await;
    assert_eq!((status.as_u16(), &body["code"]), (401, &json!("unauthorized")));
    assert!(head.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    assert_eq!(answer(bare("/openapi.json")).await.0, 401);
    assert_eq!(answer(bare("/v1/agents?token=right")).await.0, 401, "a token in the URL is not looked at");
    assert_eq!(answer(bare("/healthz")).await.0, 200);
    assert_eq!(answer(bare("/readyz")).await.0, 200);
    let rebound = Request::builder().uri("/healthz").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(answer(rebound).await.0, 421);
    let page = request("GET", "/healthz").header("origin", "https://evil.example").body(Body::empty()).unwrap();
    assert_eq!(answer(page).await.0, 403);
}

#[tokio::test]
async fn bodies_are_checked_before_anything_is_done() {
    let cases: [(&str, &str, &'static str, u16, &str); 9] = [
        ("/v1/sessions", "application/json", "{", 400, "invalid_json"),
        ("/v1/sessions", "application/json", r#"{"agent":"demo","nonsense":1}"#, 422, "unknown_field"),
        ("/v1/sessions", "application/json", r#"{"key":"k"}"#, 422, "missing_field"),
        ("/v1/sessions", "text/plain", r#"{"agent":"demo"}"#, 415, "unsupported_media_type"),
        ("/v1/workspaces", "application/x-www-form-urlencoded", "name=x", 415, "unsupported_media_type"),
        ("/v1/workspaces", "application/json; charset=utf-8", r#"{"cpus":"many"}"#, 422, "invalid_field"),
        ("/v1/sessions/x/prompts", "application/json", r#"{"content":5}"#, 422, "invalid_field"),
        ("/v1/sessions/x/prompts?wait=soon", "application/json", r#"{"content":"x"}"#, 400, "invalid_parameter"),
        ("/v1/sessions/x/permissions/1", "application/json", "{}", 422, "invalid_field"),
    ];
    for (path, kind, body, status, code) in cases {
        let (got, _, problem) = post(path, kind, body).await;
        assert_eq!((got.as_u16(), problem["code"].as_str().unwrap()), (status, code), "{path} {body}: {problem}");
    }
    let (_, _, problem) = post("/v1/sessions", "application/json", "{\"agent\":\n \"demo\",}").await;
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(9)), "{problem}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let announced = request("POST", "/v1/workspaces").header("content-length", "104857600");
    // A body that never comes: an answer proves that nobody waited for it.
    let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, _, body) = answer(announced.body(silent).unwrap()).await;
    assert_eq!((status.as_u16(), &body["limit"]), (413, &json!(1 << 20)));

    let read = Arc::new(AtomicU64::new(0));
    let counter = read.clone();
    let chunks = futures_util::stream::repeat_with(move || {
        counter.fetch_add(65_536, Ordering::Relaxed);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536]))
    });
    let endless = request("POST", "/v1/sessions/x/prompts").body(Body::from_stream(chunks)).unwrap();
    let (status, _, body) = answer(endless).await;
    assert_eq!((status.as_u16(), &body["limit"]), (413, &json!(16 << 20)));
    assert!(read.load(Ordering::Relaxed) <= (16 << 20) + 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up() {
    let chunks = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    let slow = request("POST", "/v1/sessions").body(Body::from_stream(chunks)).unwrap();
    let (status, _, body) = answer(slow).await;
    assert_eq!((status.as_u16(), &body["code"]), (408, &json!("body_timeout")));
}

#[tokio::test]
async fn queries_and_paths_are_checked() {
    for (path, status, code) in [
        ("/v1/sessions?limt=3", 400, "unknown_parameter"),
        ("/v1/sessions?limit=0", 400, "invalid_parameter"),
        ("/v1/sessions?limit=1001", 400, "invalid_parameter"),
        ("/v1/sessions?status=sleepy", 400, "invalid_parameter"),
        ("/v1/sessions?label=x", 400, "invalid_parameter"),
        ("/v1/sessions?agent=a&agent=b", 400, "invalid_parameter"),
        ("/v1/sessions/x/events?after=-1", 400, "invalid_parameter"),
        ("/v1/sessions/x/events?after=1e3", 400, "invalid_parameter"),
        ("/v1/sessions/x/events?type=update,nonsense", 400, "invalid_parameter"),
        ("/v1/sessions/%ff", 400, "invalid_path"),
        ("/v1/agents?x", 400, "unknown_parameter"),
    ] {
        let (got, _, problem) = get(path).await;
        assert_eq!((got.as_u16(), problem["code"].as_str().unwrap()), (status, code), "{path}: {problem}");
    }
    let bad = request("GET", "/v1/sessions/x/events").header("accept", "text/event-stream");
    let (status, _, problem) = answer(bad.header("last-event-id", "-5").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_header")));
    let bad = request("DELETE", "/v1/sessions/x/prompts/first").body(Body::empty()).unwrap();
    assert_eq!(answer(bad).await.2["code"], "invalid_path");
}

#[tokio::test]
async fn agents_are_listed() {
    let (status, _, body) = get("/v1/agents").await;
    assert_eq!(status, 200);
    assert_eq!(body["items"][0]["name"], "demo");
}

#[tokio::test]
async fn readiness_says_what_cannot_serve() {
    let engine =
        Component { name: "engine".into(), ok: false, message: Some("no socket".into()), fix: Some("start it".into()) };
    let store = Component { name: "store".into(), ok: true, message: None, fix: None };
    let app = router(state(vec![store, engine]), access());
    let (status, head, body) =
        parts(app.oneshot(request("GET", "/readyz").body(Body::empty()).unwrap()).await.unwrap()).await;
    assert_eq!(status, 503);
    assert!(head.headers().contains_key("retry-after"));
    assert_eq!((&body["code"], &body["detail"]), (&json!("not_ready"), &json!("engine: no socket")));
    assert_eq!(body["components"][1]["fix"], "start it");
}

#[tokio::test]
async fn a_panic_is_a_problem_without_details() {
    let mut state = state(vec![]);
    state.ready = Arc::new(|| panic!("a secret"));
    let app = router(state, access());
    let (status, _, body) =
        parts(app.oneshot(request("GET", "/readyz").body(Body::empty()).unwrap()).await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["code"]), (500, &json!("internal")));
    assert!(!body.to_string().contains("secret"));
}

/// Every operation of the description as (method, path, documented statuses).
async fn operations() -> Vec<(Method, String, BTreeSet<String>)> {
    let (_, _, document) = get("/openapi.json").await;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let Some(responses) = operation["responses"].as_object() else { continue };
            operations.push((method, path.clone(), responses.keys().cloned().collect()));
        }
    }
    operations
}

#[tokio::test]
async fn the_description_is_whole() {
    let (_, _, document) = get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["security"], json!([{"bearer": []}]));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let routes: BTreeSet<String> = operations().await.iter().map(|(m, p, _)| format!("{m} {p}")).collect();
    let wanted = "GET /healthz, GET /readyz, GET /metrics, GET /v1/stats, GET /v1/events, GET /v1/agents, \
        POST /v1/workspaces, GET /v1/workspaces, \
        GET /v1/workspaces/{id}, DELETE /v1/workspaces/{id}, POST /v1/workspaces/{id}/start, \
        POST /v1/workspaces/{id}/stop, POST /v1/workspaces/{id}/recreate, GET /v1/workspaces/{id}/logs, \
        GET /v1/workspaces/{id}/files, PUT /v1/workspaces/{id}/files, \
        POST /v1/workspaces/{id}/terminals, GET /v1/workspaces/{id}/terminals, \
        GET /v1/workspaces/{id}/terminals/{tid}, DELETE /v1/workspaces/{id}/terminals/{tid}, \
        GET /v1/tokens, POST /v1/tokens, DELETE /v1/tokens/{name}, POST /v1/tokens/{name}/rotate, POST /v1/sessions, GET /v1/sessions, GET /v1/sessions/{id}, \
        PATCH /v1/sessions/{id}, DELETE /v1/sessions/{id}, POST /v1/sessions/{id}/restore, \
        POST /v1/sessions/{id}/reset, GET /v1/orphans, DELETE /v1/orphans, GET /openapi.json, \
        POST /v1/sessions/{id}/prompts, GET /v1/sessions/{id}/prompts, DELETE /v1/sessions/{id}/prompts/{n}, \
        POST /v1/sessions/recreate, POST /v1/sessions/{id}/recreate, \
        POST /v1/sessions/{id}/cancel, GET /v1/sessions/{id}/permissions, \
        POST /v1/sessions/{id}/permissions/{pid}, GET /v1/sessions/{id}/events";
    assert_eq!(routes, wanted.split(", ").map(|r| r.trim().to_owned()).collect());
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is referred to and not there");
    }
    for (name, schema) in schemas {
        let object = schema["properties"].as_object();
        for (field, described) in object.into_iter().flatten() {
            let known = described.get("description").is_some() || described.get("$ref").is_some();
            assert!(known || described.get("oneOf").is_some(), "{name}.{field} is not described");
        }
    }
}

#[tokio::test]
async fn every_route_answers_what_it_documents() {
    for (method, path, documented) in operations().await {
        let path = path.replace("{id}", "a%3Ab%2Fc").replace("{n}", "1").replace("{pid}", "p");
        let bare = || Request::builder().method(&method).uri(&path);
        let good = || bare().header("host", "localhost").header("authorization", bearer());
        let query = Request::builder().method(&method).uri(format!("{path}?nonsense=1")).header("host", "localhost");
        let requests = [
            bare().body(Body::empty()),
            bare().header("host", "localhost").body(Body::empty()),
            good().header("origin", "null").body(Body::empty()),
            query.header("authorization", bearer()).body(Body::from("{}")),
            good().body(Body::from("{")),
            good().body(Body::from("{\"nonsense\":1}")),
            good().header("content-type", "text/plain").body(Body::from("x")),
            good().header("content-length", "99999999999").body(Body::empty()),
        ];
        for request in requests {
            let status = app().oneshot(request.unwrap()).await.unwrap().status();
            assert!(documented.contains(status.as_str()), "{method} {path} answers {status}, which is not documented");
        }
    }
}
