//! What is refused, in words, and changes nothing.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use super::{
    place::{Host, NO_ENGINE, ask},
    support::{Client, Daemon},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_refused_unless_it_is_enabled() {
    for config in [NO_ENGINE.to_owned(), format!("{NO_ENGINE}[host]\nenabled = false\n")] {
        let daemon = Daemon::start_with(&[], Some(&config)).await;
        let client = daemon.client();
        let refused = ask(&client, json!({})).await;
        let detail = refused.json["detail"].as_str().expect("words").to_owned();
        assert!(detail.contains("`enabled = true` in `[host]`"), "{detail}");
        assert_eq!(refused.problem(422), "host_disabled");
        assert_eq!(client.get("/v1/workspaces/host").await.problem(404), "workspace_not_found");
        assert!(!daemon.state().join("host").exists(), "nothing was made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_outside_is_refused_also_behind_a_link() {
    let host = Host::start().await;
    let client = host.client();
    fs::create_dir_all(host.work().join("project")).expect("a directory");
    symlink("project", host.work().join("in")).expect("a link");
    symlink("/usr", host.work().join("out")).expect("a link");
    let at = |name: &str| format!("{}/{name}", host.work().display());
    for bad in ["/", "/usr", &at("out"), &at("out/bin"), &at("missing"), &host.state().display().to_string()] {
        let refused = ask(&client, json!({ "cwd": bad })).await;
        assert_eq!(refused.json["field"], "cwd", "{:#}", refused.json);
        assert_eq!(refused.problem(422), "invalid_field", "{bad}");
    }
    assert_eq!(client.get("/v1/sessions").await.expect(200)["items"], json!([]));
    host.at_rest().await;
    let made = ask(&client, json!({ "cwd": at("in") })).await.expect(201);
    let project = fs::canonicalize(host.work().join("project")).expect("it is there");
    assert_eq!(made["cwd"], project.to_str().expect("UTF-8"));
    let id = made["id"].as_str().expect("an id");
    assert!(client.turn(id, "run pwd").await.0.contains(made["cwd"].as_str().expect("a path")));
    // What became a link since then is not followed out.
    client.post("/v1/workspaces/host/stop", json!({})).await.expect(200);
    fs::remove_dir(&project).expect("it is removed");
    symlink("/usr", &project).expect("a link");
    let refused = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert_eq!(refused.status, 409, "{:#}", refused.json);
    assert!(refused.json["detail"].as_str().expect("words").contains("is not in"), "{:#}", refused.json);
    assert_eq!(host.that("demo-agent"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_has_the_host_has_not() {
    let host = Host::start().await;
    let client = host.client();
    host.session("host:not").await;
    let path = "/v1/workspaces/host";
    let recreated = client.post(&format!("{path}/recreate"), json!({ "memory": 1 << 30 })).await;
    assert_eq!(recreated.problem(409), "not_on_host");
    assert_eq!(client.get(&format!("{path}/files?path=x")).await.problem(409), "not_on_host");
    let put = Client::send(client.request("PUT", &format!("{path}/files?path=x")).body("x")).await.expect("an answer");
    assert_eq!(put.problem(409), "not_on_host");
    let named = client.post("/v1/workspaces", json!({ "name": "host" })).await;
    assert!(named.json["detail"].as_str().expect("words").contains("reserved"), "{:#}", named.json);
    assert_eq!(named.problem(422), "invalid_field");
    let spec = client.post("/v1/workspaces", json!({ "name": "host", "setup": "true" })).await;
    assert_eq!(spec.problem(422), "invalid_field");
    client.request("GET", &format!("{path}/logs")).send().await.expect("an answer").error_for_status().expect("200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_scope_prompt_can_not_choose_the_host_or_a_spec() {
    let host = Host::start().await;
    let unix = host.client();
    let id = host.session("host:scope").await;
    let workspace = host.view().await["id"].as_str().expect("an id").to_owned();
    let made = unix.post("/v1/tokens", json!({ "name": "bot", "scope": "prompt" })).await.expect(201);
    let bot = Client::tcp(&host.daemon.tcp(), made["token"].as_str());
    for place in [json!("host"), json!(workspace), json!({ "image": "wharf/demo:latest" }), json!({})] {
        let refused = bot.post("/v1/sessions", json!({ "agent": "demo", "workspace": place })).await;
        assert_eq!((&refused.json["scope"], &refused.json["needed"]), (&json!("prompt"), &json!("admin")), "{place}");
        assert_eq!(refused.problem(403), "forbidden_scope", "{place}");
        // Not by a known key either: who may not choose it may not ask for it.
        let known = bot.post("/v1/sessions", json!({ "agent": "demo", "workspace": place, "key": "host:scope" })).await;
        assert_eq!(known.problem(403), "forbidden_scope", "{place}");
    }
    assert_eq!(unix.get("/v1/sessions").await.expect(200)["items"].as_array().expect("a list").len(), 1);
    // Talking with one that is there is what the scope is for.
    assert_eq!(bot.turn(&id, "echo from-bot").await.0, "from-bot");
    bot.post("/v1/sessions", json!({ "agent": "demo", "key": "host:scope" })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_the_host_has_not_is_named() {
    let host = Host::start_with(&[], "[agents.absent]\nargv = [\"no-such-agent\"]\n").await;
    let made = ask(&host.client(), json!({ "agent": "absent" })).await.expect(201);
    let id = made["id"].as_str().expect("an id");
    let refused = host.client().post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert_eq!(refused.status, 409, "{:#}", refused.json);
    assert!(refused.json["detail"].as_str().expect("words").contains("`no-such-agent`"), "{:#}", refused.json);
}
