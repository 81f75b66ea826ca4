//! Records to store, and stores to look at, for the store's tests.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod writing;

use std::{fs, path::Path, path::PathBuf};

use wharf::domain::{
    Event, EventData, Labels, PermissionPolicy, PermissionRecord, PermissionState, Progress, PromptRecord, PromptState,
    Run, SessionId, SessionRecord, Timestamp, WorkspaceId, WorkspaceRecord, WorkspaceSpec,
};
use wharf::store::{Batch, Options, Store};

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn batch(fill: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}

pub(crate) fn session(id: &SessionId) -> SessionRecord {
    SessionRecord {
        id: id.clone(),
        key: None,
        agent: "demo".to_owned(),
        workspace: "ws_019aa5a0-0000-7000-8000-000000000000".parse().unwrap(),
        created: Timestamp::from_millis(0),
        model: None,
        mode: None,
        cwd: "/workspace".to_owned(),
        sealed_mcp_servers: None,
        permissions: PermissionPolicy::Ask,
        sealed_env: None,
        agent_session_id: None,
        project: None,
        channel: None,
        task_id: None,
        mcp_session_id: None,
        labels: Labels::new(),
        caps: wharf::domain::Caps::default(),
        closed: None,
    }
}

pub(crate) fn workspace(id: &WorkspaceId) -> WorkspaceRecord {
    WorkspaceRecord {
        id: id.clone(),
        name: None,
        spec: WorkspaceSpec::default(),
        sealed_env: None,
        sealed_credentials: None,
        setup: wharf::domain::Setup::default(),
        ephemeral_of: None,
        created: Timestamp::from_millis(0),
        host: false,
        deleting: false,
    }
}

pub(crate) fn progress(last_seq: u64) -> Progress {
    Progress { last_seq, ..Progress::new(Timestamp::from_millis(0)) }
}

pub(crate) fn prompt(n: u64, state: PromptState) -> PromptRecord {
    PromptRecord {
        id: n,
        turn: PromptRecord::turn_name(n),
        time: Timestamp::from_millis(0),
        content: vec![serde_json::json!({"type": "text", "text": "hello"})],
        state,
        attempts: 0,
        idempotency_key: None,
        started: None,
        ended: None,
        stop_reason: None,
        error: None,
        usage: None,
    }
}

pub(crate) fn permission(id: &str, millis: i64) -> PermissionRecord {
    PermissionRecord {
        id: id.to_owned(),
        prompt: Some(1),
        time: Timestamp::from_millis(millis),
        tool_call: serde_json::json!({}),
        options: Vec::new(),
        state: PermissionState::Pending,
        option_id: None,
    }
}

fn render(id: &SessionId, seq: u64, text: String, out: &mut Vec<u8>) {
    let data = EventData::AgentStderr { text };
    Run::render(&Event { seq, session: id, turn: None, time: Timestamp::from_millis(0), data: &data }, out);
}

pub(crate) fn run(id: &SessionId, first_seq: u64, count: u64) -> Run {
    let mut bytes = Vec::new();
    (first_seq..first_seq + count).for_each(|seq| render(id, seq, format!("line {seq}"), &mut bytes));
    Run { first_seq, count, bytes: bytes.into() }
}

/// A run of one event of about `size` bytes that don't compress away.
pub(crate) fn sized_run(id: &SessionId, seq: u64, size: usize) -> Run {
    let mut state = seq;
    let text = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
    });
    let mut bytes = Vec::new();
    render(id, seq, text.take(size).collect(), &mut bytes);
    Run { first_seq: seq, count: 1, bytes: bytes.into() }
}

/// All files of a store but its lock, with their contents.
pub(crate) fn hash(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in files(dir) {
        if path.file_name().is_some_and(|n| n != "lock") {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found
}

/// All files below a directory, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
