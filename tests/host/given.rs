//! What agents are given on the host is in memory, goes with them, and replaces nothing of the user's.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::place::Host;

const FILES: &str = "[[agents.demo.files]]\npath = \"~/.demo/auth\"\ntext = \"given by wharf\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_in_memory_and_goes_with_its_agent() {
    let home = tempfile::tempdir().expect("a home");
    let host = Host::start_with(&[("HOME", home.path().to_str().expect("UTF-8"))], FILES).await;
    let client = host.client();
    let id = host.session("host:given").await;
    let (text, _) = client.turn(&id, "run wc -c < ~/.demo/auth; cat ~/.demo/auth").await;
    assert!(text.contains("14") && text.contains("given by wharf"), "{text}");
    let link = home.path().join(".demo/auth");
    let real = fs::read_link(&link).expect("a link");
    let memory = real.parent().expect("a directory");
    assert!(memory.starts_with("/dev/shm") || memory.starts_with("/run"), "{}", memory.display());
    assert_eq!(fs::metadata(&real).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(memory).expect("it is there").permissions().mode() & 0o777, 0o700);
    client.post("/v1/workspaces/host/stop", json!({})).await.expect(200);
    assert!(!real.exists() && fs::symlink_metadata(&link).is_err(), "both are gone");
    assert!(!memory.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_has_is_left_alone() {
    let home = tempfile::tempdir().expect("a home");
    let own = home.path().join(".demo/auth");
    fs::create_dir(home.path().join(".demo")).expect("a directory");
    fs::write(&own, "the user's").expect("a file");
    let host = Host::start_with(&[("HOME", home.path().to_str().expect("UTF-8"))], FILES).await;
    let client = host.client();
    let id = host.session("host:own").await;
    let refused = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert_eq!(refused.status, 409, "{:#}", refused.json);
    assert!(refused.json["detail"].as_str().expect("words").contains("left alone"), "{:#}", refused.json);
    assert_eq!(fs::read_to_string(&own).expect("it is there"), "the user's");
    fs::remove_file(&own).expect("it is removed");
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    assert!(client.turn(&id, "run cat ~/.demo/auth").await.0.contains("given by wharf"));
}
