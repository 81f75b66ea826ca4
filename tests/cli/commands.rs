//! Every command, as text for people and as JSON for programs.

use serde_json::{Value, json};

use super::program::{Running, Wharf};
use super::support::{Client, Daemon};

fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_from_its_making_to_its_end() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let none = wharf.run(&["ls"]).await;
    assert!(none.err.contains("wharf new"), "what to do next: {none:?}");
    assert_eq!(none.expect(0), "");
    let made = wharf.run(&["new", "--key", "cli:one", "--label", "a=b", "-e", "X=from-here", "run", "echo $X"]).await;
    let made = made.expect(0);
    let (id, answer) = made.split_once('\n').expect("two lines");
    assert!(id.starts_with("demo_") && answer.trim() == "from-here", "{made}");
    let again = wharf.run(&["new", "--key", "cli:one"]).await;
    assert!(again.err.contains("there was one with this key"), "{again:?}");
    assert_eq!(again.expect(0).trim(), id);
    assert_eq!(wharf.run(&["ls", "-q"]).await.expect(0).trim(), id);
    let table = wharf.run(&["ls", "--label", "a=b", "--app", "cli"]).await.expect(0);
    assert!(table.starts_with("SESSION") && table.contains("cli:one") && table.contains("idle"), "{table}");
    assert_eq!(wharf.run(&["ls", "--agent", "claude", "-q"]).await.expect(0), "");
    let listed = wharf.run(&["ls", "--json"]).await.json();
    assert_eq!(text(&listed["items"][0], "id"), id);
    assert_eq!(wharf.run(&["send", "cli:one", "echo", "two", "words"]).await.expect(0), "two words\n");
    let status = wharf.run(&["reset", "cli:one"]).await.expect(0);
    assert!(status.contains("begins afresh"), "{status}");
    assert_eq!(text(&wharf.run(&["restore", "cli:one", "--json"]).await.json(), "status"), "idle");
    assert!(wharf.run(&["restore", id]).await.expect(0).contains("is idle"));
    assert_eq!(wharf.run(&["send", id, "recall"]).await.expect(0).trim(), "");
    assert_eq!(wharf.run(&["rm", "cli:one"]).await.expect(0).trim(), id);
    assert_eq!(wharf.run(&["ls", "-q"]).await.expect(0), "");
    assert_eq!(wharf.run(&["ls", "--all", "-q"]).await.expect(0).trim(), id);
    assert_eq!(text(&wharf.run(&["rm", id, "--purge", "--json"]).await.json(), "status"), "closed");
    assert_eq!(wharf.run(&["ls", "--all", "--json"]).await.json(), json!({ "items": [] }));
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_printed_and_followed_to_the_sessions_end() {
    let daemon = Daemon::start().await;
    let (wharf, client) = (Wharf::of(&daemon), daemon.client());
    let id = client.demo("cli:logs").await;
    client.turn(&id, "echo first").await;
    let last = client.session(&id).await["last_seq"].as_u64().expect("a number");
    let printed = wharf.run(&["logs", "cli:logs"]).await.expect(0);
    let shows = |words: &[&str]| printed.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert_eq!(printed.lines().count() as u64, last);
    assert!(
        shows(&["user_message_chunk", "\"echo first\""]) && shows(&["agent_message_chunk", "\"first\""]),
        "{printed}"
    );
    assert!(shows(&["turn.ended", "end_turn"]) && printed.lines().all(|l| l.chars().count() <= 140), "{printed}");
    let json = wharf.run(&["logs", &id, "--json", "--after", "2"]).await.expect(0);
    let seqs = |text: &str| -> Vec<u64> {
        let event = |line| serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64().expect("a number");
        text.lines().map(event).collect()
    };
    assert_eq!(seqs(&json), (3..=last).collect::<Vec<_>>());

    let mut follow = Running::start(wharf.command(&["logs", "-f", "--json", "cli:logs"]));
    let mut people = Running::start(wharf.command(&["logs", "-f", "cli:logs"]));
    follow.until(&format!("\"seq\":{last},")).await;
    people.until("turn.ended").await;
    client.turn(&id, "echo second").await;
    people.until("\"second\"").await;
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    let all = follow.end().await.expect(0);
    let end = client.session(&id).await["last_seq"].as_u64().expect("a number");
    assert_eq!(seqs(&all), (1..=end).collect::<Vec<_>>());
    assert!(people.end().await.expect(0).contains("session.closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_made_started_stopped_and_removed() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let ws = async |args: &[&str]| wharf.run(&[&["workspaces"], args].concat()).await;
    assert!(ws(&[]).await.err.contains("there are no workspaces"));
    let create = ["create", "box", "--image", "wharf/demo:latest", "--memory", "64MiB", "--env", "SECRET=hunter2"];
    let id = ws(&create).await.expect(0).trim().to_owned();
    assert!(id.starts_with("ws_"), "{id}");
    assert_eq!(ws(&create).await.expect(0).trim(), id, "the same again");
    let shown = ws(&["show", "box"]).await.json();
    assert_eq!((text(&shown, "id"), &shown["spec"]["memory"]), (id.as_str(), &json!(64 << 20)));
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let started = ws(&["start", "box"]).await;
    assert!(started.err.contains("running"), "{started:?}");
    assert_eq!(started.expect(0).trim(), id);
    assert_eq!(daemon.containers().len(), 1);
    let session = wharf.run(&["new", "-w", "box", "run", "echo $SECRET"]).await.expect(0);
    assert!(session.contains("hunter2"), "{session}");
    let table = ws(&["ls"]).await.expect(0);
    assert!(table.contains("box") && table.contains("running"), "{table}");
    assert_eq!(text(&ws(&["stop", "box", "--json"]).await.json(), "status"), "stopped");
    let listed = wharf.run(&["ws", "--json"]).await.json();
    assert_eq!(
        (listed["items"][0]["status"].as_str(), listed["items"][0]["sessions"].as_u64()),
        (Some("stopped"), Some(1))
    );
    assert_eq!(text(&wharf.run(&["ls", "--json"]).await.json()["items"][0], "status"), "suspended");
    assert_eq!(ws(&["rm", "box"]).await.expect(0).trim(), "box is deleted");
    assert_eq!(ws(&["create", "two", "--image", "wharf/demo:latest", "--json"]).await.json()["name"], "two");
    assert_eq!(ws(&["rm", "two", "--json"]).await.json(), json!({ "deleted": "two" }));
    assert_eq!(wharf.run(&["ls", "-a", "-q"]).await.expect(0), "", "its session went with it");
    assert_eq!((daemon.containers(), daemon.volumes()), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_listed_and_answered() {
    let daemon = Daemon::start().await;
    let (wharf, client) = (Wharf::of(&daemon), daemon.client());
    let id = client.demo("cli:ask").await;
    assert!(wharf.run(&["approve", "cli:ask"]).await.err.contains("nothing is asked"));
    let mut events = client.events(&id, 0).await;
    for (flag, goes) in [("--allow", true), ("--deny", false)] {
        let turn = wharf.run(&["send", "--no-wait", "cli:ask", "ask", "echo gone-through"]).await.expect(0);
        let n = turn.trim().strip_prefix("turn_").expect("a turn").parse().expect("a number");
        events.until_kind("permission.requested").await;
        let asked = wharf.run(&["approve", "cli:ask"]).await.expect(0);
        assert!(asked.contains("echo gone-through") && asked.contains("\n  1  "), "{asked}");
        let json = wharf.run(&["approve", "cli:ask", "--json"]).await.json();
        let pid = text(&json["items"][0], "id").to_owned();
        assert!(wharf.run(&["approve", "cli:ask", &pid, flag]).await.expect(0).contains("is answered"));
        assert_eq!(events.turn(n).await.0.contains("gone-through"), goes);
        let stale = wharf.run(&["approve", "cli:ask", &pid, flag]).await;
        assert!(stale.err.contains("no longer pending"), "{stale:?}");
        stale.expect(8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_cancelled_and_the_queue_with_it() {
    let daemon = Daemon::start().await;
    let (wharf, client) = (Wharf::of(&daemon), daemon.client());
    let id = client.demo("cli:cancel").await;
    assert_eq!(wharf.run(&["cancel", "cli:cancel"]).await.expect(0).trim(), "no turn ran");
    let begun = async |client: &Client| {
        let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
        let n = client.prompt(&id, "slow 1000").await;
        client.prompt(&id, "echo waiting").await;
        events.until(|e| e.chunk().is_some()).await;
        n
    };
    let n = begun(&client).await;
    let said = wharf.run(&["cancel", "cli:cancel", "--queue"]).await.expect(0);
    assert!(said.contains(&format!("turn_{n} is cancelled")) && said.contains("1 waiting"), "{said}");
    let n = begun(&client).await;
    let said = wharf.run(&["cancel", "cli:cancel", "--queue", "--json"]).await.json();
    assert_eq!(said, json!({ "turn": format!("turn_{n}"), "withdrawn": [n + 1] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_listed() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let table = wharf.run(&["agents"]).await.expect(0);
    assert!(table.contains("demo") && table.contains("present"), "{table}");
    let json = wharf.run(&["agents", "--json"]).await.json();
    assert!(json["items"].as_array().expect("a list").iter().any(|agent| agent["name"] == "claude"));
}
