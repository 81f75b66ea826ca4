//! Agents of an operator's own, and what the catalogue tells of each.

mod support;

use serde_json::{Value, json};
use support::{Client, Daemon, docker, docker_ok};

/// An agent that can do nothing but what ACP asks of every agent.
const PLAIN: &str = r#"while read -r line; do case $line in
*'"initialize"'*) echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}' ;;
*'"session/new"'*) echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"plain"}}' ;;
*'"session/prompt"'*) echo "model=$PLAIN_MODEL args=$*" >&2; echo '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}' ;;
esac; done"#;

fn plain(more: &str) -> String {
    let argv = json!(["/bin/sh", "-c", PLAIN, "plain"]).to_string();
    format!("[agents.plain]\nimage = \"wharf/demo:latest\"\nargv = {argv}\n{more}")
}

async fn session(client: &Client, body: Value) -> String {
    client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
}

fn agent(list: &Value, name: &str) -> Value {
    let found = list["items"].as_array().expect("a list").iter().find(|agent| agent["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list:#}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_adds_an_agent_with_six_lines() {
    // The README's own words, with a program and an image that are here.
    let readme = include_str!("../README.md");
    let at = readme.find("[agents.mine]").expect("the example");
    let example = readme[at..].split("```").next().expect("its end").trim();
    assert!(example.lines().count() <= 6, "{example}");
    let config = example.replace("\"my-agent\"", "\"/bin/wharf-demo-agent\"").replace("my/image", "wharf/demo");
    assert!(config.contains("/bin/wharf-demo-agent") && config.contains("wharf/demo"), "{config}");
    let daemon = Daemon::start_with(&[("MY_API_KEY", "key-of-my-own")], Some(&config)).await;
    let client = daemon.client();
    let mine = agent(&client.get("/v1/agents").await.expect(200), "mine");
    assert_eq!((&mine["protocol"], &mine["in_image"], &mine["version"]), (&json!("acp"), &Value::Null, &Value::Null));
    assert_eq!((&mine["can"]["resume"], &mine["can"]["cancel"]), (&Value::Null, &json!(true)));
    let id = session(&client, json!({ "agent": "mine", "key": "it:mine" })).await;
    let (text, end) = client.turn(&id, "echo from my own").await;
    assert_eq!((text.as_str(), &end["status"]), ("from my own", &json!("done")));
    assert_eq!(client.session("it:mine").await["agent"], "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_tells_what_is_in_an_image() {
    let own = "[agents.own]\nargv = [\"/bin/own\"]\nimage = \"wharf/absent:latest\"\n";
    let daemon = Daemon::start_with(&[], Some(own)).await;
    let client = daemon.client();
    let image = format!("wharf-test-{}:labels", daemon.instance());
    let container = docker_ok(&["create", "wharf/demo:latest", "/bin/true"]);
    let labels = "LABEL wharf.agent.demo=9.8.7 wharf.agent.own=1.0";
    let made = docker(&["commit", "-c", labels, &container, &image]);
    docker_ok(&["rm", &container]);
    made.expect("an image");
    let told = client.get(&format!("/v1/agents?image={image}")).await;
    docker_ok(&["rmi", &image]);
    let told = told.expect(200);
    let known = |name: &str| {
        let agent = agent(&told, name);
        assert_eq!((&agent["image"], &agent["image_present"]), (&json!(image), &json!(true)), "{name}");
        (agent["in_image"].clone(), agent["version"].clone())
    };
    assert_eq!(known("demo"), (json!(true), json!("9.8.7")));
    assert_eq!(known("own"), (json!(true), json!("1.0")));
    assert_eq!(known("claude"), (json!(false), Value::Null), "the image labels its agents, and has no such one");

    let told = client.get("/v1/agents").await.expect(200);
    let own = agent(&told, "own");
    assert_eq!((&own["image_present"], &own["in_image"]), (&json!(false), &json!(false)));
    let claude = agent(&told, "claude");
    assert_eq!(claude["can"]["modes"][0], "default");
    assert_eq!(
        (&claude["can"]["model"], &claude["can"]["mcp"]),
        (&json!("any_time"), &json!(["stdio", "http", "sse"]))
    );
    let opencode = agent(&told, "opencode");
    assert_eq!((&opencode["protocol"], &opencode["can"]["resume"]), (&json!("acp"), &json!(true)));
    for bad in ["?image=", "?image=a%20b", "?image=../x", "?image=a&image=b"] {
        assert_eq!(client.get(&format!("/v1/agents{bad}")).await.problem(400), "invalid_parameter", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_can_not_do_is_refused_with_the_reason() {
    let daemon = Daemon::start_with(&[], Some(&plain(""))).await;
    let client = daemon.client();
    let id = session(&client, json!({ "agent": "plain", "key": "it:plain" })).await;
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    let path = format!("/v1/sessions/{id}");
    for change in ["model", "mode"] {
        let refused = client.patch(&path, json!({ change: "x" })).await;
        assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains(change)), "{:#}", refused.json);
        assert_eq!(refused.problem(422), "unsupported");
        assert_eq!(client.session(&id).await[change], Value::Null, "nothing was changed");
    }
    let image = json!({ "content": [{ "type": "image", "data": "AA==", "mimeType": "image/png" }] });
    let refused = client.post(&format!("{path}/prompts"), image).await;
    assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains("images")), "{:#}", refused.json);
    assert_eq!(refused.problem(422), "unsupported");
    assert_eq!(client.turn(&id, "hello").await.1["status"], "done", "the session is as it was");

    // A mode that is known not to be there, and a way to MCP servers that the agent announces when it runs.
    let refused = client.post("/v1/sessions", json!({ "agent": "claude", "mode": "fast" })).await;
    assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains("acceptEdits")), "{:#}", refused.json);
    assert_eq!(refused.problem(422), "unsupported");
    let old = json!([{ "type": "sse", "name": "old", "url": "http://old", "headers": [] }]);
    let refused = client.post("/v1/sessions", json!({ "agent": "codex", "mcp_servers": old })).await;
    assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains("sse")), "{:#}", refused.json);
    assert_eq!(refused.problem(422), "unsupported");
    let far = json!([{ "type": "http", "name": "far", "url": "http://far", "headers": [] }]);
    let id = session(&client, json!({ "agent": "plain", "key": "it:far", "mcp_servers": far })).await;
    let refused = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    let detail = refused.json["detail"].as_str().unwrap_or_default().to_owned();
    assert!(["http", "far", "stdio"].iter().all(|part| detail.contains(part)), "{detail}");
    assert_eq!(refused.problem(409), "session_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_and_a_conversation_go_the_configured_way() {
    let config = plain("model = \"env:PLAIN_MODEL\"\nmode = \"arg:--mode\"\nresume = \"never\"\n");
    let daemon = Daemon::start_with(&[], Some(&config)).await;
    let client = daemon.client();
    let known = agent(&client.get("/v1/agents").await.expect(200), "plain");
    assert_eq!((&known["can"]["model"], &known["can"]["resume"]), (&json!("at_start"), &json!(false)));
    let refused = client.post("/v1/sessions", json!({ "agent": "plain", "agent_session_id": "x" })).await;
    assert_eq!(refused.problem(422), "unsupported");
    let id = session(&client, json!({ "agent": "plain", "key": "it:way", "model": "m1", "mode": "quick" })).await;
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    let mut events = client.events(&id, 0).await;
    client.prompt(&id, "hello").await;
    // The two streams of a process have no order between them.
    let (mut said, mut ended) = (String::new(), false);
    while said.is_empty() || !ended {
        let event = events.next().await.expect("the stream goes on");
        said.push_str(
            event.json["data"]["text"].as_str().filter(|_| event.kind() == "agent.stderr").unwrap_or_default(),
        );
        ended |= event.kind() == "turn.ended";
    }
    assert_eq!(said, "model=m1 args=--mode quick\n");
    let refused = client.patch(&format!("/v1/sessions/{id}"), json!({ "model": "m2" })).await;
    assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains("PLAIN_MODEL")), "{:#}", refused.json);
    assert_eq!(refused.problem(422), "unsupported");
    let session = client.session(&id).await;
    assert_eq!((&session["model"], &session["agent_session_id"]), (&json!("m1"), &Value::Null));
    // What can't be taken up again says so when its container has gone.
    let workspace = session["workspace"].as_str().expect("a workspace").to_owned();
    client.post(&format!("/v1/workspaces/{workspace}/stop"), json!({})).await.expect(200);
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.problem(409);
    events.until_kind("session.resume_failed").await;
}
