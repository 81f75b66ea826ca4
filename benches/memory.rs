//! What the daemon takes at rest: resident memory when it was started, and after a hundred sessions.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    report::{Report, Row, Stat, Unit},
    support::{Client, Daemon},
};

/// How long a daemon is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// Sessions at once.
const AT_ONCE: usize = 8;

/// Resident memory of a process, in MiB.
pub fn resident(pid: &str) -> Stat {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    Stat::of([kib / 1024.0])
}

/// A daemon of its own, before and after `sessions` sessions in one workspace.
pub async fn measure(report: &mut Report, sessions: usize) {
    let begun = Instant::now();
    let mut daemon = Daemon::start().await;
    let empty = begun.elapsed();
    let pid = daemon.pid().to_string();
    tokio::time::sleep(SETTLE).await;
    report.add(Row::new("daemon at rest: resident", Unit::MiB, resident(&pid)).below(20.0));

    let client = daemon.client();
    let workspace = client.post("/v1/workspaces", json!({})).await.expect(201)["id"].clone();
    let (mut running, mut left) = (JoinSet::new(), sessions);
    while left > 0 || !running.is_empty() {
        while left > 0 && running.len() < AT_ONCE {
            running.spawn(one(client.clone(), json!({ "agent": "demo", "workspace": workspace })));
            left -= 1;
        }
        running.join_next().await.expect("a session").expect("it went well");
    }
    tokio::time::sleep(SETTLE).await;
    report.add(Row::new(format!("… after {sessions} sessions"), Unit::MiB, resident(&pid)).below(20.0));

    daemon.stop();
    let begun = Instant::now();
    daemon.start_again().await;
    let full = begun.elapsed();
    report.add(
        Row::new(format!("daemon: start, {sessions} sessions kept"), Unit::Ms, Stat::millis([&full]))
            .beside("start, new store", Stat::millis([&empty])),
    );
    tokio::time::sleep(SETTLE).await;
    let pid = daemon.pid().to_string();
    report.add(Row::new("… started again: resident", Unit::MiB, resident(&pid)).below(20.0));
}

/// A session that is asked once and closed.
async fn one(client: Client, body: serde_json::Value) {
    let session = client.post("/v1/sessions", body).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    let (text, _) = client.turn(id, "echo hello").await;
    assert_eq!(text, "hello");
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
}
