//! A full disk: what is new is refused with words, what has begun waits, and all of it goes on when there is room.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Daemon, PATIENCE};

/// A small file system of its own; dropped, it is gone.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("a directory");
        let options = format!("size={size},mode=700,uid={}", rustix::process::geteuid().as_raw());
        root(&["mount", "-t", "tmpfs", "-o", &options, "wharf-test", at.to_str().expect("text")]);
        Self(at.to_owned())
    }

    /// Takes all that is left of it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        root(&["umount", self.0.to_str().expect("text")]);
        let _ = std::fs::remove_dir_all(self.0.parent().expect("the test's directory"));
    }
}

/// As root: file systems are mounted by nobody else.
fn root(command: &[&str]) {
    let words =
        if rustix::process::geteuid().is_root() { command.to_vec() } else { [&["sudo", "-n"], command].concat() };
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// In this order: the daemon goes before its disk.
struct Scene {
    daemon: Daemon,
    disk: Disk,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_and_holds_what_has_begun_until_there_is_room() {
    let daemon = Daemon::prepared(&[], None);
    let disk = Disk::mount(daemon.state(), "256m");
    let mut scene = Scene { daemon, disk };
    scene.daemon.spawn();
    scene.daemon.answers().await;
    let client = scene.daemon.client();
    let id = client.demo("disk:one").await;
    client.turn(&id, "echo before").await;
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "slow 30").await;
    events.until(|e| e.chunk().is_some()).await;

    let filler = scene.disk.fill();
    let session = json!({ "agent": "demo", "key": "disk:two" });
    let prompt = format!("/v1/sessions/{id}/prompts");
    let calls: [(&str, &str, Value); 6] = [
        ("POST", "/v1/sessions", session.clone()),
        ("POST", "/v1/workspaces", json!({ "name": "more", "image": "wharf/demo:latest" })),
        ("POST", &prompt, json!({ "content": "echo during" })),
        ("POST", "/v1/tokens", json!({ "name": "more", "scope": "read" })),
        ("POST", "/v1/tokens/default/rotate", json!({})),
        ("PATCH", "/v1/sessions/disk:one", json!({ "project": "p" })),
    ];
    let before = client.get("/v1/sessions").await.expect(200)["items"].as_array().expect("a list").len();
    for (method, path, body) in &calls {
        let asked = tokio::time::timeout(PATIENCE, async {
            super::support::Client::send(client.request(method, path).json(body)).await.expect("an answer")
        });
        let answer = asked.await.expect("in time");
        let detail = answer.json["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("MiB left") && detail.contains("make room"), "{method} {path}: {detail}");
        assert_eq!(answer.problem(507), "disk_full", "{method} {path}");
    }
    // It is up, and all that is there can be read.
    assert_eq!(client.get("/healthz").await.expect(200)["status"], "ok");
    let ready = client.get("/readyz").await;
    assert!(ready.json["detail"].as_str().is_some_and(|why| why.contains("make room")), "{:#}", ready.json);
    assert_eq!(ready.problem(503), "not_ready");
    client.get("/v1/stats").await.expect(200);
    let text = client.get(&format!("/v1/sessions/{id}/events?limit=1000")).await.expect(200).to_string();
    assert!(text.contains("before"), "{text}");
    assert_eq!(client.get("/v1/sessions").await.expect(200)["items"].as_array().expect("a list").len(), before);
    let token = scene.daemon.token();
    super::support::Client::tcp(&scene.daemon.tcp(), Some(&token)).get("/v1/sessions").await.expect(200);

    std::fs::remove_file(filler).expect("there is room");
    let (_, end) = events.turn(n).await;
    assert_eq!(end["status"], "done", "the turn that ran lost nothing");
    client.get("/readyz").await.expect(200);
    client.post("/v1/sessions", session).await.expect(201);
    for (method, path, body) in &calls[1..] {
        let answer = super::support::Client::send(client.request(method, path).json(body)).await.expect("an answer");
        assert!((200..300).contains(&answer.status), "{method} {path}: {:#}", answer.json);
    }
    scene.daemon.kill();
    scene.daemon.start_again().await;
    let client = scene.daemon.client();
    assert_eq!(client.turn(&id, "echo after").await.0, "after");
    assert_eq!(client.session("disk:two").await["key"], "disk:two");
}
