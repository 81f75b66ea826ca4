//! A disk that takes no more (a limit on the size of the daemon's files stands for it): everybody is told, nothing is
//! lost, and the next daemon goes on.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use super::support::Daemon;

/// From now on no file of the daemon's grows.
fn full(daemon: &Daemon) {
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).expect("a process id"));
    let none = Rlimit { current: Some(0), maximum: None };
    prlimit(pid, Resource::Fsize, none).expect("it is our child");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_takes_no_more_everybody_is_told_and_the_next_daemon_goes_on() {
    let mut daemon = Daemon::prepared(&[], None);
    daemon.spawn_ignoring_limits();
    daemon.answers().await;
    let client = daemon.client();
    let (busy, idle) = (client.demo("it:busy").await, client.demo("it:idle").await);
    client.turn(&idle, "echo before").await;
    let mut events = client.events(&busy, 0).await;
    let n = client.prompt(&busy, "slow 60").await;
    events.until(|e| e.chunk().is_some()).await;
    full(&daemon);
    // Who listens is told by the stream's end, once there is nothing more to be had.
    let seen = events.rest().await;
    assert!(seen.iter().all(|e| e.kind() != "turn.ended"), "nothing is shown that is not on the disk");
    for _ in 0..2 {
        let refused = client.post(&format!("/v1/sessions/{idle}/prompts"), json!({ "content": "echo lost" })).await;
        assert!(refused.json["detail"].as_str().is_some_and(|why| why.contains("takes no more writes")));
        assert_eq!(refused.problem(503), "store_failed", "each request tries again");
    }
    for id in [&busy, &idle] {
        let view = client.session(id).await;
        assert_eq!(view["status"], "error");
        assert!(view["error"]["message"].as_str().is_some_and(|why| why.contains("takes no more writes")), "{view}");
    }
    assert_eq!(client.get("/readyz").await.problem(503), "not_ready");
    client.get("/healthz").await.expect(200);
    assert_eq!(client.get(&format!("/v1/sessions/{idle}/events")).await.status, 200, "what is there can be read");

    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    let (text, end) = client.events(&busy, 0).await.turn(n).await;
    let all: String = (1..=60).map(|n| format!("chunk {n} ")).collect();
    assert_eq!((text, &end["status"]), (all, &json!("done")), "the agent worked on, and nothing of it is lost");
    let (text, _) = client.turn(&idle, "recall").await;
    assert_eq!(text.trim(), "echo before", "what was refused was not taken");
    assert_eq!(client.session(&idle).await["status"], "idle");
}
