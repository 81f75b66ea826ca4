//! Create, start, stop, recreate, delete, and the log.

use serde_json::json;

use super::space::{DEMO, WORKSPACE, container, inspect, make, read, session, shell, started};
use super::support::{Daemon, docker};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_created_started_stopped_and_deleted() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = make(&client, json!({ "name": "life" })).await;
    assert_eq!(daemon.containers(), Vec::<String>::new(), "made when it is needed");
    let status = async |verb: &str| {
        client.post(&format!("/v1/workspaces/life/{verb}"), json!({})).await.expect(200)["status"].clone()
    };
    assert_eq!(status("start").await, "running");
    assert_eq!(status("start").await, "running", "twice is once");
    assert_eq!(status("stop").await, "stopped");
    assert_eq!(inspect(&id)["State"]["Running"], false);
    assert_eq!(status("start").await, "running");
    client.delete("/v1/workspaces/life").await.expect(204);
    assert_eq!((daemon.containers(), daemon.volumes()), (vec![], vec![]));
    assert_eq!(client.get("/v1/workspaces/life").await.problem(404), "workspace_not_found");
    let logs = std::fs::read_dir(daemon.state().join("logs")).map_or(0, Iterator::count);
    assert_eq!(logs, 0, "its log went with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_changes_image_and_limits_keeps_volumes_and_sessions_resume() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({ "env": { "KEPT": "kept-value" } })).await;
    let agent = session(&client, &id, "it:anew").await;
    client.turn(&agent, "echo before").await;
    shell(&id, "echo kept > /workspace/file; echo home > /home/agent/file");
    let before = inspect(&id)["Id"].clone();
    let changes = json!({ "memory": 268_435_456, "pids": 200, "labels": { "a": "b" } });
    let view = client.post(&format!("/v1/workspaces/{id}/recreate"), changes).await.expect(200);
    assert_eq!((&view["status"], &view["spec"]["memory"]), (&json!("running"), &json!(268_435_456)));
    let now = inspect(&id);
    assert_ne!(now["Id"], before);
    assert_eq!((&now["HostConfig"]["Memory"], &now["HostConfig"]["PidsLimit"]), (&json!(268_435_456), &json!(200)));
    assert_eq!(shell(&id, "cat /workspace/file /home/agent/file"), "kept\nhome");
    let mut events = client.events(&agent, 0).await;
    // It is awake again without being asked.
    let mut starts = 0;
    events
        .until(|e| {
            starts += usize::from(e.kind() == "agent.started");
            starts == 2
        })
        .await;
    assert_eq!(client.turn(&agent, "recall").await.0, "echo before");
    assert_eq!(client.turn(&agent, "run echo $KEPT").await.0.trim(), "kept-value", "what is not named stays");

    // Another image; a bad change changes nothing and ends nothing.
    let here = inspect(&id)["Id"].clone();
    for (bad, code) in [
        (json!({ "image": "wharf/absent:1" }), "image_missing"),
        (json!({ "memory": 1 }), "invalid_field"),
        (json!({ "name": "x" }), "unknown_field"),
    ] {
        let answer = client.post(&format!("/v1/workspaces/{id}/recreate"), bad).await;
        let status = answer.status;
        assert_eq!(answer.problem(status), code);
    }
    assert_eq!(inspect(&id)["Id"], here);
    client.post(&format!("/v1/workspaces/{id}/recreate"), json!({ "image": WORKSPACE })).await.expect(200);
    assert_eq!(inspect(&id)["Config"]["Image"], WORKSPACE);
    assert_eq!(shell(&id, "cat /workspace/file && git --version >/dev/null"), "kept");
    // Without a body: as it was.
    client.post(&format!("/v1/workspaces/{id}/recreate"), json!({ "image": DEMO })).await.expect(200);
    let bare = client.request("POST", &format!("/v1/workspaces/{id}/recreate"));
    super::support::Client::send(bare).await.unwrap().expect(200);
    // In the image without its agent it has failed.
    client.post(&format!("/v1/sessions/{agent}/restore"), json!({})).await.expect(200);
    assert_eq!(client.turn(&agent, "recall").await.0.lines().next(), Some("echo before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_workspace_goes_with_its_session() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:ephemeral").await;
    client.turn(&id, "echo x").await;
    let workspace = client.session(&id).await["workspace"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&format!("/v1/workspaces/{workspace}")).await.expect(200)["ephemeral"], true);
    client.delete(&format!("/v1/sessions/{id}")).await;
    assert_eq!(client.get(&format!("/v1/workspaces/{workspace}")).await.problem(404), "workspace_not_found");
    assert_eq!((daemon.containers(), daemon.volumes()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_tell_what_happened_and_follow() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    let text = String::from_utf8(read(&client, &format!("/v1/workspaces/{id}/logs")).await).unwrap();
    assert!(text.contains(" wharf: its container is made from wharf/demo:latest\n"), "{text}");
    let answer = client.request("GET", &format!("/v1/workspaces/{id}/logs?follow=true&tail=0")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let mut answer = answer;
    docker(&["kill", &container(&id)]).unwrap();
    let mut seen = String::new();
    while !seen.contains("its container was killed") {
        let piece = tokio::time::timeout(super::support::PATIENCE, answer.chunk()).await.expect("in time");
        seen.push_str(std::str::from_utf8(&piece.unwrap().expect("it goes on")).unwrap());
    }
    // It ends with the workspace.
    client.delete(&format!("/v1/workspaces/{id}")).await.expect(204);
    let rest = async { while answer.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(super::support::PATIENCE, rest).await.expect("it ends");
}
