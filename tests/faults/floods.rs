//! Agents that are too much: a gigabyte of output, a line of 100 MB, bytes that are no UTF-8, signals ignored, processes
//! left behind, an exit in the middle of a line. Nothing of it may be lost, and nobody else may pay for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    api::{Api, until},
    ledger::{Checked, Ledger},
    memory::Watched,
    plan::Plan,
    support::{Daemon, docker},
};

const MIB: u64 = 1 << 20;
/// What the daemon and tether may take more than at rest.
const DAEMON_MORE: u64 = 64 * MIB;
const TETHER_MORE: u64 = 8 * MIB;
/// How many turns of another session are timed before the flood.
const TIMED: usize = 200;
/// How many times as long the median of those beside it may take.
const SLOWER: f64 = 2.0;
/// Shorter floods have too few turns beside them to be judged by.
const JUDGED: u64 = 1 << 30;

/// Agents of the configuration; each becomes the demo agent when it has done what it is for. LINE is a length in bytes.
const CONFIG: &str = r#"
idle_timeout = "off"

[agents.longline]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", "head -c LINE /dev/zero | tr '\\0' x; echo; exec /bin/wharf-demo-agent"]

[agents.binary]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''printf 'caf\303 \377\376 end\n'; printf '\360\237\n'; exec /bin/wharf-demo-agent''']

[agents.deaf]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", "trap '' TERM INT HUP QUIT; (trap '' TERM INT HUP QUIT; while :; do sleep 1; done) & exec /bin/wharf-demo-agent"]

[agents.torn]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''[ -e /tmp/again ] && exec /bin/wharf-demo-agent; touch /tmp/again; printf '{"jsonrpc":"2.0","me'; exit 7''']
"#;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    // The long run asks for a gigabyte and a line of 100 MB; a line is too long from 16 MiB on.
    let (size, line) = if plan.rounds >= 100 { (1 << 30, 100 << 20) } else { (8 << 20, 20 << 20) };
    let daemon = Daemon::start_with(&[], Some(&CONFIG.replace("LINE", &line.to_string()))).await;
    let api = Api::new(&daemon.socket());
    let mut all = Checked::default();
    flood(&daemon, &api, size, ledger, &mut all).await?;
    long_line(&daemon, &api, line, ledger, &mut all).await?;
    no_utf8(&api, ledger, &mut all).await?;
    torn(&api, ledger, &mut all).await?;
    deaf(&daemon, &api, ledger, &mut all).await?;
    left_behind(&daemon, &api, ledger, &mut all).await?;
    ledger.checked(&[5, 6], all);
    Ok(())
}

/// A session with an agent in a workspace of its own.
async fn session(api: &Api, agent: &str) -> Result<String, String> {
    match api.call("POST", "/v1/sessions", Some(&json!({ "agent": agent })), None).await? {
        (201, session) => Ok(session["id"].as_str().unwrap_or_default().to_owned()),
        other => Err(format!("no session with {agent}: {other:?}")),
    }
}

/// Runs a prompt to its end; how the turn ended.
async fn turn(api: &Api, session: &str, text: &str) -> Result<Value, String> {
    let path = format!("/v1/sessions/{session}/prompts?wait=60s");
    match api.call("POST", &path, Some(&json!({ "content": text })), None).await? {
        (200, ended) => Ok(ended),
        other => Err(format!("{session}: {text:.40}: {other:?}")),
    }
}

async fn close(api: &Api, session: &str) -> Result<(), String> {
    match api.call("DELETE", &format!("/v1/sessions/{session}?purge=true"), None, None).await? {
        (200 | 202 | 204, _) => Ok(()),
        other => Err(format!("{session} is not deleted: {other:?}")),
    }
}

/// The median of some turns of a session, in milliseconds, and how many there were.
async fn latency(api: &Api, session: &str, while_: impl Fn(usize) -> bool) -> Result<(f64, usize), String> {
    let mut taken = Vec::new();
    while while_(taken.len()) {
        let begun = Instant::now();
        turn(api, session, "echo timed").await?;
        taken.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    taken.sort_by(f64::total_cmp);
    let median = taken.get(taken.len() / 2).map(|median| (*median, taken.len()));
    median.ok_or_else(|| "no turn fits beside the flood".to_owned())
}

async fn flood(daemon: &Daemon, api: &Api, size: u64, ledger: &mut Ledger, all: &mut Checked) -> Result<(), String> {
    let (loud, other) = (session(api, "demo").await?, session(api, "demo").await?);
    for quiet in [&loud, &other] {
        turn(api, quiet, "echo warm").await?;
    }
    let (before, _) = latency(api, &other, |n| n < TIMED).await?;
    let watched = Watched::start(vec![("daemon", daemon.pid()), ("tether", tether_of(api, &loud).await?)]);
    let begun = Instant::now();
    let reader = tokio::spawn(read_flood(api.clone(), loud.clone(), size));
    let body = json!({ "content": format!("big {size}") });
    api.call("POST", &format!("/v1/sessions/{loud}/prompts"), Some(&body), None).await?;
    let (beside, turns) = latency(api, &other, |_| !reader.is_finished()).await?;
    let events = reader.await.map_err(|e| e.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    let more = watched.stop().await;
    ledger.fault("flood");
    all.faults += 1;
    match events {
        Ok(events) => all.events += events,
        Err(why) => ledger.violated(5, format!("a flood of {size} bytes: {why}")),
    }
    ledger.remark(format!(
        "flood of {} MiB in {seconds:.0} s: the daemon took {:.1} MiB more than at rest, tether {:.1} MiB; another \
         session's turn {beside:.1} ms beside it ({turns} turns), {before:.1} ms before (medians)",
        size / MIB,
        more[0] as f64 / MIB as f64,
        more[1] as f64 / MIB as f64,
    ));
    if size >= JUDGED && beside > SLOWER * before {
        ledger
            .violated(5, format!("beside a flood, another session's turn takes {:.1} times as long", beside / before));
    }
    for (name, more, most) in [("daemon", more[0], DAEMON_MORE), ("tether", more[1], TETHER_MORE)] {
        if more > most {
            ledger.violated(5, format!("a flood costs the {name} {} MiB", more / MIB));
        }
    }
    for quiet in [&loud, &other] {
        close(api, quiet).await?;
    }
    Ok(())
}

/// The process of the tether of a session's workspace, as the machine numbers it.
async fn tether_of(api: &Api, session: &str) -> Result<u32, String> {
    let session = api.get(&format!("/v1/sessions/{session}")).await?;
    let workspace = format!("label=wharf.workspace={}", session["workspace"].as_str().unwrap_or_default());
    let container = docker(&["ps", "-q", "--filter", &workspace])?;
    let top = docker(&["top", &container, "-eo", "pid,args"])?;
    let line = top.lines().find(|line| line.contains("tether serve"));
    let pid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    pid.ok_or_else(|| format!("no tether in {top}"))
}

/// Reads the flood live and compares every byte with what the agent wrote; answers the number of events.
async fn read_flood(api: Api, session: String, size: u64) -> Result<u64, String> {
    let request = api.request("GET", &format!("/v1/sessions/{session}/events"));
    let request = request.header("Accept", "text/event-stream").timeout(Duration::from_secs(3600));
    let mut response = request.send().await.map_err(|e| e.to_string())?;
    let (mut buffer, mut at, mut seq) = (Vec::new(), 0u64, 0u64);
    while let Some(bytes) = response.chunk().await.map_err(|e| e.to_string())? {
        buffer.extend_from_slice(&bytes);
        let mut begin = 0;
        while let Some(end) = memchr::memmem::find(&buffer[begin..], b"\n\n") {
            let frame = &buffer[begin..begin + end];
            begin += end + 2;
            let Some(data) = memchr::memmem::find(frame, b"\ndata: ").map(|at| &frame[at + 7..]) else { continue };
            let event: Value = serde_json::from_slice(data).map_err(|e| e.to_string())?;
            seq += 1;
            if event["seq"] != json!(seq) {
                return Err(format!("where {seq} is expected, {} comes", event["seq"]));
            }
            let big = event["turn"] != "turn_1" && event["data"]["sessionUpdate"] == "agent_message_chunk";
            if big && let Some(text) = event["data"]["content"]["text"].as_str() {
                if let Some(wrong) = (at..).zip(text.bytes()).find(|(at, byte)| *byte != written(*at)) {
                    return Err(format!("at {} is {:?}", wrong.0, char::from(wrong.1)));
                }
                at += text.len() as u64;
            }
            if event["type"] == "turn.ended" && event["turn"] == "turn_2" {
                return if at == size { Ok(seq) } else { Err(format!("{at} bytes came")) };
            }
        }
        buffer.drain(..begin);
    }
    Err("the stream ended".to_owned())
}

/// What the demo agent writes at a place.
fn written(at: u64) -> u8 {
    if at % 16 == 15 { b'\n' } else { b'0' + (at / 16 % 10) as u8 }
}

/// All events of a session.
async fn events(api: &Api, session: &str) -> Result<Vec<Value>, String> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = api.get(&format!("/v1/sessions/{session}/events?after={after}&limit=1000")).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let Some(last) = items.last().and_then(|event| event["seq"].as_u64()) else { return Ok(all) };
        after = last;
        all.extend(items);
    }
}

/// The lines of a session's agent that were no messages.
async fn unparsed(api: &Api, session: &str, all: &mut Checked) -> Result<Vec<String>, String> {
    let events = events(api, session).await?;
    all.events += events.len() as u64;
    let lines = events.iter().filter(|event| event["type"] == "agent.unparsed");
    Ok(lines.map(|event| event["data"]["line"].as_str().unwrap_or_default().to_owned()).collect())
}

async fn long_line(
    daemon: &Daemon,
    api: &Api,
    size: usize,
    ledger: &mut Ledger,
    all: &mut Checked,
) -> Result<(), String> {
    let watched = Watched::start(vec![("daemon", daemon.pid())]);
    let id = session(api, "longline").await?;
    let ended = turn(api, &id, "echo after all that").await?;
    let more = watched.stop().await[0];
    ledger.fault("line too long");
    all.faults += 1;
    all.prompts += 1;
    let lines = unparsed(api, &id, all).await?;
    let bytes: usize = lines.iter().map(String::len).sum();
    if bytes != size || lines.iter().any(|line| line.bytes().any(|b| b != b'x')) || ended["text"] != "after all that" {
        ledger.violated(5, format!("a line of {size} bytes: {bytes} of it came, and then {ended}"));
    }
    ledger.remark(format!("line of {} MiB: the daemon took {} MiB more than at rest", size >> 20, more / MIB));
    if more > DAEMON_MORE {
        ledger.violated(5, format!("a line of {size} bytes costs the daemon {} MiB", more / MIB));
    }
    close(api, &id).await
}

async fn no_utf8(api: &Api, ledger: &mut Ledger, all: &mut Checked) -> Result<(), String> {
    let id = session(api, "binary").await?;
    let ended = turn(api, &id, "echo readable").await?;
    ledger.fault("bytes that are no UTF-8");
    all.faults += 1;
    all.prompts += 1;
    let lines = unparsed(api, &id, all).await?;
    let told = lines.len() == 2 && lines[0].starts_with("caf\u{fffd}") && lines[0].ends_with(" end");
    if !told || ended["text"] != "readable" {
        ledger.violated(5, format!("bytes that are no UTF-8: {lines:?}, and then {ended}"));
    }
    close(api, &id).await
}

async fn torn(api: &Api, ledger: &mut Ledger, all: &mut Checked) -> Result<(), String> {
    let id = session(api, "torn").await?;
    let ended = turn(api, &id, "echo whole").await?;
    ledger.fault("exit in the middle of a line");
    all.faults += 1;
    all.prompts += 1;
    let lines = unparsed(api, &id, all).await?;
    if lines != [r#"{"jsonrpc":"2.0","me"#] || ended["text"] != "whole" {
        ledger.violated(5, format!("an exit in the middle of a line: {lines:?}, and then {ended}"));
    }
    close(api, &id).await
}

/// What runs in a workspace, but for what wharf runs there.
fn running(daemon: &Daemon, words: &str) -> Vec<String> {
    let top = |id: &str| docker(&["top", id, "-eo", "pid,args"]);
    let tops = daemon.containers().into_iter().filter_map(|id| match top(&id) {
        Err(why) if !why.contains("not running") && !why.contains("No such container") => {
            Some(format!("{words}? {why}"))
        }
        top => top.ok(),
    });
    tops.flat_map(|top| top.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.contains(words))
        .collect()
}

async fn cancelled(daemon: &Daemon, api: &Api, id: &str, command: &str, marks: &[&str]) -> Result<(), String> {
    let body = json!({ "content": format!("run {command}") });
    api.call("POST", &format!("/v1/sessions/{id}/prompts"), Some(&body), None).await?;
    for mark in marks {
        until(
            "the command's start",
            async || {
                if running(daemon, mark).is_empty() { Err(format!("no {mark}")) } else { Ok(()) }
            },
        )
        .await?;
    }
    api.call("POST", &format!("/v1/sessions/{id}/cancel"), None, None).await?;
    until("the turn's end", async || match api.get(&format!("/v1/sessions/{id}")).await?["status"].as_str() {
        Some("idle") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    // When the turn has ended, it is proven: nothing may end only later.
    let left: Vec<_> = marks.iter().flat_map(|mark| running(daemon, mark)).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("{left:?} outlives the cancel of its turn")) }
}

/// A named workspace, so that it stays when its session goes.
async fn in_workspace(api: &Api, agent: &str, name: &str) -> Result<String, String> {
    let spec = json!({ "name": name, "image": "wharf/demo:latest" });
    api.call("POST", "/v1/workspaces", Some(&spec), None).await?;
    let body = json!({ "agent": agent, "workspace": name });
    match api.call("POST", "/v1/sessions", Some(&body), None).await? {
        (201, session) => Ok(session["id"].as_str().unwrap_or_default().to_owned()),
        other => Err(format!("no session with {agent}: {other:?}")),
    }
}

async fn deaf(daemon: &Daemon, api: &Api, ledger: &mut Ledger, all: &mut Checked) -> Result<(), String> {
    let id = in_workspace(api, "deaf", "deaf").await?;
    turn(api, &id, "echo ready").await?;
    ledger.fault("signals ignored");
    all.faults += 1;
    all.prompts += 2;
    let command = "trap '' TERM INT HUP QUIT; while :; do sleep 0.7001; done";
    if let Err(why) = cancelled(daemon, api, &id, command, &["sleep 0.7001"]).await {
        ledger.violated(6, why);
    }
    close(api, &id).await?;
    let left = running(daemon, "sleep");
    if !left.is_empty() {
        ledger.violated(6, format!("{left:?} outlives the close of its session"));
    }
    api.call("DELETE", "/v1/workspaces/deaf", None, None).await.map(|_| ())
}

async fn left_behind(daemon: &Daemon, api: &Api, ledger: &mut Ledger, all: &mut Checked) -> Result<(), String> {
    let id = in_workspace(api, "demo", "behind").await?;
    turn(api, &id, "echo ready").await?;
    ledger.fault("processes that daemonised themselves");
    all.faults += 1;
    all.prompts += 3;
    let command = "(setsid sh -c 'setsid sleep 4321 & sleep 4322' &) ; sleep 4323";
    if let Err(why) = cancelled(daemon, api, &id, command, &["sleep 4321", "sleep 4322", "sleep 4323"]).await {
        ledger.violated(6, why);
    }
    // One of a turn that ended by itself is the agent's to keep, until the session goes.
    turn(api, &id, "run (setsid sleep 4324 >/dev/null 2>&1 &)").await?;
    close(api, &id).await?;
    let left = running(daemon, "sleep 43");
    if !left.is_empty() {
        ledger.violated(6, format!("{left:?} outlives the close of its session"));
    }
    api.call("DELETE", "/v1/workspaces/behind", None, None).await.map(|_| ())
}
