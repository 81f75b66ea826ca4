//! What is changed, asked, reset and stopped, and the pages beside the sessions.

use serde_json::{Value, json};

use super::support::{Client, Daemon, docker_ok};

async fn status(client: &Client, id: &str) -> String {
    client.session(id).await["status"].as_str().expect("a status").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_changed_and_absent_ones_stay() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:patch").await;
    let path = format!("/v1/sessions/{id}");
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let first =
        client.patch(&path, json!({ "project": "p", "labels": { "a": "1" }, "task_id": "t" })).await.expect(200);
    assert_eq!((&first["project"], &first["labels"]), (&json!("p"), &json!({ "a": "1" })));
    let changed = events.until_kind("session.changed").await;
    assert_eq!(changed.json["data"]["project"], "p");
    let second = client.patch(&path, json!({ "channel": "c", "permissions": "allow" })).await.expect(200);
    assert_eq!((&second["project"], &second["channel"]), (&json!("p"), &json!("c")));
    assert_eq!(client.patch(&path, json!({})).await.expect(200)["last_seq"], second["last_seq"], "nothing to change");
    let by_task = client.get("/v1/sessions?task_id=t").await.expect(200);
    assert_eq!(by_task["items"][0]["id"], id.as_str());
    // The policy holds for the turn that follows.
    let (text, end) = client.turn(&id, "ask echo by-policy").await;
    assert!(text.contains("by-policy") && end["status"] == "done", "{text} {end}");
    client.patch(&path, json!({ "permissions": "deny" })).await.expect(200);
    let (text, _) = client.turn(&id, "ask echo by-policy").await;
    assert!(!text.contains("by-policy"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_is_listed_and_answered_by_option_or_by_kind() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:ask").await;
    let list = format!("/v1/sessions/{id}/permissions");
    assert_eq!(client.get(&list).await.expect(200), json!({ "items": [], "next": null }));
    let mut events = client.events(&id, 0).await;
    for by_option in [true, false] {
        let n = client.prompt(&id, "ask echo gone-through").await;
        events.until_kind("permission.requested").await;
        assert_eq!(status(&client, &id).await, "waiting");
        let pending = client.get(&list).await.expect(200);
        let request = &pending["items"][0];
        let path = format!("{list}/{}", request["id"].as_str().expect("an id"));
        let wrong = client.post(&path, json!({ "option_id": "no-such-option" })).await;
        assert_eq!(wrong.problem(422), "invalid_field");
        assert_eq!(client.get(&list).await.expect(200), pending, "still asked");
        let allowing = |o: &&Value| o["kind"] == "allow_once";
        let option = request["options"].as_array().expect("a list").iter().find(allowing).expect("an option");
        let id_of = option.get("option_id").or(option.get("optionId")).expect("an id");
        let answer = if by_option { json!({ "option_id": id_of }) } else { json!({ "kind": "allow_once" }) };
        client.post(&path, answer.clone()).await.expect(200);
        assert_eq!(client.post(&path, answer).await.problem(409), "permission_stale");
        assert!(events.turn(n).await.0.contains("gone-through"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_forgets_the_conversation_and_keeps_the_session() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:reset").await;
    client.turn(&id, "echo before").await;
    let before = client.session(&id).await;
    let mut events = client.events(&id, 0).await;
    let running = client.prompt(&id, "slow 1000").await;
    let waiting = client.prompt(&id, "echo never").await;
    events.until(|e| e.json["turn"] == format!("turn_{running}") && e.chunk().is_some()).await;
    let reset = client.post("/v1/sessions/it:reset/reset", json!({})).await.expect(200);
    assert_eq!((&reset["id"], &reset["key"]), (&before["id"], &before["key"]));
    assert_eq!((&reset["status"], &reset["turns"], &reset["queued"]), (&json!("suspended"), &json!(0), &json!(0)));
    assert_eq!(reset["agent_session_id"], Value::Null);
    assert_eq!(daemon.processes().iter().filter(|line| line.contains("demo-agent")).count(), 0);
    let ends: Vec<Value> = client.get(&format!("/v1/sessions/{id}/prompts")).await.expect(200)["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| json!([p["id"], p["state"]]))
        .collect();
    assert_eq!(ends, [json!([1, "done"]), json!([running, "cancelled"]), json!([waiting, "cancelled"])]);
    events.until_kind("session.reset").await;
    // The same subscriber goes on; the agent remembers nothing.
    let n = client.prompt(&id, "recall").await;
    assert_eq!(events.turn(n).await.0.trim(), "");
    assert_ne!(client.session(&id).await["agent_session_id"], before["agent_session_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_stopped_with_its_sessions_and_wakes_with_them() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "w", "image": "wharf/demo:latest" })).await.expect(201);
    assert_eq!(daemon.containers(), Vec::<String>::new(), "made when it is first needed");
    let started = client.post("/v1/workspaces/w/start", json!({})).await.expect(200);
    assert_eq!(started["status"], "running");
    let session = client.post("/v1/sessions", json!({ "agent": "demo", "workspace": "w" })).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    client.turn(id, "echo one").await;
    let mut events = client.events(id, 0).await;
    let running = client.prompt(id, "slow 1000").await;
    let waiting = client.prompt(id, "echo two").await;
    events.until(|e| e.json["turn"] == format!("turn_{running}") && e.chunk().is_some()).await;
    let stopped = client.post("/v1/workspaces/w/stop", json!({})).await.expect(200);
    assert_eq!(stopped["status"], "stopped");
    let view = client.session(id).await;
    assert_eq!((&view["status"], &view["queued"]), (&json!("suspended"), &json!(1)), "what waits, waits");
    assert_eq!(docker_ok(&["inspect", "-f", "{{.State.Running}}", &daemon.containers()[0]]), "false");
    assert_eq!(events.turn(running).await.1["status"], "cancelled");
    assert_eq!(client.post("/v1/workspaces/w/stop", json!({})).await.expect(200)["status"], "stopped");
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    assert_eq!(events.turn(waiting).await.0, "two");
    let (text, _) = client.turn(id, "recall").await;
    assert_eq!(text.lines().collect::<Vec<_>>(), ["echo one", "slow 1000", "echo two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_and_the_health_pages_tell_what_is_there() {
    let absent = "[agents.absent]\nprotocol = \"acp\"\nimage = \"wharf/absent:latest\"\nargv = [\"/bin/x\"]\n";
    let daemon = Daemon::start_with(&[], Some(absent)).await;
    let client = daemon.client();
    let agents = client.get("/v1/agents").await.expect(200);
    let agent = |name: &str| {
        let found = agents["items"].as_array().expect("a list").iter().find(|a| a["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {agents:#}")).clone()
    };
    assert_eq!(agent("demo")["image_present"], true);
    assert_eq!(agent("claude")["protocol"], "claude");
    assert_eq!(agent("absent")["image_present"], false);
    assert!(agent("absent")["hint"].as_str().expect("a hint").contains("make images"));
    assert_eq!(client.get("/healthz").await.expect(200)["version"], env!("CARGO_PKG_VERSION"));
    let ready = client.get("/readyz").await.expect(200);
    let names: Vec<_> = ready["components"].as_array().expect("a list").iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["store", "engine"]);
    let document = client.get("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"].as_str().map(|v| &v[..3]), Some("3.1"));
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().expect("its end")) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_over_is_told_and_removed_when_asked() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:orphans").await;
    client.turn(&id, "echo x").await;
    let own = async |method: &str| -> Vec<String> {
        let answer = Client::send(client.request(method, "/v1/orphans")).await.expect("an answer").expect(200);
        let items = answer["items"].as_array().expect("a list").clone();
        items.iter().filter(|o| o["shared"] != true).map(|o| o["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(own("GET").await, Vec::<String>::new());
    let (instance, kept) = (format!("wharf.instance={}", daemon.instance()), daemon.containers());
    let name = format!("wharf-lost-{}", daemon.instance());
    let lost = "wharf.workspace=ws_01990000-0000-7000-8000-000000000000";
    docker_ok(&["create", "--name", &name, "--label", &instance, "--label", lost, "wharf/demo:latest", "/bin/true"]);
    docker_ok(&["volume", "create", "--label", &instance, &name]);
    assert_eq!(own("GET").await, [name.clone(), name.clone()]);
    assert_eq!(own("DELETE").await, [name.clone(), name]);
    assert_eq!(own("GET").await, Vec::<String>::new());
    assert_eq!(daemon.containers(), kept);
    assert_eq!(client.turn(&id, "echo still here").await.0, "still here");
}
