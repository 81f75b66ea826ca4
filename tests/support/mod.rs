//! What the integration tests share: a real daemon in a directory of its own, a client, and the cleaning up.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses a part of it")]

mod client;
mod contract;
mod engine;
mod events;
mod model;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use client::{Answer, Client};
pub use engine::{TetherVolumes, clean, docker, docker_ok};
pub use events::{Event, Events};
pub use model::Model;
use tempfile::TempDir;

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again at something that no event tells of, until it is so; panics with what it was last.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what} does not come, but {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `Ok` where something is so, else what is there instead.
pub fn so(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// A daemon under test; dropped, it takes its containers and volumes with it.
pub struct Daemon {
    dir: Option<TempDir>,
    state: PathBuf,
    child: Option<Child>,
    env: Vec<(String, String)>,
    config: Option<String>,
    /// The program and its arguments that start it, where it is not started directly.
    under: Vec<String>,
    /// How much of the log is of daemons before this one.
    logged: usize,
    /// Dropped last of all, when its containers are gone.
    tether: TetherVolumes,
}

impl Daemon {
    /// A new one in a directory of its own, ready.
    pub async fn start() -> Self {
        Self::start_with(&[], None).await
    }

    /// A new one with more environment and a configuration file, ready.
    pub async fn start_with(env: &[(&str, &str)], config: Option<&str>) -> Self {
        let mut daemon = Self::prepared(env, config);
        daemon.spawn();
        daemon.answers().await;
        daemon
    }

    /// A directory for one, nothing started.
    pub fn prepared(env: &[(&str, &str)], config: Option<&str>) -> Self {
        let dir = tempfile::Builder::new().prefix("wharf-test-").tempdir().expect("a directory");
        let state = dir.path().join("state");
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (config, tether) = (config.map(str::to_owned), TetherVolumes::hold());
        Self { dir: Some(dir), state, child: None, env, config, under: Vec::new(), logged: 0, tether }
    }

    /// The same in a directory of the caller's, which outlives it: the state is in `state` below it.
    pub fn prepared_in(dir: &Path, config: Option<&str>) -> Self {
        let (config, tether) = (config.map(str::to_owned), TetherVolumes::hold());
        Self {
            dir: None,
            state: dir.join("state"),
            child: None,
            env: Vec::new(),
            config,
            under: Vec::new(),
            logged: 0,
            tether,
        }
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.state.parent().expect("it is in the test's directory").join("wharf.sock")
    }

    /// Where the daemon's log goes.
    pub fn log(&self) -> PathBuf {
        self.state.parent().expect("it is in the test's directory").join("log")
    }

    /// The program with the flags that make it this daemon.
    pub fn command(&self) -> Command {
        let mut words = self.under.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_wharf")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg("daemon").arg("--state-dir").arg(&self.state).arg("--socket").arg(self.socket());
        command.arg("--listen").arg("127.0.0.1:0");
        for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "WHARF_HOST", "WHARF_TOKEN"] {
            command.env_remove(name);
        }
        if let Some(config) = &self.config {
            let file = self.state.parent().expect("it is in the test's directory").join("wharf.toml");
            std::fs::write(&file, config).expect("the configuration is written");
            command.arg("--config").arg(file);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        command
    }

    /// The program and its arguments that start it from now on; it has to become the daemon itself.
    pub fn run_under(&mut self, under: Vec<String>) {
        self.under = under;
    }

    /// What its configuration file says from its next start on.
    pub fn configure(&mut self, config: &str) {
        self.config = Some(config.to_owned());
    }

    /// What its configuration file says.
    pub fn configuration(&self) -> Option<String> {
        self.config.clone()
    }

    /// More of its environment, or less, from its next start on.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(known, _)| known != name);
        self.env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Whether it has ended by itself; it may then be started again.
    pub fn ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_some_and(|child| child.try_wait().expect("its state").is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// Starts the program; it need not answer yet.
    pub fn spawn(&mut self) {
        self.spawn_as(self.command());
    }

    /// Starts the program such that a write beyond a limit on the size of files is refused instead of ending it: the
    /// shell ignores the signal, and what it becomes goes on ignoring it.
    pub fn spawn_ignoring_limits(&mut self) {
        let plain = self.command();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.spawn_as(command);
    }

    fn spawn_as(&mut self, mut command: Command) {
        self.logged = self.log_text().len();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("the daemon starts"));
    }

    /// Waits until it answers.
    pub async fn answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let client = self.client();
        loop {
            // It serves before it has looked at all sessions; what it listens on is told after that.
            let ready = self.log_text()[self.logged..].contains("wharf is ready");
            if ready && client.try_get("/healthz").await.is_ok_and(|a| a.status == 200) {
                return;
            }
            if let Some(ended) = self.child.as_mut().and_then(|c| c.try_wait().expect("its state")) {
                panic!("the daemon ended with {ended}:\n{}", self.log_text());
            }
            assert!(Instant::now() < deadline, "the daemon does not answer:\n{}", self.log_text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Whether it was started and not ended since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is told");
        let ended = child.wait().expect("it ends");
        assert!(ended.success(), "the daemon ended with {ended}:\n{}", self.log_text());
    }

    /// Starts it again on the same state.
    pub async fn start_again(&mut self) {
        self.spawn();
        self.answers().await;
    }

    /// A client over its socket.
    pub fn client(&self) -> Client {
        Client::unix(&self.socket())
    }

    /// The address of its TCP listener, from its log.
    pub fn tcp(&self) -> String {
        let log = self.log_text();
        let at = log.rfind("http://127.0.0.1:").expect("it listens on TCP");
        log[at..].split(|c: char| c.is_whitespace() || c == '"').next().expect("an address").to_owned()
    }

    /// Its token.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.state.join("token")).expect("a token").trim().to_owned()
    }

    /// Its label in the engine.
    pub fn instance(&self) -> String {
        let text = std::fs::read_to_string(self.state.join("store.json")).expect("a store");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["instance"].as_str().expect("an instance").to_owned()
    }

    /// The names of its containers.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=wharf.instance={}", self.instance());
        docker_ok(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    /// The names of its volumes, that with tether left out.
    pub fn volumes(&self) -> Vec<String> {
        let filter = format!("label=wharf.instance={}", self.instance());
        docker_ok(&["volume", "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    /// What runs in its only container, a command line each.
    pub fn processes(&self) -> Vec<String> {
        assert_eq!(self.containers().len(), 1, "one container");
        self.processes_of(0)
    }

    /// What runs in one of its containers, the newest first.
    pub fn processes_of(&self, n: usize) -> Vec<String> {
        let ps = docker_ok(&["exec", &self.containers()[n], "/bin/busybox", "ps", "-o", "args"]);
        ps.lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.starts_with("/bin/busybox ps"))
            .collect()
    }
}

impl Daemon {
    /// Waits for workspaces that are being started: the engine would finish a container that it was asked for after
    /// everything was cleaned up.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let host = format!("unix://{}", self.socket().display());
        let starting = || {
            let args = ["--host", &host, "ls", "--status", "starting", "--quiet"];
            let output = Command::new(env!("CARGO_BIN_EXE_wharf")).args(args).output();
            output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
        };
        while starting() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() && !std::thread::panicking() {
            self.settle();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log_text());
        }
        if self.state.join("store.json").exists() {
            clean(&self.instance());
        }
        drop(self.dir.take());
    }
}
