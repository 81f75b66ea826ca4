//! What the tests share: a daemon whose workspaces are of the small image, and its workspaces.

use serde_json::{Value, json};

use super::support::{Client, Daemon, docker_ok};

/// The image of the demo agent.
pub(crate) const DEMO: &str = "wharf/demo:latest";
/// The image with git.
pub(crate) const WORKSPACE: &str = "wharf/workspace:latest";

/// Makes a workspace; its id.
pub(crate) async fn make(client: &Client, spec: Value) -> String {
    let mut body = json!({ "image": DEMO });
    body.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    client.post("/v1/workspaces", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
}

/// Makes one and starts it; its id.
pub(crate) async fn started(client: &Client, spec: Value) -> String {
    let id = make(client, spec).await;
    client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await.expect(200);
    id
}

/// A session with the demo agent in a workspace; its id.
pub(crate) async fn session(client: &Client, workspace: &str, key: &str) -> String {
    let body = json!({ "agent": "demo", "key": key, "workspace": workspace });
    client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
}

/// The name of a workspace's container.
pub(crate) fn container(id: &str) -> String {
    format!("wharf-{}", &id[id.len() - 12..])
}

/// Runs a shell command in a workspace, as its agents' user.
pub(crate) fn shell(id: &str, command: &str) -> String {
    docker_ok(&["exec", "-u", "1000:1000", &container(id), "/bin/sh", "-c", command])
}

/// The bytes of a GET, which must succeed.
pub(crate) async fn read(client: &Client, path: &str) -> Vec<u8> {
    let answer = client.request("GET", path).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}: {:?}", answer.text().await);
    answer.bytes().await.expect("a body").to_vec()
}

/// Whether a file of a directory holds these bytes.
pub(crate) fn holds(dir: &std::path::Path, needle: &[u8]) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let kind = std::fs::symlink_metadata(&path).expect("it is there").file_type();
        if kind.is_dir() {
            if let Some(found) = holds(&path, needle) {
                return Some(found);
            }
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("it is read");
            if memchr::memmem::find(&bytes, needle).is_some() {
                return Some(path);
            }
        }
    }
    None
}

/// The engine's whole description of a workspace's container.
pub(crate) fn inspect(id: &str) -> Value {
    let text = docker_ok(&["inspect", &container(id)]);
    serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
}

/// A daemon with this configuration.
pub(crate) async fn daemon(config: &str) -> Daemon {
    Daemon::start_with(&[], Some(config)).await
}
