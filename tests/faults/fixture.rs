//! A store as a daemon of format 2 left it, with what that daemon's API told of it: a daemon of any later version has to
//! tell the same, or to refuse it in words. `cargo test --test faults -- --write-store-fixture` makes it anew.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    api::{Api, until},
    ledger::{Checked, Ledger},
    support::Daemon,
    upgrade::holds,
};

/// The format that the fixture has.
const FORMAT: u64 = 2;
/// Where a workspace's making passes.
const FIRST_WRITING: [&str; 3] = ["group-planned", "registry-written", "group-durable"];

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/store-format-{FORMAT}.tar.gz"))
}

fn tar(args: &[&str]) -> Result<(), String> {
    let done = Command::new("tar").args(args).output().map_err(|e| format!("tar: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(format!("tar: {}", String::from_utf8_lossy(&done.stderr))) }
}

/// Everything that the API tells of what is stored.
async fn told(api: &Api) -> Result<Value, String> {
    let mut workspaces = api.get("/v1/workspaces?limit=1000").await?;
    for workspace in workspaces["items"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        // It is the engine's word, not the store's.
        workspace.retain(|name, _| !matches!(name.as_str(), "status" | "reason" | "sessions"));
    }
    let sessions = api.get("/v1/sessions?closed=true&limit=1000").await?;
    let mut logs = serde_json::Map::new();
    for session in sessions["items"].as_array().into_iter().flatten() {
        let id = session["id"].as_str().unwrap_or_default();
        let path = format!("/v1/sessions/{id}");
        let log = json!({
            "events": api.get(&format!("{path}/events?limit=1000")).await?,
            "prompts": api.get(&format!("{path}/prompts?limit=1000")).await?,
            "permissions": api.get(&format!("{path}/permissions")).await?,
        });
        logs.insert(id.to_owned(), log);
    }
    Ok(json!({ "workspaces": workspaces, "sessions": sessions, "logs": logs }))
}

/// Makes the fixture.
pub async fn write() -> Result<(), String> {
    let mut daemon = Daemon::start_with(&[], Some("idle_timeout = \"off\"\n")).await;
    let (api, client) = (Api::new(&daemon.socket()), daemon.client());
    let spec = json!({ "name": "fixed", "image": "wharf/demo:latest", "memory": 1_073_741_824, "pids": 100,
        "env": { "FIXTURE": "of the workspace" }, "labels": { "kind": "fixture" } });
    client.post("/v1/workspaces", spec).await.expect(201);
    for n in 0..3 {
        let body = json!({ "agent": "demo", "workspace": "fixed", "key": format!("fixture:{n}"),
            "env": { "FIXTURE": "of the session" }, "labels": { "n": n.to_string() }, "project": "fixture",
            "channel": "c", "task_id": "task", "mcp_session_id": "mcp", "permissions": "allow", "max_turns": 100 });
        let made = client.post("/v1/sessions", body).await.expect(201);
        let id = made["id"].as_str().unwrap_or_default().to_owned();
        for text in ["echo one", "ask echo two", "burst 200", "run echo three; exit 3", "fail"].iter().take(n * 3) {
            client.turn(&id, text).await;
        }
    }
    let closed = client.demo("fixture:closed").await;
    client.turn(&closed, "echo closed").await;
    client.delete(&format!("/v1/sessions/{closed}")).await.expect(200);
    client.post("/v1/workspaces/fixed/stop", json!({})).await.expect(200);
    let answers = told(&api).await?;
    daemon.stop();
    std::fs::write(daemon.state().join("answers.json"), answers.to_string()).map_err(|e| e.to_string())?;
    let (file, state) = (file(), daemon.state().to_string_lossy().into_owned());
    std::fs::create_dir_all(file.parent().ok_or("no directory")?).map_err(|e| e.to_string())?;
    let kept = ["--exclude=./lock", "--exclude=./check", "--exclude=./run", "--exclude=./logs"];
    let file = file.to_string_lossy();
    tar(&[&["--create", "--gzip", "--sparse", "--file", &file, "--directory", &state], &kept[..], &["."]].concat())
}

/// A daemon that has the fixture as its state, and is not started.
fn prepared() -> Result<(Daemon, Value), String> {
    let daemon = Daemon::prepared(&[], Some("idle_timeout = \"off\"\n"));
    std::fs::create_dir_all(daemon.state()).map_err(|e| e.to_string())?;
    let (file, state) = (file(), daemon.state().to_string_lossy().into_owned());
    tar(&["--extract", "--gzip", "--file", &file.to_string_lossy(), "--directory", &state])?;
    let answers = daemon.state().join("answers.json");
    let text = std::fs::read(&answers).map_err(|e| e.to_string())?;
    std::fs::remove_file(answers).map_err(|e| e.to_string())?;
    Ok((daemon, serde_json::from_slice(&text).map_err(|e| e.to_string())?))
}

/// This daemon tells of the store what the one that wrote it told; and takes more, also after a kill at any point of
/// its first writing.
pub async fn opens(ledger: &mut Ledger) -> Result<(), String> {
    let (mut daemon, then) = prepared()?;
    let api = Api::new(&daemon.socket());
    daemon.start_again().await;
    let now = told(&api).await?;
    if let Err(why) = holds(&then, &now) {
        ledger.violated(10, format!("a store of format {FORMAT} is read otherwise: {why}"));
    }
    for point in FIRST_WRITING {
        let spec = json!({ "name": format!("later-{point}"), "image": "wharf/demo:latest" });
        daemon.kill();
        daemon.set_env(wharf::crash::VARIABLE, Some(&format!("{point}:1")));
        daemon.spawn();
        // It dies at its first writing, which may be in its start.
        until("a death", async || {
            let _ = api.try_call("POST", "/v1/workspaces", Some(&spec), None).await;
            if daemon.ended() { Ok(()) } else { Err(format!("it lives at {point}")) }
        })
        .await?;
        daemon.set_env(wharf::crash::VARIABLE, None);
        daemon.start_again().await;
        ledger.fault("store of before opened and daemon killed");
        let mut now = told(&api).await?;
        let more = now["workspaces"]["items"].as_array_mut().ok_or("no list")?;
        more.retain(|workspace| !workspace["name"].as_str().is_some_and(|name| name.starts_with("later-")));
        if let Err(why) = holds(&then, &now) {
            ledger.violated(1, format!("after a death at {point}, a store of format {FORMAT} is another: {why}"));
        }
    }
    let spec = json!({ "name": "last", "image": "wharf/demo:latest" });
    let made = api.call("POST", "/v1/workspaces", Some(&spec), None).await?;
    if !matches!(made.0, 200 | 201) {
        ledger.violated(10, format!("a store of format {FORMAT} takes nothing: {made:?}"));
    }
    let events = then["logs"].as_object().into_iter().flatten();
    let events: usize = events.map(|(_, log)| log["events"]["items"].as_array().map_or(0, Vec::len)).sum();
    ledger.checked(&[10], Checked { faults: 3, prompts: 0, events: events as u64 });
    Ok(())
}

/// All files but the lock.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.insert(path, bytes);
        }
    }
    found
}

/// A store of a format before or after is refused in words, and nothing in it is touched.
pub async fn is_refused(ledger: &mut Ledger) -> Result<(), String> {
    for (format, words) in [(FORMAT - 1, "older wharf"), (FORMAT + 1, "newer wharf")] {
        let (mut daemon, _) = prepared()?;
        let description = daemon.state().join("store.json");
        let text = std::fs::read_to_string(&description).map_err(|e| e.to_string())?;
        let other = text.replace(&format!("\"format\": {FORMAT}"), &format!("\"format\": {format}"));
        if other == text {
            return Err(format!("no format in {text}"));
        }
        std::fs::write(&description, other).map_err(|e| e.to_string())?;
        let before = contents(daemon.state());
        daemon.spawn();
        let ended =
            until("the end of a daemon", async || if daemon.ended() { Ok(()) } else { Err("it runs".to_owned()) });
        if let Err(why) = ended.await {
            ledger.violated(10, format!("a store of format {format} is taken: {why}"));
        }
        ledger.fault(&format!("store of format {format}"));
        let log = daemon.log_text();
        if !log.contains(&format!("store.json has format {format}")) || !log.contains(words) {
            ledger.violated(10, format!("a store of format {format} is refused with {log}"));
        }
        if contents(daemon.state()) != before {
            ledger.violated(10, format!("a store of format {format} was changed"));
        }
    }
    ledger.checked(&[10], Checked { faults: 2, ..Checked::default() });
    Ok(())
}
