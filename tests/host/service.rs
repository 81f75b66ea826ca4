//! A tether that is a service of its own, as another user where the tests may become one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::{
    place::{NO_ENGINE, ask, is_alive},
    support::{Client, Daemon, so, until},
};

/// Whoever has the number; nobody's files are this one's.
const OTHER: u32 = 65534;

/// `wharf host`, as a service manager would run it.
struct Service {
    dir: TempDir,
    child: Child,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("others may pass");
        // A service's user need not see where the tests were built.
        let program = dir.path().join("wharf");
        fs::hard_link(env!("CARGO_BIN_EXE_wharf"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_wharf"), &program).map(drop))
            .expect("the program");
        for own in ["state", "runtime"] {
            let own = dir.path().join(own);
            fs::create_dir(&own).expect("a directory");
            if getuid().is_root() {
                std::os::unix::fs::chown(&own, Some(OTHER), Some(OTHER)).expect("it is given away");
            }
        }
        let child = Self::spawn(dir.path());
        Self { dir, child }
    }

    fn spawn(dir: &Path) -> Child {
        let mut command = as_user(if getuid().is_root() { Some(OTHER) } else { None });
        command.arg(dir.join("wharf")).arg("host").arg("--for").arg(getuid().as_raw().to_string());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", dir.join("state"));
        command.env("STATE_DIRECTORY", dir.join("state")).env("RUNTIME_DIRECTORY", dir.join("runtime"));
        command.stdin(Stdio::null()).spawn().expect("it starts")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("runtime/tether.sock")
    }

    fn end(&mut self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let _ = self.child.wait();
    }

    async fn listens(&self) {
        until("the service listens", async || so(self.socket().exists(), "no socket")).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // In order: it ends what it holds.
        self.end(Signal::TERM);
    }
}

/// `setpriv` where it is to be another user.
fn as_user(uid: Option<u32>) -> Command {
    let Some(uid) = uid else { return Command::new("env") };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
    command
}

async fn daemon(service: &Service) -> Daemon {
    let config = format!("{NO_ENGINE}[host]\nenabled = true\nsocket = {:?}\n", service.socket());
    Daemon::start_with(&[], Some(&config)).await
}

async fn session(client: &Client, key: &str) -> String {
    ask(client, json!({ "key": key })).await.expect(201)["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_service_are_its_user_s_and_outlive_the_daemon() {
    let service = Service::start();
    service.listens().await;
    let mut daemon = daemon(&service).await;
    let id = session(&daemon.client(), "host:service").await;
    let uid = if getuid().is_root() { OTHER } else { getuid().as_raw() };
    let (text, _) = daemon.client().turn(&id, "run id -u; echo $$ > pid; pwd").await;
    assert!(text.contains(&uid.to_string()) && text.contains("state/work"), "{text}");
    let mut events = daemon.client().events(&id, 0).await;
    let n = daemon.client().prompt(&id, "slow 30").await;
    events.until(|e| e.chunk().is_some_and(|text| text.contains("chunk 3"))).await;
    daemon.kill();
    daemon.start_again().await;
    let (text, end) = daemon.client().events(&id, 0).await.turn(n).await;
    assert_eq!(super::place::counted(&text), (1..=30).collect::<Vec<_>>());
    assert_eq!(end["stop_reason"], "end_turn");
    let left = daemon.client().turn(&id, "run (setsid sh -c 'echo $$ > left; exec sleep 3600' >/dev/null 2>&1 &); while [ ! -s left ]; do sleep 0.01; done; cat left").await.0;
    let left: i32 = left.split_whitespace().find_map(|word| word.parse().ok()).expect("a pid");
    let stopped = daemon.client().post("/v1/workspaces/host/stop", json!({})).await.expect(200);
    assert_eq!(stopped["status"], "stopped");
    assert!(!is_alive(left), "a stop is proven");
    assert!(is_alive(Pid::from_child(&service.child).as_raw_nonzero().get()), "the service is not the daemon's to end");
    assert!(daemon.client().turn(&id, "recall").await.0.contains("slow 30"));
    daemon.client().delete("/v1/workspaces/host").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_waited_for() {
    let mut service = Service::start();
    service.listens().await;
    let daemon = daemon(&service).await;
    let client = daemon.client();
    let id = session(&client, "host:away").await;
    client.turn(&id, "echo before").await;
    let agent = client.turn(&id, "run echo $PPID").await.0;
    let agent: i32 = agent.split_whitespace().find_map(|word| word.parse().ok()).expect("a pid");
    service.end(Signal::KILL);
    until("the agent is gone with it", async || so(!is_alive(agent), agent)).await;
    until("the daemon has seen it go", async || {
        let view = client.get("/v1/workspaces/host").await.expect(200);
        so(view["status"] == "stopped", view)
    })
    .await;
    let refused = ask(&client, json!({})).await;
    assert!(refused.json["detail"].as_str().expect("words").contains("wharf-host"), "{:#}", refused.json);
    assert_eq!(refused.problem(503), "host_unreachable");
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    let n = client.prompt(&id, "recall").await;
    service.child = Service::spawn(service.dir.path());
    let (text, end) = events.turn(n).await;
    assert!(text.contains("echo before"), "{text} {end:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_connect() {
    if !getuid().is_root() {
        eprintln!("not root: nobody else can be tried");
        return;
    }
    let service = Service::start();
    service.listens().await;
    let tether = service.dir.path().join("connect");
    fs::write(&tether, wharf::embedded::TETHER).expect("the program");
    fs::set_permissions(&tether, fs::Permissions::from_mode(0o755)).expect("it can be run");
    let mut command = as_user(Some(12_345));
    command.arg(&tether).arg("connect").arg("--socket").arg(service.socket());
    // An input that stays open: `connect` ends with the first of its two sides that does.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let _input = child.stdin.take();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut child.stdout.take().expect("its output"), &mut said).expect("it ends");
    child.wait().expect("it has ended");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("user 12345 may not connect"), "{said}");
}
