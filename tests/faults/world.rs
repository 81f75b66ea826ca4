//! A daemon, its sessions and their load; faults are injected while they work.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::watch;

use super::{
    api::{Api, PATIENCE, until},
    books::{self, Cost},
    driven::{Driven, Load},
    ledger::{Checked, Ledger},
    support::Daemon,
};

/// What no disk, log or inspection may hold in clear.
pub const SECRET: &str = "hunter2-of-the-faults";

/// A daemon with sessions under load.
pub struct World {
    pub daemon: Daemon,
    pub api: Api,
    pub sessions: Vec<Driven>,
    pub rng: fastrand::Rng,
    /// The engine, where it is not the machine's.
    pub engine: Option<String>,
    load: Load,
    /// Workspaces with a name, which outlive their sessions.
    named: Vec<&'static str>,
    /// Faults since the last check of the books.
    faults: u64,
    /// Everything that was checked so far.
    all: Checked,
}

impl World {
    /// A daemon with this configuration and these sessions: two in a workspace that they share, one in its own.
    pub async fn make(seed: u64, env: &[(&str, &str)], config: &str, load: Load) -> Result<Self, String> {
        let daemon = Daemon::start_with(env, Some(config)).await;
        let engine = env.iter().find(|(name, _)| *name == "DOCKER_HOST").map(|(_, host)| (*host).to_owned());
        Self::around(seed, daemon, engine, load).await
    }

    /// The same, around a daemon that is ready.
    pub async fn around(seed: u64, daemon: Daemon, engine: Option<String>, load: Load) -> Result<Self, String> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let api = Api::new(&daemon.socket());
        let spec = json!({ "name": "shared", "image": "wharf/demo:latest" });
        match api.call("POST", "/v1/workspaces", Some(&spec), None).await? {
            (200 | 201, _) => {}
            other => return Err(format!("no workspace: {other:?}")),
        }
        let secrets = BTreeMap::from([("FAULTS_TOKEN", SECRET)]);
        let mut sessions = Vec::new();
        for (name, workspace) in [("s1", Some("shared")), ("s2", Some("shared")), ("s3", None)] {
            sessions.push(Driven::make(&api, name, workspace, &secrets, rng.u64(..)).await?);
        }
        let named = vec!["shared"];
        Ok(Self { daemon, api, sessions, rng, engine, load, named, faults: 0, all: Checked::default() })
    }

    /// Around a daemon that is ready and its sessions, each with a workspace of its own.
    pub fn of(seed: u64, daemon: Daemon, sessions: Vec<Driven>) -> Self {
        let (api, rng) = (Api::new(&daemon.socket()), fastrand::Rng::with_seed(seed));
        let load = Load { burst: 1, cancels: false };
        Self { daemon, api, sessions, rng, engine: None, load, named: Vec::new(), faults: 0, all: Checked::default() }
    }

    /// Notes a fault that was just injected.
    pub fn fault(&mut self, kind: &str, ledger: &mut Ledger) {
        self.faults += 1;
        ledger.fault(kind);
    }

    /// Puts all sessions under load while the faults happen; a fault answers what to call itself.
    pub async fn storm(&mut self, ledger: &mut Ledger, faults: impl AsyncFnOnce(&mut Storm<'_>)) {
        let (stop, stopped) = watch::channel(false);
        let (load, api) = (self.load, self.api.clone());
        let mut storm =
            Storm { daemon: &mut self.daemon, rng: &mut self.rng, ledger, engine: self.engine.clone(), api, count: 0 };
        let drivers = futures_util::future::join_all(self.sessions.iter_mut().map(|s| s.drive(load, stopped.clone())));
        let weather = async {
            faults(&mut storm).await;
            let _ = stop.send(true);
            storm.count
        };
        let (_, count) = futures_util::future::join(drivers, weather).await;
        self.faults += count;
    }

    /// Checks the books of all sessions.
    pub async fn check(&mut self, cost: Cost, ledger: &mut Ledger) {
        let mut sum = Checked { faults: std::mem::take(&mut self.faults), ..Checked::default() };
        for session in &mut self.sessions {
            let checked = books::check(session, cost, ledger).await;
            sum.prompts += checked.prompts;
            sum.events += checked.events;
        }
        self.all += sum;
        // Where turns may be lost, there is nothing to say of a turn or a request that should have gone on.
        let held: &[usize] = if cost == Cost::Nothing { &[1, 2, 3, 4, 5, 7, 8] } else { &[1, 2, 4, 5, 7] };
        ledger.checked(held, sum);
        self.nothing_runs_on(ledger).await;
        ledger.checked(&[6], sum);
    }

    /// Nothing that a turn started is there after it.
    async fn nothing_runs_on(&self, ledger: &mut Ledger) {
        for container in self.docker(&["ps", "-q", "--filter", &self.label()]).unwrap_or_default().lines() {
            let looked = until("the end of what turns started", async || {
                let top = match self.docker(&["top", container, "-eo", "pid,args"]) {
                    Ok(top) => top,
                    // It has gone to rest meanwhile.
                    Err(why) if why.contains("not running") || why.contains("No such container") => return Ok(()),
                    Err(why) => return Err(why),
                };
                let left: Vec<_> = top.lines().skip(1).filter(|line| line.contains("tok-")).collect();
                if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
            });
            if let Err(left) = looked.await {
                ledger.violated(6, left);
            }
        }
    }

    fn label(&self) -> String {
        format!("label=wharf.instance={}", self.daemon.instance())
    }

    /// The engine's command line.
    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        docker(self.engine.as_deref(), args)
    }

    /// The last checks: idle, secrets, leaks; everything is taken down.
    pub async fn end(mut self, ledger: &mut Ledger) {
        self.rests(ledger).await;
        self.keeps_secrets(ledger).await;
        for session in &self.sessions {
            let gone = self.api.call("DELETE", &format!("/v1/sessions/{}?purge=true", session.id), None, None).await;
            if !matches!(gone, Ok((200 | 202 | 204, _))) {
                ledger.violated(11, format!("{} is not deleted: {gone:?}", session.id));
            }
        }
        for name in &self.named {
            let gone = self.api.call("DELETE", &format!("/v1/workspaces/{name}"), None, None).await;
            if !matches!(gone, Ok((200 | 202 | 204, _))) {
                ledger.violated(11, format!("the workspace {name} is not deleted: {gone:?}"));
            }
        }
        let label = self.label();
        let left = until("the end of everything", async || {
            let containers = self.docker(&["ps", "-aq", "--filter", &label])?;
            let volumes = self.docker(&["volume", "ls", "-q", "--filter", &label])?;
            if containers.is_empty() && volumes.is_empty() { Ok(()) } else { Err(format!("{containers} {volumes}")) }
        });
        if let Err(left) = left.await {
            ledger.violated(11, left);
        }
        ledger.checked(&[9, 11, 12], self.all);
        self.sessions.clear();
    }

    /// Idle sessions cost no agent, no connection and no running container; and the next prompt wakes them.
    pub async fn rests(&mut self, ledger: &mut Ledger) {
        let config =
            self.daemon.configuration().unwrap_or_default().replace("idle_timeout = \"off\"", "idle_timeout = \"1s\"");
        self.daemon.stop();
        self.daemon.configure(&config);
        self.daemon.start_again().await;
        let label = self.label();
        let rests = until("the rest of all containers", async || {
            let running = self.docker(&["ps", "-q", "--filter", &label])?;
            if running.is_empty() { Ok(()) } else { Err(running) }
        });
        if let Err(left) = rests.await {
            ledger.violated(9, left);
        }
    }

    /// The secret is nowhere: on the disk, in the log, in the engine's records, in an event.
    async fn keeps_secrets(&self, ledger: &mut Ledger) {
        let inspected: String = self
            .docker(&["ps", "-aq", "--filter", &self.label()])
            .unwrap_or_default()
            .lines()
            .filter_map(|id| self.docker(&["inspect", id]).ok())
            .collect();
        if inspected.contains(SECRET) {
            ledger.violated(12, "the engine shows a session's secret");
        }
        let state = self.daemon.state().parent().expect("it is in the test's directory");
        let found = Command::new("grep").args(["-rlF", SECRET]).arg(state).output().expect("grep runs");
        if !found.stdout.is_empty() {
            ledger.violated(12, format!("a session's secret is in {}", String::from_utf8_lossy(&found.stdout)));
        }
    }
}

/// What a fault may touch while the sessions work.
pub struct Storm<'a> {
    pub daemon: &'a mut Daemon,
    pub rng: &'a mut fastrand::Rng,
    pub ledger: &'a mut Ledger,
    pub engine: Option<String>,
    pub api: Api,
    count: u64,
}

impl Storm<'_> {
    /// Notes a fault that was just injected.
    pub fn fault(&mut self, kind: &str) {
        self.count += 1;
        self.ledger.fault(kind);
    }

    /// Lets the load go on for a while, at random, so that the next fault hits anything.
    pub async fn blow(&mut self, most: Duration) {
        let micros = self.rng.u64(0..=most.as_micros() as u64);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    /// Waits until the daemon is gone by itself; whether it was.
    pub async fn dies(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience.min(PATIENCE);
        while Instant::now() < deadline {
            if self.daemon.ended() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }

    /// The engine's command line.
    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        docker(self.engine.as_deref(), args)
    }

    /// One of the running containers of this daemon.
    pub fn a_container(&mut self) -> Option<String> {
        let filter = format!("label=wharf.instance={}", self.daemon.instance());
        let running = self.docker(&["ps", "-q", "--filter", &filter, "--filter", "label=wharf.workspace"]).ok()?;
        let running: Vec<_> = running.lines().map(str::to_owned).collect();
        (!running.is_empty()).then(|| running[self.rng.usize(..running.len())].clone())
    }
}

fn docker(host: Option<&str>, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("docker");
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let output = command.args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
