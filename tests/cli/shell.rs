//! `wharf shell` on a terminal: it is as large as the one before it, outlives its connection and its daemon, and can be
//! come back to.

use serde_json::json;

use super::screen::Terminal;
use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_is_resized_survives_a_dropped_connection_and_is_attached_again() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    client.post("/v1/workspaces", json!({ "name": "box", "image": "wharf/demo:latest" })).await.expect(201);
    let mut shell = Terminal::open(&daemon, &["shell", "box"]);
    shell.keys("kept=yes; echo re''ady\r");
    shell.wait("ready");
    shell.resize(101, 41);
    shell.keys("until [ \"$(stty size)\" = '41 101' ]; do sleep 0.05; done; echo re''sized\r");
    shell.wait("resized");

    // The daemon is killed under it: the same program goes on over the next connection.
    daemon.kill();
    daemon.start_again().await;
    shell.wait("connected again");
    shell.keys("echo it-is-$kept\r");
    shell.wait("it-is-yes");

    // It is left running, and come back to, over another death of the daemon.
    shell.keys("\r~.");
    let said = shell.wait("comes back");
    assert_eq!(shell.end(), 0);
    let id = said
        .split_whitespace()
        .find(|word| word.starts_with("term_"))
        .expect("its id")
        .trim_matches(|c: char| c != '_' && !c.is_alphanumeric())
        .to_owned();
    daemon.kill();
    daemon.start_again().await;
    let mut again = Terminal::open(&daemon, &["shell", "--attach", &id]);
    again.wait("it-is-yes");
    again.keys("echo still-$kept; exit 7\r");
    again.wait("still-yes");
    assert_eq!(again.end(), 7);
}
