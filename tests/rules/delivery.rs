//! Prompts that did not reach their agent: given again after any crash, three times at most, never twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::support::{Client, Daemon, docker, docker_ok, so, until};

/// A way to the engine that can let everything through but what is written into execs: the agent is heard and hears
/// nothing.
struct Way {
    dir: tempfile::TempDir,
    mute: Arc<AtomicBool>,
}

impl Way {
    fn open() -> Self {
        let way = Self { dir: tempfile::tempdir().expect("a directory"), mute: Arc::default() };
        let listener = UnixListener::bind(way.socket()).expect("a socket");
        let mute = way.mute.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let real = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
                let real = real.strip_prefix("unix://").expect("an engine on a Unix socket").to_owned();
                let engine = UnixStream::connect(real).await.expect("the engine answers");
                let ((from_client, mut to_client), (mut from_engine, to_engine)) =
                    (client.into_split(), engine.into_split());
                tokio::spawn(asked(from_client, to_engine, mute.clone()));
                tokio::spawn(async move {
                    // Either side may go at any time.
                    let _ = tokio::io::copy(&mut from_engine, &mut to_client).await;
                });
            }
        });
        way
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }
}

/// What a client asks of the engine. Once an exec that has begun was muted, nothing more goes into it.
async fn asked(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mute: Arc<AtomicBool>) {
    let (mut buffer, mut exec, mut lost) = (vec![0; 64 * 1024], false, false);
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let head = String::from_utf8_lossy(&buffer[..n.min(200)]).into_owned();
        let begins = head.lines().next().is_some_and(|line| line.contains("/exec/") && line.contains("/start"));
        lost |= exec && !begins && mute.load(Ordering::SeqCst);
        exec |= begins;
        if !lost && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// The demo agent, which holds the answer that makes it ready back until it is let: process by process.
const GATED: &str = r#"
[agents.gated]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''
n=$(cat /workspace/runs 2>/dev/null || echo 0); n=$((n+1)); echo $n > /workspace/runs
/bin/wharf-demo-agent | while IFS= read -r line; do
  case "$line" in
    *'"result"'*) answers=$((answers+1))
      if [ $answers = 2 ]; then touch /workspace/waits-$n; while ! test -e /workspace/go-$n; do sleep 0.05; done; fi ;;
  esac
  printf '%s\n' "$line"
done''']
"#;

async fn in_container(daemon: &Daemon, args: &[&str]) {
    let done = async || {
        let container = daemon.containers().first().cloned().ok_or("no container")?;
        docker(&[&["exec", "-u", "1000", &container, "/bin/busybox"], args].concat()).map(drop)
    };
    until(&args.join(" "), done).await;
}

async fn record(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/sessions/{id}/prompts?limit=1")).await.expect(200)["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_prompt_is_given_to_three_agents_and_then_it_has_failed() {
    let way = Way::open();
    let config = format!("engine = \"unix://{}\"\n{GATED}", way.socket().display());
    let mut daemon = Daemon::start_with(&[("WHARF_TRANSPORT", "exec")], Some(&config)).await;
    let mut client = daemon.client();
    let body = json!({ "agent": "gated", "key": "it:gated", "prompt": "echo never" });
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let accepted = record(&client, &id).await;
    let mut last = 0;
    for attempt in 1..=3 {
        // The agent is about to be ready; from now on nothing reaches it.
        in_container(&daemon, &["test", "-e", &format!("/workspace/waits-{attempt}")]).await;
        way.mute(true);
        in_container(&daemon, &["touch", &format!("/workspace/go-{attempt}")]).await;
        let mut events = client.events(&id, last).await;
        last = events.until_kind("turn.started").await.seq;
        let now = record(&client, &id).await;
        assert_eq!((&now["state"], &now["attempts"]), (&json!("delivered"), &json!(attempt)));
        daemon.kill();
        docker_ok(&["kill", &daemon.containers()[0]]);
        way.mute(false);
        daemon.start_again().await;
        client = daemon.client();
    }
    let (_, end) = client.events(&id, 0).await.turn(1).await;
    assert_eq!(end["status"], "failed", "{end}");
    let failed = record(&client, &id).await;
    assert_eq!(
        (&failed["state"], &failed["attempts"], &failed["time"]),
        (&json!("failed"), &json!(3), &accepted["time"])
    );
    let log = super::log(&client, &id).await;
    let count = |kind: &str| log.iter().filter(|e| e["type"] == kind).count();
    assert_eq!((count("turn.started"), count("turn.ended")), (3, 1));
    // The session goes on, and no agent ever had it.
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "recall").await;
    in_container(&daemon, &["test", "-e", "/workspace/waits-4"]).await;
    in_container(&daemon, &["touch", "/workspace/go-4"]).await;
    let (text, end) = events.turn(n).await;
    assert_eq!((text.contains("never"), &end["status"]), (false, &json!("done")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_survives_any_number_of_crashes_before_it_is_delivered_and_none_counts_as_an_attempt() {
    let mut daemon = Daemon::start_with(&[], Some(GATED)).await;
    let client = daemon.client();
    let body = json!({ "agent": "gated", "key": "it:crashes", "prompt": "echo at-last" });
    let id = client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned();
    for crash in 0..5 {
        in_container(&daemon, &["test", "-e", "/workspace/waits-1"]).await;
        daemon.kill();
        daemon.start_again().await;
        let view = daemon.client().session(&id).await;
        assert_eq!((&view["queued"], &view["turn"]), (&json!(1), &json!(null)), "crash {crash}");
    }
    let client = daemon.client();
    in_container(&daemon, &["touch", "/workspace/go-1"]).await;
    let (text, end) = client.events(&id, 0).await.turn(1).await;
    assert_eq!((text.as_str(), &end["status"]), ("at-last", &json!("done")));
    assert_eq!(record(&client, &id).await["attempts"], 1);
    until("one process", async || {
        let agents = daemon.processes().iter().filter(|line| line.starts_with("/bin/wharf-demo-agent")).count();
        so(agents == 1, agents)
    })
    .await;
}
