//! What the tests share: a daemon that has the host enabled and no engine, and a look at what runs of it.

use std::{fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Client, Daemon, so, until};

/// No engine answers there: none is needed.
pub(crate) const NO_ENGINE: &str = "engine = \"unix:///nowhere/engine.sock\"\n";

/// A daemon whose host is enabled; dropped, it takes everything that runs of it along.
pub(crate) struct Host {
    pub(crate) daemon: Daemon,
}

/// A process, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) line: String,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], "").await
    }

    /// With more environment, and more of the configuration.
    pub(crate) async fn start_with(env: &[(&str, &str)], more: &str) -> Self {
        let config = format!("{NO_ENGINE}{more}\n[host]\nenabled = true\n");
        Self { daemon: Daemon::start_with(env, Some(&config)).await }
    }

    pub(crate) fn client(&self) -> Client {
        self.daemon.client()
    }

    /// What is wharf's on the host.
    pub(crate) fn state(&self) -> PathBuf {
        self.daemon.state().join("host")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.state().join("work")
    }

    /// All that runs of it: by its program, or by the variable that its processes have.
    pub(crate) fn running(&self) -> Vec<Running> {
        let own = self.state();
        let mark = format!("WHARF_TETHER={}", own.join("tether").display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(&own));
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if ours || environment.split(|&b| b == 0).any(|variable| variable == mark.as_bytes()) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                // What has no command line has ended.
                found.extend((!line.is_empty()).then_some(Running { pid, line }));
            }
        }
        found
    }

    /// Those whose command line begins or goes on like this.
    pub(crate) fn that(&self, what: &str) -> Vec<Running> {
        self.running().into_iter().filter(|process| process.line.contains(what)).collect()
    }

    /// The pid of the tether.
    pub(crate) fn tether(&self) -> i32 {
        let all = self.that(" serve ");
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].pid
    }

    /// Waits until nothing of it runs.
    pub(crate) async fn at_rest(&self) {
        let look = async || {
            let running = self.running();
            so(running.is_empty(), running)
        };
        until("nothing of the host runs", look).await;
    }

    /// A session on the host; its id.
    pub(crate) async fn session(&self, key: &str) -> String {
        let session = ask(&self.client(), json!({ "key": key })).await.expect(201);
        session["id"].as_str().expect("an id").to_owned()
    }

    /// The host as a workspace.
    pub(crate) async fn view(&self) -> Value {
        self.client().get("/v1/workspaces/host").await.expect(200)
    }
}

/// Asks for a session of the demo agent on the host.
pub(crate) async fn ask(client: &Client, more: Value) -> super::support::Answer {
    let mut body = json!({ "agent": "demo", "workspace": "host" });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client.post("/v1/sessions", body).await
}

impl Drop for Host {
    fn drop(&mut self) {
        // The daemon first: it would look after what goes.
        if !std::thread::panicking() && self.daemon.is_running() {
            self.daemon.stop();
        } else if self.daemon.is_running() {
            self.daemon.kill();
        }
        while let Some(process) = self.running().first() {
            kill(process.pid);
        }
    }
}

/// Ends one at once.
pub(crate) fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
}

/// Whether something of this pid can still run.
pub(crate) fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().expect("fields").trim_start().starts_with('Z')
}

/// The numbers of the chunks that `slow N` gives, from a text.
pub(crate) fn counted(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
