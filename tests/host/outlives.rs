//! Sessions on the host run as the user, without an engine, and outlive the daemon at the same offsets.

use std::fs;

use serde_json::json;

use super::place::{Host, counted};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_runs_on_the_host_without_an_engine() {
    let host = Host::start().await;
    let client = host.client();
    let id = host.session("host:runs").await;
    let work = fs::canonicalize(host.work()).expect("it is there");
    assert_eq!(client.session(&id).await["cwd"], work.to_str().expect("UTF-8"));
    let (text, end) = client.turn(&id, "run echo made > file; pwd; id -u; echo $HOME").await;
    assert_eq!(end["stop_reason"], "end_turn", "{end:#}");
    let uid = rustix::process::getuid().as_raw().to_string();
    let home = std::env::var("HOME").expect("a home");
    for says in [work.to_str().expect("UTF-8"), &uid, &home] {
        assert!(text.lines().any(|line| line.trim() == says), "{says}: {text}");
    }
    assert_eq!(fs::read_to_string(host.work().join("file")).expect("it was made"), "made\n");
    let view = host.view().await;
    assert_eq!((&view["host"], &view["status"], &view["sessions"]), (&json!(true), &json!("running"), &json!(1)));
    let listed = client.get("/v1/workspaces").await.expect(200);
    assert_eq!(listed["items"][0]["name"], "host");
    let program = fs::read_dir(host.state().join("bin")).expect("programs").filter_map(Result::ok);
    for entry in program {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o700, "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_outlives_kill_9_and_a_stop_of_the_daemon() {
    let mut host = Host::start().await;
    let id = host.session("host:outlives").await;
    let mut turns = Vec::new();
    for in_order in [false, true] {
        let mut events = host.client().events(&id, 0).await;
        let n = host.client().prompt(&id, "slow 30").await;
        events.until(|e| e.json["turn"] == format!("turn_{n}") && e.chunk().is_some_and(|c| c.contains('3'))).await;
        let (tether, agents) = (host.tether(), host.that("demo-agent"));
        if in_order {
            host.daemon.stop();
        } else {
            host.daemon.kill();
        }
        assert_eq!((host.tether(), host.that("demo-agent")), (tether, agents), "they go on");
        host.daemon.start_again().await;
        turns.push(n);
    }
    // From the first event on: each once, in order; `Events` sees to that.
    let mut events = host.client().events(&id, 0).await;
    for n in turns {
        let (text, end) = events.turn(n).await;
        assert_eq!(counted(&text), (1..=30).collect::<Vec<_>>(), "{text}");
        assert_eq!(end["stop_reason"], "end_turn");
    }
    let (text, _) = host.client().turn(&id, "recall").await;
    assert!(text.contains("slow 30"), "{text}");
    assert_eq!(host.that(" serve ").len(), 1, "the same tether");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_rests_and_is_woken_by_the_next_prompt() {
    let host = Host::start_with(&[], "idle_timeout = \"1s\"\n").await;
    let id = host.session("host:idle").await;
    host.client().turn(&id, "echo before").await;
    host.at_rest().await;
    assert_eq!(host.view().await["status"], "stopped");
    let (text, _) = host.client().turn(&id, "recall").await;
    assert!(text.contains("echo before"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_on_the_host_is_the_user_s() {
    let host = Host::start().await;
    let command = json!({ "argv": ["/bin/sh", "-c", "pwd > place; id -u >> place; cat"] });
    host.client().post("/v1/workspaces/host/terminals", command).await.expect(201);
    let place = super::support::until("the terminal has written", async || {
        let text = fs::read_to_string(host.work().join("place")).unwrap_or_default();
        if text.lines().count() == 2 { Ok(text) } else { Err(text) }
    });
    let work = fs::canonicalize(host.work()).expect("it is there");
    assert_eq!(place.await, format!("{}\n{}\n", work.display(), rustix::process::getuid().as_raw()));
    let all = host.client().get("/v1/workspaces/host/terminals").await.expect(200);
    let terminal = all["items"][0]["id"].as_str().expect("an id").to_owned();
    host.client().delete(&format!("/v1/workspaces/host/terminals/{terminal}")).await.expect(200);
    assert_eq!(host.that("cat"), [], "it is ended");
}
