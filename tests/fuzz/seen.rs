//! What refused input must leave as it was, and what no input may do to a daemon.

use serde_json::Value;

use crate::support::{Client, Daemon};

/// How much more memory a daemon may take than before it was fuzzed.
const GROWTH: u64 = 96 << 20;

/// What moves by itself, or by what was asked for before: an agent starts, a turn ends, the engine tells of it.
const MOVING: [&str; 10] =
    ["status", "error", "updated", "last_seq", "agent_session_id", "turn", "queued", "turns", "turns_used", "cost"];

/// All that a client can see and a request could change.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    sessions: Value,
    workspaces: Value,
    tokens: Value,
    prompts: Value,
}

impl Seen {
    pub(crate) async fn of(client: &Client, victim: &str) -> Self {
        let get = async |path: String| client.get(&path).await.expect(200);
        let mut seen = Self {
            sessions: get("/v1/sessions?closed=true&limit=1000".to_owned()).await,
            workspaces: get("/v1/workspaces?limit=1000".to_owned()).await,
            tokens: get("/v1/tokens".to_owned()).await,
            prompts: get(format!("/v1/sessions/{victim}/prompts?limit=1000")).await,
        };
        for list in [&mut seen.sessions, &mut seen.workspaces] {
            for item in list["items"].as_array_mut().expect("a list") {
                for field in MOVING {
                    item.as_object_mut().expect("an object").remove(field);
                }
            }
        }
        for item in seen.prompts["items"].as_array_mut().expect("a list") {
            *item = item["id"].clone();
        }
        seen
    }
}

/// The memory of a process, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") << 10
}

/// The daemon is as it was: it runs, is ready, takes no more memory, and nothing in it went wrong.
pub(crate) async fn unharmed(daemon: &Daemon, client: &Client, memory_before: u64, logged: &mut usize) {
    let ready = client.get("/readyz").await;
    assert_eq!(ready.status, 200, "{:#}", ready.json);
    let now = memory(daemon.pid());
    assert!(now < memory_before + GROWTH, "the daemon has grown from {memory_before} to {now} bytes");
    let log = daemon.log_text();
    let news = &log[*logged..];
    let bad = news.lines().find(|line| line.contains("panicked") || line.contains("ERROR"));
    assert_eq!(bad, None, "the daemon says so");
    *logged = log.len();
}
