//! Many sessions that wait for a daemon to start: they are woken a few at a time.

use serde_json::{Value, json};

use super::log;
use super::support::{Client, Daemon, docker_ok};

/// Sessions whose container died with the daemon, more than twice as many as may wake at once, and sessions whose turns
/// run on.
const BROKEN: usize = 20;
const RUNNING: usize = 10;
/// What the daemon promises.
const AT_ONCE: usize = 8;

/// The demo agent, which takes its time to be ready: many that are started at once are seen to be.
const LATE: &str = "[agents.late]\nimage = \"wharf/demo:latest\"\n\
    argv = [\"/bin/sh\", \"-c\", \"sleep 0.4; exec /bin/wharf-demo-agent\"]\n";

/// When a session's agent was started and when its next turn began, after the daemon's restart.
fn interval(log: &[Value], restarted_after: u64) -> (String, String) {
    let time = |e: &Value| e["time"].as_str().expect("a time").to_owned();
    let new = || log.iter().filter(|e| e["seq"].as_u64() > Some(restarted_after));
    let begun = new().find(|e| e["type"] == "agent.started").expect("its agent is started");
    let ready = new().find(|e| e["type"] == "turn.started").expect("its turn begins");
    (time(begun), time(ready))
}

/// Sessions of one workspace, each with a turn that runs and a prompt that waits.
async fn sessions(client: &Client, agent: &str, workspace: &str, count: usize, turn: &str) -> Vec<(String, u64, u64)> {
    client.post("/v1/workspaces", json!({ "name": workspace, "image": "wharf/demo:latest" })).await.expect(201);
    let mut sessions = Vec::new();
    for n in 0..count {
        let body = json!({ "agent": agent, "workspace": workspace, "key": format!("{workspace}:{n}") });
        let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
        let mut events = client.events(&id, 0).await;
        let running = client.prompt(&id, turn).await;
        let waiting = client.prompt(&id, &format!("echo {n}")).await;
        events.until(|e| e.chunk().is_some()).await;
        sessions.push((id, running, waiting));
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_at_start_is_no_stampede() {
    let mut daemon = Daemon::start_with(&[], Some(LATE)).await;
    let client = daemon.client();
    let broken = sessions(&client, "late", "broken", BROKEN, "slow 6000").await;
    let lasting = sessions(&client, "demo", "lasting", RUNNING, "slow 300").await;
    let dies = client.session(&broken[0].0).await["workspace"].as_str().expect("an id").to_owned();
    daemon.kill();
    docker_ok(&["kill", &docker_ok(&["ps", "-q", "--filter", &format!("label=wharf.workspace={dies}")])]);
    let mut seen = Vec::new();
    daemon.start_again().await;
    let client = daemon.client();
    for (n, (id, running, waiting)) in broken.iter().enumerate() {
        let mut events = client.events(id, 0).await;
        let (_, end) = events.turn(*running).await;
        assert_eq!(end["status"], "unknown", "{end}");
        assert_eq!(events.turn(*waiting).await.0, n.to_string());
        let log = log(&client, id).await;
        let last =
            log.iter().find(|e| e["type"] == "agent.exited").expect("it died")["seq"].as_u64().expect("a number");
        seen.push(interval(&log, last - 1));
    }
    // RFC 3339 in one form: its order is that of time. Only what overlaps by more than an instant is at once.
    let most = seen.iter().map(|(at, _)| seen.iter().filter(|(from, to)| from <= at && at < to).count()).max();
    assert!(most <= Some(AT_ONCE), "{most:?} at once: {seen:?}");
    assert!(most > Some(1), "a few at a time, not one after the other: {seen:?}");
    for (n, (id, running, waiting)) in lasting.iter().enumerate() {
        let mut events = client.events(id, 0).await;
        let (text, end) = events.turn(*running).await;
        assert_eq!((text.matches("chunk").count(), &end["status"]), (300, &json!("done")), "nothing was interrupted");
        assert_eq!(events.turn(*waiting).await.0, n.to_string());
    }
}
