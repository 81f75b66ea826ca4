//! Who may ask: tokens, Host and Origin, on both kinds of sockets.

use serde_json::json;

use super::support::{Client, Daemon};
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn tcp_needs_the_token_and_a_wrong_one_is_refused_everywhere() {
    let daemon = Daemon::start().await;
    let unix = daemon.client();
    let id = unix.demo("it:access").await;
    unix.turn(&id, "echo warm").await;
    let before = World::of(&daemon, &unix).await;
    let base = daemon.tcp();
    let strangers = [Client::tcp(&base, None), Client::tcp(&base, Some("wharf_wrong")), Client::tcp(&base, Some(""))];
    for client in &strangers {
        let calls = [("GET", "/v1/sessions"), ("GET", "/v1/agents"), ("GET", "/openapi.json"), ("GET", "/v1/nothing")];
        for (method, path) in calls.into_iter().chain([("DELETE", "/v1/sessions/it:access?purge=true")]) {
            let answer = Client::send(client.request(method, path)).await.expect("an answer");
            assert!(answer.headers["www-authenticate"].to_str().expect("text").starts_with("Bearer"), "{answer:?}");
            assert!(answer.json["detail"].as_str().expect("text").contains("<state-dir>/token"), "{answer:?}");
            assert_eq!(answer.problem(401), "unauthorized", "{method} {path}");
        }
        let make = client.request("POST", "/v1/sessions").json(&json!({ "agent": "demo" }));
        assert_eq!(Client::send(make).await.expect("an answer").problem(401), "unauthorized");
        client.get("/healthz").await.expect(200);
        client.get("/readyz").await.expect(200);
    }
    let in_url = strangers[0].get(&format!("/v1/agents?token={}", daemon.token())).await;
    assert_eq!(in_url.problem(401), "unauthorized", "no token in a URL");
    let wrong = unix.request("GET", "/v1/agents").bearer_auth("wharf_wrong");
    assert_eq!(Client::send(wrong).await.expect("an answer").problem(401), "unauthorized");
    let basic = unix.request("GET", "/v1/agents").header("authorization", "Basic eDp5");
    assert_eq!(Client::send(basic).await.expect("an answer").problem(401), "unauthorized");
    before.unchanged(&daemon, &unix, "strangers").await;

    let known = Client::tcp(&base, Some(&daemon.token()));
    assert_eq!(known.get("/v1/sessions").await.expect(200), unix.get("/v1/sessions").await.expect(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_gets_nothing() {
    let config = "allowed_hosts = [\"wharf.lan\"]\nallowed_origins = [\"https://ui.lan\"]\n";
    let daemon = Daemon::start_with(&[], Some(config)).await;
    let (unix, tcp) = (daemon.client(), Client::tcp(&daemon.tcp(), Some(&daemon.token())));
    let ask = async |client: &Client, name: &str, value: &str| {
        Client::send(client.request("GET", "/v1/agents").header(name, value)).await.expect("an answer")
    };
    for host in ["evil.example", "localhost.evil.example:7717", "127.0.0.1.nip.io", "10.0.0.1", "[fe80::1]:1"] {
        assert_eq!(ask(&tcp, "host", host).await.problem(421), "host_not_allowed", "{host}");
        ask(&unix, "host", host).await.expect(200);
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]:7717", "wharf.lan"] {
        ask(&tcp, "host", host).await.expect(200);
    }
    for client in [&unix, &tcp] {
        for origin in ["https://evil.example", "null", "http://ui.lan", "http://localhost"] {
            assert_eq!(ask(client, "origin", origin).await.problem(403), "origin_not_allowed", "{origin}");
        }
        let allowed = ask(client, "origin", "https://ui.lan").await;
        assert!(!allowed.headers.contains_key("access-control-allow-origin"), "no CORS by default");
        allowed.expect(200);
    }
    // What a browser sends before it asks.
    let preflight = tcp.request("OPTIONS", "/v1/sessions").header("origin", "https://evil.example");
    assert_eq!(Client::send(preflight).await.expect("an answer").problem(403), "origin_not_allowed");
}
