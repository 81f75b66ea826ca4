//! `wharf doctor`: processes that no session knows are told, and ended when asked.

use serde_json::{Value, json};

use super::space::{session, started};
use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_process_is_told_and_removed_when_asked() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    let agent = session(&client, &id, "it:known").await;
    client.turn(&agent, "echo x").await;
    let orphans = async || {
        let items = client.get("/v1/orphans").await.expect(200)["items"].clone();
        let processes = items.as_array().unwrap().iter().filter(|orphan| orphan["kind"] == "process");
        processes.map(|orphan| (orphan["name"].clone(), orphan["workspace"].clone())).collect::<Vec<(Value, Value)>>()
    };
    assert_eq!(orphans().await, [], "what a session knows is none");
    let lost = wharf::domain::SessionId::new("demo");
    let name = format!("{lost}-r1");
    leave_behind(&daemon, &name).await;
    let client = daemon.client();
    client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await.expect(200);
    client.turn(&agent, "echo y").await;
    assert_eq!(orphans().await, [(json!(name), json!(id))]);
    let host = format!("unix://{}", daemon.socket().display());
    let doctor = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wharf"));
        let output = command.args(["--host", &host, "doctor"]).args(more).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = doctor(&[]).await;
    assert!(said.contains(&name) && said.contains("doctor --fix"), "{said}");
    let said = doctor(&["--fix"]).await;
    assert!(said.contains(&format!("removed {name}")), "{said}");
    assert_eq!(orphans().await, []);
    let left = daemon.processes();
    assert!(!left.iter().any(|line| line.contains("sleep 7654")), "{left:?}");
    assert_eq!(client.turn(&agent, "echo still there").await.0, "still there");
}

/// Starts a process through the workspace's tether, as a daemon would that lost its store; the connection is the newest
/// one's, so the daemon's own is taken over and made again.
async fn leave_behind(daemon: &Daemon, name: &str) {
    use wharf::tether::client::{Connect, ConnectError, StartProcess, Stream, TetherClient};
    struct Socket(std::path::PathBuf);
    impl Connect for Socket {
        fn connect(&self) -> futures_util::future::BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
            Box::pin(async {
                let stream = tokio::net::UnixStream::connect(&self.0).await;
                let stream = stream.map_err(|e| ConnectError::Gone(e.to_string()))?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        }
    }
    let run = daemon.state().join("run");
    let dir = std::fs::read_dir(run).unwrap().next().expect("one workspace").unwrap().path();
    let (tracker, stop) = (tokio_util::task::TaskTracker::new(), tokio_util::sync::CancellationToken::new());
    let client = TetherClient::connect(Socket(dir.join("s")), &tracker, stop.clone()).await.unwrap();
    let start = StartProcess {
        id: name.to_owned(),
        argv: ["/bin/sh", "-c", "sleep 7654"].map(str::to_owned).into(),
        env: Vec::new(),
        files: Vec::new(),
        cwd: "/".to_owned(),
        uid: 1000,
        gid: 1000,
        pty: None,
    };
    client.start(start).await.unwrap();
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
