//! Names, keys and ids: what is equal is the same, what is taken is told.

use serde_json::{Value, json};

use super::support::{Client, Daemon};
use super::world::World;

fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_one_spec() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let spec = json!({ "name": "box", "image": "wharf/demo:latest", "env": { "A": "1" }, "pids": 64 });
    let (mut one, mut two) =
        tokio::join!(client.post("/v1/workspaces", spec.clone()), client.post("/v1/workspaces", spec.clone()));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 201], "made once");
    let mut again = client.post("/v1/workspaces", spec.clone()).await.expect(200);
    for answer in [&mut one.json, &mut two.json, &mut again] {
        // Until the daemon has looked at the engine for the first time, it does not know.
        let status = answer["status"].take();
        assert!(status == "absent" || status == "unknown", "{status}");
    }
    assert_eq!(one.json, two.json);
    assert_eq!(one.json["spec"]["env"], json!({ "A": "***" }), "its value is not shown");
    assert_eq!(again, one.json);
    let before = World::of(&daemon, &client).await;
    for (field, value) in [("pids", json!(65)), ("env", json!({ "A": "2" })), ("network", json!("none"))] {
        let mut other = spec.clone();
        other[field] = value;
        let refused = client.post("/v1/workspaces", other).await;
        assert_eq!(refused.json["workspace"], one.json["id"], "whose it is");
        assert_eq!(refused.problem(409), "name_taken", "{field}");
    }
    before.unchanged(&daemon, &client, "other specs").await;

    // Sessions share it; it can't be made twice, and it goes with them.
    let session = json!({ "agent": "demo", "workspace": "box", "key": "it:one" });
    let first = client.post("/v1/sessions", session).await.expect(201);
    let id = text(&one.json, "id");
    let second = client.post("/v1/sessions", json!({ "agent": "demo", "workspace": id })).await.expect(201);
    assert_eq!((&first["workspace"], &second["workspace"]), (&one.json["id"], &one.json["id"]));
    client.turn(text(&first, "id"), "echo one").await;
    client.turn(text(&second, "id"), "echo two").await;
    assert_eq!(daemon.containers().len(), 1, "one container for both");
    let listed = client.get("/v1/sessions?workspace=box").await.expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    client.delete("/v1/workspaces/box").await.expect(204);
    assert_eq!(client.get("/v1/sessions/it:one").await.problem(404), "session_not_found");
    assert_eq!(client.get("/v1/workspaces/box").await.problem(404), "workspace_not_found");
    assert_eq!(daemon.containers(), Vec::<String>::new());
    assert_eq!(daemon.volumes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creates_with_one_key_make_one_session() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    for round in 0..5 {
        let body = json!({ "agent": "demo", "key": format!("it:twice-{round}") });
        let answers = futures_util::future::join_all((0..4).map(|_| client.post("/v1/sessions", body.clone()))).await;
        let made = answers.iter().filter(|a| a.status == 201).count();
        assert_eq!(made, 1, "{answers:#?}");
        assert!(answers.iter().all(|a| matches!(a.status, 200 | 201) && a.json["id"] == answers[0].json["id"]));
    }
    let sessions = client.get("/v1/sessions").await.expect(200);
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(5));
    let workspaces = client.get("/v1/workspaces").await.expect(200);
    assert_eq!(workspaces["items"].as_array().map(Vec::len), Some(5), "and one workspace each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_gives_its_session_with_the_model_that_was_asked_for() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let make = async |model: Option<&str>| {
        let mut body = json!({ "agent": "demo", "key": "it:model" });
        if let Some(model) = model {
            body["model"] = model.into();
        }
        client.post("/v1/sessions", body).await
    };
    let first = make(None).await;
    let location = first.headers["location"].to_str().expect("text").to_owned();
    let first = first.expect(201);
    let id = text(&first, "id");
    assert_eq!(client.get(&location).await.expect(200)["id"], first["id"]);
    client.turn(id, "echo one").await;
    let before = client.session(id).await;
    // This agent knows its models, and says so while it runs.
    assert_eq!(make(Some("small")).await.problem(422), "unsupported");
    let other = json!({ "agent": "claude", "key": "it:model" });
    assert_eq!(client.post("/v1/sessions", other).await.problem(422), "invalid_field", "another agent's session's key");
    assert_eq!(client.session(id).await, before);
    assert_eq!(make(Some("demo-2")).await.expect(200)["model"], "demo-2");
    let mut events = client.events(id, before["last_seq"].as_u64().expect("a number")).await;
    events.until(|e| model(&e.json).as_deref() == Some("demo-2")).await;
    // With a prompt, the known session runs it.
    let prompted = json!({ "agent": "demo", "key": "it:model", "prompt": "echo again" });
    client.post("/v1/sessions", prompted).await.expect(200);
    assert_eq!(events.turn(2).await.0, "again");
    // While it rests, a change of the model waits for the next start; the answer tells the new one.
    client.post(&format!("/v1/workspaces/{}/stop", text(&first, "workspace")), json!({})).await.expect(200);
    let changed = make(Some("large")).await.expect(200);
    assert_eq!((&changed["id"], &changed["model"]), (&first["id"], &json!("large")));
    assert_eq!(make(None).await.expect(200)["model"], "large", "asking for none changes none");
    let restored = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert!(restored.json["detail"].as_str().expect("text").contains("model"), "{restored:?}");
    assert_eq!(restored.problem(409), "session_failed");
}

/// The model that an event tells.
fn model(event: &Value) -> Option<String> {
    let options = event["data"]["configOptions"].as_array()?;
    options.iter().find(|option| option["id"] == "model")?["currentValue"].as_str().map(str::to_owned)
}

/// The model that the agent told last.
async fn model_told(client: &Client, id: &str) -> String {
    let page = client.get(&format!("/v1/sessions/{id}/events?limit=1000&type=update")).await.expect(200);
    let told = page["items"].as_array().expect("a list").iter().rev().find_map(model);
    told.unwrap_or_else(|| panic!("no model in {page:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_asked_for_while_the_agent_starts_is_its_model() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let body = |model: &str| json!({ "agent": "demo", "key": "it:early", "model": model });
    let first = client.post("/v1/sessions", body("demo-2")).await.expect(201);
    let id = text(&first, "id");
    // Once its start is on its way and before it is ready, as far as that can be hit.
    let mut events = client.events(id, 0).await;
    events.until_kind("agent.started").await;
    assert_eq!(client.post("/v1/sessions", body("demo-3")).await.expect(200)["model"], "demo-3");
    client.turn(id, "echo x").await;
    assert_eq!(model_told(&client, id).await, "demo-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_hold_anything_that_a_path_can_be_made_to_hold() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let keys = [
        ("slack:C1/1700.5", "slack:C1%2F1700.5"),
        ("git:a:b:c", "git:a:b:c"),
        ("mail:x@y.z?n=1#2", "mail:x@y.z%3Fn=1%232"),
        ("chat:grüße an alle", "chat:gr%C3%BC%C3%9Fe%20an%20alle"),
        ("plain", "default:plain"),
        ("p:100%", "p:100%25"),
        ("dots:..", "dots:%2e%2e"),
    ];
    for (key, path) in keys {
        let made = client.post("/v1/sessions", json!({ "agent": "demo", "key": key })).await.expect(201);
        assert_eq!(client.session(path).await["id"], made["id"], "{key}");
        let restored = client.post(&format!("/v1/sessions/{path}/restore"), json!({})).await.expect(200);
        assert_eq!(restored["id"], made["id"]);
        assert_eq!(client.turn(path, "echo here").await.0, "here", "{key}");
        client.delete(&format!("/v1/sessions/{path}?purge=true")).await.expect(200);
        assert_eq!(client.get(&format!("/v1/sessions/{path}")).await.problem(404), "session_not_found");
    }
    assert_eq!(client.get("/v1/sessions?closed=true").await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_keeps_its_log_until_it_is_purged_and_gives_its_key_away() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let old = client.demo("it:key").await;
    client.turn(&old, "echo old").await;
    client.delete("/v1/sessions/it:key").await.expect(200);
    assert_eq!(client.session("it:key").await["id"], old.as_str(), "still found by its key");
    for (path, body) in [("restore", json!({})), ("reset", json!({})), ("prompts", json!({ "content": "x" }))] {
        let refused = client.post(&format!("/v1/sessions/{old}/{path}"), body).await;
        assert_eq!(refused.problem(409), "session_closed", "{path}");
    }
    let patched = client.patch(&format!("/v1/sessions/{old}"), json!({ "project": "p" })).await;
    assert_eq!(patched.problem(409), "session_closed");
    let new = client.demo("it:key").await;
    assert_ne!(new, old);
    assert_eq!(client.session("it:key").await["id"], new.as_str());
    assert_eq!(client.session(&old).await["key"], Value::Null);
    let log = client.get(&format!("/v1/sessions/{old}/events?limit=1000")).await.expect(200);
    let kinds: Vec<&str> = log["items"].as_array().expect("a list").iter().map(|e| text(e, "type")).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"session.created"), Some(&"session.closed")));
    let open = client.get("/v1/sessions").await.expect(200);
    assert_eq!(open["items"].as_array().map(Vec::len), Some(1), "closed ones are listed when asked for");
    client.delete(&format!("/v1/sessions/{old}?purge=true")).await.expect(200);
    for path in ["", "/events", "/prompts"] {
        let gone = client.get(&format!("/v1/sessions/{old}{path}")).await;
        assert_eq!(gone.problem(404), "session_not_found");
    }
    // Purged at once, in the middle of a turn.
    let mut events = client.events(&new, 0).await;
    client.prompt(&new, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    let purged = client.delete("/v1/sessions/it:key?purge=true").await.expect(200);
    assert_eq!(purged["status"], "closed");
    assert_eq!(events.rest().await.last().map(|e| e.kind().to_owned()).as_deref(), Some("session.closed"));
    assert_eq!(client.get("/v1/sessions?closed=true").await.expect(200)["items"], json!([]));
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_newest_first_and_filtered() {
    let daemon = Daemon::start_with(&[], Some(TWIN)).await;
    let client = daemon.client();
    let mut made = Vec::new();
    for n in 0..5 {
        let agent = if n % 2 == 0 { "demo" } else { "twin" };
        let body = json!({ "agent": agent, "key": format!("app{}:{n}", n % 2), "project": format!("p{n}"),
                           "labels": { "n": n.to_string(), "all": "yes" }, "workspace": "shared" });
        if n == 0 {
            client.post("/v1/workspaces", json!({ "name": "shared", "image": "wharf/demo:latest" })).await.expect(201);
        }
        made.push(text(&client.post("/v1/sessions", body).await.expect(201), "id").to_owned());
    }
    made.reverse();
    let ids = async |query: &str| -> (Vec<String>, Value) {
        let page = client.get(&format!("/v1/sessions{query}")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        (items.iter().map(|s| text(s, "id").to_owned()).collect(), page["next"].clone())
    };
    assert_eq!(ids("").await, (made.clone(), Value::Null));
    let (mut all, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (page, next) = ids(&query).await;
        assert!(page.len() <= 2);
        all.extend(page);
        let Some(next) = next.as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(all, made);
    assert_eq!(ids("?agent=twin").await.0, [made[1].clone(), made[3].clone()]);
    assert_eq!(ids("?app=app1").await.0, [made[1].clone(), made[3].clone()]);
    assert_eq!(ids("?project=p4&label=all=yes").await.0, [made[0].clone()]);
    assert_eq!(ids("?label=n=0&label=all=yes").await.0, [made[4].clone()]);
    assert_eq!(ids("?label=n=0&label=all=no").await.0, Vec::<String>::new());
    assert_eq!(ids("?workspace=shared&limit=1000").await.0.len(), 5);
    assert_eq!(ids("?status=closed").await.0, Vec::<String>::new());
}

/// The demo agent by another name.
const TWIN: &str =
    "[agents.twin]\nprotocol = \"acp\"\nimage = \"wharf/demo:latest\"\nargv = [\"/bin/wharf-demo-agent\"]\n";
