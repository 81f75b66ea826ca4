//! The setup command: run once, its output a log, its failure an `error` that is tried again when asked.

use serde_json::json;

use super::space::{container, make, read, shell, started};
use super::support::{Daemon, PATIENCE, docker, docker_ok, until};

#[tokio::test(flavor = "multi_thread")]
async fn setup_runs_once_before_anything_else() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let setup = "echo run >> /workspace/ran; id -u; echo \"$WORD\"; echo to stderr >&2";
    let id = started(&client, json!({ "setup": setup, "env": { "WORD": "hidden-value" } })).await;
    assert_eq!(shell(&id, "cat /workspace/ran"), "run");
    let log = String::from_utf8(read(&client, &format!("/v1/workspaces/{id}/logs")).await).unwrap();
    for line in [" setup: 1000\n", " setup: to stderr\n", " setup: ***\n", " wharf: the setup command begins\n"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("hidden-value"));
    client.post(&format!("/v1/workspaces/{id}/stop"), json!({})).await.expect(200);
    docker_ok(&["rm", &container(&id)]);
    daemon.stop();
    daemon.start_again().await;
    let client = daemon.client();
    client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await.expect(200);
    client.post(&format!("/v1/workspaces/{id}/recreate"), json!({})).await.expect(200);
    assert_eq!(shell(&id, "cat /workspace/ran"), "run", "never again");
    let last = String::from_utf8(read(&client, &format!("/v1/workspaces/{id}/logs?tail=1")).await).unwrap();
    assert_eq!(last.lines().count(), 1, "{last}");
    let again = client.post(&format!("/v1/workspaces/{id}/recreate"), json!({ "setup": "true" })).await;
    assert_eq!(again.problem(422), "invalid_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_leaves_the_workspace_in_error_with_the_output() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let setup = "echo try >> /workspace/tries; echo what is wrong >&2; test -e /workspace/mended || exit 3";
    let id = make(&client, json!({ "name": "broken", "setup": setup })).await;
    let failed = client.post("/v1/workspaces/broken/start", json!({})).await;
    assert!(failed.json["detail"].as_str().unwrap().contains("exit code 3"), "{:#}", failed.json);
    assert_eq!(failed.json["output"], "what is wrong");
    assert_eq!(failed.problem(409), "setup_failed");
    let view = client.get("/v1/workspaces/broken").await.expect(200);
    assert_eq!((&view["status"], &view["error"]["output"]), (&json!("error"), &json!("what is wrong")));

    // A session in it says so, and does not try by itself.
    let body = json!({ "agent": "demo", "workspace": "broken", "prompt": "echo there" });
    let session = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let mut events = client.events(&session, 0).await;
    let error = events.until(|e| e.kind() == "session.status" && e.json["data"]["status"] == "error").await;
    assert!(error.json["data"]["error"]["message"].as_str().unwrap().contains("what is wrong"), "{}", error.json);
    assert_eq!(shell(&id, "wc -l < /workspace/tries").trim(), "1");

    // Mended and started: tried again, and the waiting prompt runs when the session is restored.
    shell(&id, "touch /workspace/mended");
    let started = client.post("/v1/workspaces/broken/start", json!({})).await.expect(200);
    assert_eq!((&started["status"], &started["error"]), (&json!("running"), &json!(null)));
    client.post(&format!("/v1/sessions/{session}/restore"), json!({})).await.expect(200);
    let (text, _) = events.turn(1).await;
    assert_eq!(text, "there");
    assert_eq!(shell(&id, "wc -l < /workspace/tries").trim(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_outlives_the_daemon_and_is_stopped_with_its_workspace() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let setup = "echo run >> /workspace/ran; while ! test -e /workspace/go; do sleep 0.1; done; echo went";
    let id = make(&client, json!({ "setup": setup })).await;
    let mut log = client.request("GET", &format!("/v1/workspaces/{id}/logs?follow=true")).send().await.unwrap();
    let starting = client.clone();
    let path = format!("/v1/workspaces/{id}/start");
    let start = tokio::spawn(async move { Box::pin(starting.request("POST", &path).send()).await.is_ok() });
    let mut seen = String::new();
    while !seen.contains("the setup command begins") {
        let piece =
            tokio::time::timeout(PATIENCE, log.chunk()).await.expect("in time").expect("a log").expect("goes on");
        seen.push_str(std::str::from_utf8(&piece).unwrap());
    }
    until_there(&id, "/workspace/ran").await;
    daemon.kill();
    start.await.unwrap();
    shell(&id, "touch /workspace/go");
    daemon.start_again().await;
    let client = daemon.client();
    client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await.expect(200);
    assert_eq!(shell(&id, "cat /workspace/ran"), "run", "it was taken up, not run again");
    let log = String::from_utf8(read(&client, &format!("/v1/workspaces/{id}/logs")).await).unwrap();
    assert!(log.contains(" setup: went\n"), "{log}");

    let endless = make(&client, json!({ "setup": "touch /workspace/began; sleep 1000" })).await;
    let (starting, path) = (client.clone(), format!("/v1/workspaces/{endless}/start"));
    let start = tokio::spawn(async move { starting.post(&path, json!({})).await.status });
    until_there(&endless, "/workspace/began").await;
    client.post(&format!("/v1/workspaces/{endless}/stop"), json!({})).await.expect(200);
    assert_ne!(start.await.unwrap(), 200);
    let stopped = client.get(&format!("/v1/workspaces/{endless}")).await.expect(200);
    assert_eq!(stopped["status"], "stopped");
}

/// Nothing tells of a file in a container but a look.
async fn until_there(id: &str, path: &str) {
    let name = container(id);
    until(path, async || docker(&["exec", &name, "/bin/busybox", "test", "-e", path])).await;
}
