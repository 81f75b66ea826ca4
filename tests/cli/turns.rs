//! `wharf send`: the answer as it comes, whatever happens to the daemon meanwhile, and Ctrl-C.

use serde_json::Value;

use super::program::{Running, Wharf};
use super::support::{Client, Daemon, docker_ok};

fn chunks(n: usize) -> String {
    (1..=n).map(|n| format!("chunk {n} ")).collect()
}

async fn state(client: &Client, id: &str, n: u64) -> Value {
    let prompts = client.get(&format!("/v1/sessions/{id}/prompts?after={}&limit=1", n - 1)).await.expect(200);
    prompts["items"][0]["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outlives_the_daemon() {
    let mut daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    daemon.client().demo("cli:outlive").await;
    let mut text = Running::start(wharf.command(&["send", "cli:outlive", "slow 20"]));
    text.until("chunk 3 ").await;
    let mut json = Running::start(wharf.command(&["send", "--json", "cli:outlive", "slow", "5"]));
    json.until("prompt.queued").await;
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(text.end().await.expect(0), chunks(20) + "\n");
    json.until("turn.ended").await;
    let said = json.end().await.expect(0);
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let spoken: String = events
        .iter()
        .filter(|e| e["data"]["sessionUpdate"] == "agent_message_chunk")
        .fold(String::new(), |all, e| all + e["data"]["content"]["text"].as_str().expect("text"));
    assert_eq!(spoken, chunks(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_taken_by_a_daemon_that_comes_later() {
    let mut daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let client = daemon.client();
    let id = client.demo("cli:later").await;
    client.turn(&id, "echo warm").await;
    // It holds a stream when the daemon goes, and is told when it is back.
    let mut logs = Running::start(wharf.command(&["logs", "-f", "cli:later"]));
    logs.until("turn.ended").await;
    daemon.stop();
    logs.warned("waiting for it to come back").await;
    daemon.start_again().await;
    logs.warned("the daemon is back").await;
    assert_eq!(wharf.run(&["send", "cli:later", "echo here"]).await.expect(0), "here\n");
    logs.until("\"here\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_the_same_key_twice() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let client = daemon.client();
    let id = client.demo("cli:stdin").await;
    let long = "line of text with ümläuts\n".repeat(4000);
    let said = wharf.fed(&["send", "cli:stdin", "-"], &format!("echo {long}")).await.expect(0);
    assert_eq!(said.trim_end(), long.trim_end());
    wharf.fed(&["send", "cli:stdin", "-"], " \n").await.expect(2);
    let new = wharf.fed(&["new", "--key", "cli:fed", "-"], "echo from new").await.expect(0);
    assert!(new.ends_with("\nfrom new\n"), "{new}");
    for _ in 0..2 {
        let keyed = wharf.run(&["send", "cli:stdin", "--idempotency-key", "k", "echo keyed"]).await;
        assert_eq!(keyed.expect(0), "keyed\n");
        assert_eq!(wharf.run(&["send", "cli:stdin", "echo between"]).await.expect(0), "between\n");
    }
    let (text, _) = client.turn(&id, "recall").await;
    assert_eq!(text.lines().filter(|line| *line == "echo keyed").count(), 1, "{text}");
    wharf.run(&["send", "cli:stdin", "--idempotency-key", "k", "echo other"]).await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_how_the_turn_ended() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    daemon.client().demo("cli:codes").await;
    let failed = wharf.run(&["send", "cli:codes", "fail"]).await;
    assert!(failed.err.contains("the turn failed: "), "{failed:?}");
    failed.expect(1);
    let died = wharf.run(&["send", "cli:codes", "exit 3"]).await;
    assert!(died.err.contains("exited with code 3"), "{died:?}");
    died.expect(1);
    let ran = wharf.run(&["send", "cli:codes", "run", "echo out; echo err >&2"]).await;
    assert!(ran.err.contains("▸ echo out"), "what it does goes to stderr: {ran:?}");
    assert!(ran.expect(0).contains("out"));
    assert_eq!(wharf.run(&["send", "--no-wait", "cli:codes", "echo x"]).await.expect(0).trim(), "turn_4");
    let json = wharf.run(&["send", "--no-wait", "--json", "cli:codes", "echo x"]).await.json();
    assert_eq!(json["id"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_turn_and_no_other() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let client = daemon.client();
    let id = client.demo("cli:ctrl-c").await;
    let mut first = Running::start(wharf.command(&["send", "cli:ctrl-c", "slow 1000"]));
    first.until("chunk 2 ").await;
    // One that waits behind it is withdrawn, and the one that runs runs on.
    let mut waiting = Running::start(wharf.command(&["send", "cli:ctrl-c", "echo never"]));
    waiting.warned("1 before it").await;
    waiting.interrupt();
    waiting.end().await.expect(3);
    assert_eq!((state(&client, &id, 1).await, state(&client, &id, 2).await), ("delivered".into(), "cancelled".into()));
    first.interrupt();
    let said = first.end().await;
    assert!(said.err.contains("cancelling; Ctrl-C again leaves it running"), "{said:?}");
    said.expect(3);
    assert_eq!(state(&client, &id, 1).await, "cancelled");
    assert_eq!(wharf.run(&["send", "cli:ctrl-c", "echo alive"]).await.expect(0), "alive\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_leaves_the_turn_running() {
    let deaf =
        "trap '' TERM; while read -r line; do case $line in *session/cancel*) ;; *) echo \\\"$line\\\" ;; esac; done";
    let argv = format!("argv = [\"/bin/sh\", \"-c\", \"{deaf} | /bin/wharf-demo-agent\"]");
    let config = format!("[agents.deaf]\nprotocol = \"acp\"\nimage = \"wharf/demo:latest\"\n{argv}\n");
    let daemon = Daemon::start_with(&[], Some(&config)).await;
    let wharf = Wharf::of(&daemon);
    wharf.run(&["new", "--agent", "deaf", "--key", "cli:deaf"]).await.expect(0);
    let mut send = Running::start(wharf.command(&["send", "cli:deaf", "slow 1000"]));
    send.until("chunk 2 ").await;
    send.interrupt();
    send.warned("cancelling").await;
    send.interrupt();
    let said = send.end().await;
    assert!(said.err.contains("turn_1 is left running"), "{said:?}");
    said.expect(130);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_nobody_knows_is_exit_code_4() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    daemon.client().demo("cli:lost").await;
    let mut send = Running::start(wharf.command(&["send", "cli:lost", "slow 100000"]));
    send.until("chunk 3 ").await;
    docker_ok(&["kill", &daemon.containers()[0]]);
    let said = send.end().await;
    assert!(said.err.contains("not known"), "{said:?}");
    said.expect(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_begun_while_the_daemon_restarts_waits_for_it() {
    let mut daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    daemon.client().demo("cli:begun").await;
    // A crash leaves the socket, on which nobody listens.
    daemon.kill();
    let mut send = Running::start(wharf.command(&["send", "cli:begun", "echo late"]));
    send.warned("waiting for it to come back").await;
    daemon.start_again().await;
    assert_eq!(send.end().await.expect(0), "late\n");
}
