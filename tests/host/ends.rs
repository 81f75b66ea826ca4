//! What ends on the host is gone: by a stop, by a deletion, and where tether itself is killed (guarantees 6 and 11).

use std::{fs, path::Path};

use serde_json::json;

use super::{
    place::{Host, NO_ENGINE, is_alive, kill},
    support::{Client, so, until},
};

/// Leaves a process behind that has nothing of where it comes from: no parent, no session, no environment; its pid.
async fn daemonise(client: &Client, session: &str) -> i32 {
    let command = "run (setsid env -i sh -c 'echo $$ > left; exec sleep 3600' >/dev/null 2>&1 &); \
                   while [ ! -s left ]; do sleep 0.01; done; cat left; rm left";
    let (text, _) = client.turn(session, command).await;
    let pid = text.split_whitespace().find_map(|word| word.parse().ok()).expect("a pid");
    assert!(is_alive(pid), "{text}");
    pid
}

async fn gone(what: &str, pid: i32) {
    until(what, async || so(!is_alive(pid), fs::read_to_string(format!("/proc/{pid}/stat")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_proven() {
    let host = Host::start().await;
    let client = host.client();
    let id = host.session("host:stop").await;
    let left = daemonise(&client, &id).await;
    let stopped = client.post("/v1/workspaces/host/stop", json!({})).await.expect(200);
    assert_eq!(stopped["status"], "stopped");
    assert!(!is_alive(left), "it daemonised itself, and is gone");
    assert_eq!(host.running(), [], "nothing is left when the answer is there");
    assert!(!Path::new(&format!("/dev/shm/wharf-host-{}", host.daemon.instance())).exists());
    assert!(client.turn(&id, "recall").await.0.contains("setsid"), "it is woken again");
    client.post("/v1/workspaces/host/start", json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_leaves_only_what_was_worked_on() {
    let host = Host::start().await;
    let client = host.client();
    let id = host.session("host:delete").await;
    let left = daemonise(&client, &id).await;
    client.turn(&id, "run echo mine > work").await;
    client.delete("/v1/workspaces/host").await.expect(204);
    assert!(!is_alive(left));
    assert_eq!(host.running(), []);
    assert_eq!(client.get("/v1/workspaces/host").await.problem(404), "workspace_not_found");
    assert_eq!(client.get(&format!("/v1/sessions/{id}")).await.problem(404), "session_not_found");
    let state = fs::read_dir(host.state()).expect("it is there").filter_map(Result::ok);
    assert_eq!(state.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["work"]);
    assert_eq!(fs::read_to_string(host.work().join("work")).expect("it is kept"), "mine\n");
    let again = host.session("host:delete").await;
    assert_eq!(client.turn(&again, "echo again").await.0, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tether_takes_its_agents_along() {
    let host = Host::start().await;
    let client = host.client();
    let id = host.session("host:killed").await;
    let left = daemonise(&client, &id).await;
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some_and(|text| text.contains("chunk 3"))).await;
    let agents = host.that("demo-agent");
    kill(host.tether());
    let (_, end) = events.turn(n).await;
    assert!(end["error"]["message"].as_str().is_some_and(|why| why.contains("under it")), "{end:#}");
    for agent in agents {
        gone("the agent", agent.pid).await;
    }
    gone("what daemonised itself", left).await;
    assert!(client.turn(&id, "recall").await.0.contains("slow 1000"), "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tether_left_that_was_killed_with_its_keepers_is_found_and_ended() {
    let mut host = Host::start().await;
    let id = host.session("host:strays").await;
    for daemon_is_there in [true, false] {
        host.client().turn(&id, "run (setsid sleep 3600 >/dev/null 2>&1 &)").await;
        let agents = host.that("demo-agent");
        let sleeping = host.that("sleep 3600");
        assert_eq!((agents.len(), sleeping.len()), (1, 1), "{:?}", host.running());
        if !daemon_is_there {
            host.daemon.kill();
        }
        let keepers = host.that(" keep ");
        let tether = host.tether();
        // Stopped first: a keeper would end its tree as soon as its tether is gone.
        for keeper in &keepers {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(keeper.pid).expect("a pid"),
                rustix::process::Signal::STOP,
            )
            .expect("it is stopped");
        }
        kill(tether);
        keepers.iter().for_each(|keeper| kill(keeper.pid));
        if !daemon_is_there {
            assert!(is_alive(sleeping[0].pid), "nobody was there to end it");
            host.daemon.start_again().await;
            assert!(!is_alive(sleeping[0].pid), "a daemon is ready when it is ended");
        }
        gone("the agent", agents[0].pid).await;
        gone("what it left", sleeping[0].pid).await;
        assert!(host.client().turn(&id, "recall").await.0.contains("setsid"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_on_a_host_that_is_disabled_again() {
    let mut host = Host::start().await;
    let id = host.session("host:disabled").await;
    let mut events = host.client().events(&id, 0).await;
    host.client().prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    host.daemon.stop();
    assert!(!host.that("demo-agent").is_empty());
    host.daemon.configure(NO_ENGINE);
    host.daemon.start_again().await;
    assert_eq!(host.running(), []);
    let refused = host.client().post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert!(refused.json["detail"].as_str().expect("words").contains("enabled = true"), "{:#}", refused.json);
    host.client().delete("/v1/workspaces/host").await.expect(204);
}
