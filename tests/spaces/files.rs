//! Files: out and in, contained in the workspace.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::space::{daemon, holds, read, shell, started};
use super::support::{Answer, Client, Daemon};

const TAR: &str = "application/x-tar";

fn path(id: &str, path: &str) -> String {
    format!("/v1/workspaces/{id}/files?path={}", path.replace('%', "%25").replace(' ', "%20"))
}

fn request(client: &Client, id: &str, at: &str, kind: &str, body: Vec<u8>) -> RequestBuilder {
    client.request("PUT", &path(id, at)).header("Content-Type", kind).body(body)
}

async fn put(client: &Client, id: &str, at: &str, kind: &str, body: Vec<u8>) -> Answer {
    Client::send(request(client, id, at, kind, body)).await.expect("an answer")
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_directories_go_in_and_out() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    // Larger than any buffer on the way, and not the same anywhere.
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let taken = put(&client, &id, "deep/er/large file", "application/octet-stream", large.clone()).await.expect(200);
    assert_eq!(taken, json!({ "files": 1, "bytes": large.len() }));
    assert!(read(&client, &path(&id, "/workspace/deep/er/large file")).await == large, "byte for byte");
    assert_eq!(
        shell(&id, "stat -c %u:%g:%a '/workspace/deep/er/large file' /workspace/deep"),
        "1000:1000:644\n1000:1000:755"
    );
    put(&client, &id, "/home/agent/.config/x", "text/plain", b"home".to_vec()).await.expect(200);
    assert_eq!(shell(&id, "cat /home/agent/.config/x"), "home");

    let packed = archive(&[("bin/tool", b"#!/bin/sh\necho tool\n"), ("notes", b"notes")]);
    let taken = put(&client, &id, "unpacked", TAR, packed).await.expect(200);
    assert_eq!(taken["files"], 2);
    assert_eq!(shell(&id, "/workspace/unpacked/bin/tool"), "tool");
    let answer = client.request("GET", &path(&id, "unpacked")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], TAR);
    let bytes = answer.bytes().await.unwrap();
    let mut names: Vec<String> = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert_eq!(names, [".", "bin", "bin/tool", "notes"]);
    let one = client.request("GET", &path(&id, "unpacked/notes")).header("Accept", TAR).send().await.unwrap();
    assert_eq!(one.headers()["content-type"], TAR);

    // Stopped: it is woken.
    client.post(&format!("/v1/workspaces/{id}/stop"), json!({})).await.expect(200);
    assert_eq!(read(&client, &path(&id, "unpacked/notes")).await, b"notes");
    assert_eq!(client.get(&format!("/v1/workspaces/{id}")).await.expect(200)["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_out_of_the_workspace_is_refused() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    shell(
        &id,
        "cd /workspace; ln -s /etc etc; ln -s ../.. up; ln -s /proc/self/root root; mkdir a; echo in > a/in; ln -s a b; mkfifo pipe; mkdir locked; chmod 0 locked",
    );
    for outside in [
        "../etc/passwd",
        "/etc/passwd",
        "a/../../etc/passwd",
        "etc/passwd",
        "up/etc/passwd",
        "root/etc/passwd",
        "/opt/wharf/tether",
        "/run/wharf",
        "/workspace/../etc",
    ] {
        assert_eq!(client.get(&path(&id, outside)).await.problem(422), "path_outside", "{outside}");
        let written = put(&client, &id, outside, "application/octet-stream", b"x".to_vec()).await;
        assert_eq!(written.problem(422), "path_outside", "{outside}");
    }
    for (name, body) in [("../out", &b"x"[..]), ("/out", b"x"), ("up/tmp/out", b"x")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut packed = tar::Builder::new(Vec::new());
        packed.append(&header, body).unwrap();
        assert_eq!(
            put(&client, &id, ".", TAR, packed.into_inner().unwrap()).await.problem(422),
            "path_outside",
            "{name}"
        );
    }
    assert_eq!(shell(&id, "ls /tmp"), "");
    assert_eq!(read(&client, &path(&id, "b/in")).await, b"in\n", "a link within is followed");
    assert_eq!(client.get(&path(&id, "none")).await.problem(404), "path_not_found");
    assert_eq!(client.get(&path(&id, "pipe")).await.problem(422), "path_kind");
    assert_eq!(client.get(&path(&id, "locked/x")).await.problem(422), "path_denied");
    assert_eq!(put(&client, &id, "a", "text/plain", b"x".to_vec()).await.problem(422), "path_kind");
    assert_eq!(put(&client, &id, "a", TAR, b"no archive".to_vec()).await.problem(422), "archive_invalid");
    assert_eq!(client.get(&format!("/v1/workspaces/{id}/files")).await.problem(400), "invalid_parameter");
    assert_eq!(client.get("/v1/workspaces/none/files?path=x").await.problem(404), "workspace_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_in_one_step_and_no_more_than_allowed() {
    let daemon = daemon("[files]\nlimit = \"1MiB\"\n").await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    put(&client, &id, "file", "application/octet-stream", b"before".to_vec()).await.expect(200);
    // A body that breaks off.
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
    let sending = client.request("PUT", &path(&id, "file")).body(reqwest::Body::wrap_stream(body)).send();
    let sending = tokio::spawn(sending);
    pieces.send(Ok(vec![b'x'; 1000])).await.unwrap();
    pieces.send(Err(std::io::Error::other("broken off"))).await.unwrap();
    assert!(sending.await.unwrap().is_err());
    assert_eq!(read(&client, &path(&id, "file")).await, b"before");
    let limit = 1 << 20;
    let over = put(&client, &id, "file", "application/octet-stream", vec![0; limit + 1]).await;
    assert_eq!(over.json["limit"], json!(limit));
    assert_eq!(over.problem(413), "too_large");
    assert_eq!(read(&client, &path(&id, "file")).await, b"before");
    shell(&id, "head -c 1100000 /dev/zero > /workspace/grown");
    for at in ["grown", "."] {
        assert_eq!(client.get(&path(&id, at)).await.problem(413), "too_large", "{at}");
    }
    // Drafts go when their helper has noticed.
    super::support::until("the end of the drafts", async || {
        let there = shell(&id, "ls -A /workspace");
        super::support::so(there == "file\ngrown", there)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_copies_files_and_directories() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({ "name": "copy" })).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("tree/sub")).unwrap();
    std::fs::write(dir.path().join("tree/sub/file"), "content").unwrap();
    let host = format!("unix://{}", daemon.socket().display());
    let wharf = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.args(["--host", &host, "workspaces"]).args(args).current_dir(dir.path()).env_remove("WHARF_TOKEN");
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, said) = wharf(&["put", "copy", "tree", "/workspace/there"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(shell(&id, "cat /workspace/there/sub/file"), "content");
    assert_eq!(wharf(&["put", "copy", "tree/sub/file", "there/"]).await.0, Some(0));
    let (code, out, said) = wharf(&["get", "copy", "there/file", "-"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "content"), "{said}");
    let (code, _, said) = wharf(&["get", "copy", "there", "back"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::read(dir.path().join("back/sub/file")).unwrap(), b"content");
    let (code, _, said) = wharf(&["get", "copy", "../etc/passwd"]).await;
    assert_eq!(code, Some(2), "{said}");
    let (code, out, said) = wharf(&["logs", "copy"]).await;
    assert!(code == Some(0) && out.contains("its container is made"), "{out} {said}");
    assert_eq!(wharf(&["recreate", "copy", "--pids", "300"]).await.0, Some(0));
    assert!(holds(&dir.path().join("back"), b"content").is_some());
    let view: Value = client.get("/v1/workspaces/copy").await.expect(200);
    assert_eq!(view["spec"]["pids"], 300);
}
