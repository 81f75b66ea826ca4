//! Rule: every route has its command: `wharf stats`, `wharf events`, `wharf ls` with all the filters.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::support::{Daemon, PATIENCE};

fn wharf(daemon: &Daemon, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.args(["--host", &format!("unix://{}", daemon.socket().display())]).args(args);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    command
}

async fn said(daemon: &Daemon, args: &[&str]) -> String {
    let output = wharf(daemon, args).output().await.expect("it runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_all_events_and_lists_have_their_commands() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let body = json!({ "agent": "demo", "key": "cmd:one", "project": "p", "task_id": "t", "mcp_session_id": "m" });
    let one = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let two = client.demo("cmd:two").await;
    client.turn(&one, "echo hello").await;
    client.turn(&two, "echo there").await;

    let stats: Value = serde_json::from_str(&said(&daemon, &["stats", "--json"]).await).expect("JSON");
    assert_eq!((&stats["sessions"]["total"], &stats["sessions"]["by_agent"]["demo"]), (&json!(2), &json!(2)));
    let text = said(&daemon, &["stats", "--project", "p"]).await;
    assert!(text.contains("1, 1 of them open") && text.contains("1 demo") && text.contains("iB"), "{text}");

    for filter in [["--task", "t"], ["--mcp-session", "m"], ["--project", "p"]] {
        assert_eq!(said(&daemon, &["ls", "-q", filter[0], filter[1]]).await.trim(), one, "{filter:?}");
        assert_eq!(said(&daemon, &["ls", "-q", filter[0], "x"]).await, "", "{filter:?}");
    }
    assert!(said(&daemon, &["doctor"]).await.contains("disk use: "), "the store's disk use is shown");

    let events = said(&daemon, &["events", "--json"]).await;
    let (events, cursor) = events.trim_end().rsplit_once('\n').expect("lines");
    let cursor: Value = serde_json::from_str(cursor).expect("JSON");
    let cursor = cursor["cursor"].as_str().expect("a cursor").to_owned();
    let of = |id: &str| events.lines().filter(|line| line.contains(id)).count() as u64;
    for id in [&one, &two] {
        assert_eq!(client.session(id).await["last_seq"], of(id), "{id}");
    }
    assert_eq!(said(&daemon, &["events", "--after", &cursor]).await, "");
    let ends = said(&daemon, &["events", "--type", "turn.ended", "--session", "cmd:two"]).await;
    assert!(ends.starts_with(&two) && ends.lines().count() == 1, "{ends}");

    // It follows over a crash of the daemon.
    let mut child =
        wharf(&daemon, &["events", "-f", "--after", &cursor, "--type", "turn.ended"]).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
        line.expect("text").expect("a line")
    };
    client.turn(&one, "echo again").await;
    assert!(next().await.starts_with(&one));
    daemon.kill();
    daemon.start_again().await;
    daemon.client().turn(&two, "echo and again").await;
    assert!(next().await.starts_with(&two), "each event once");
    child.kill().await.expect("it is ended");
}
