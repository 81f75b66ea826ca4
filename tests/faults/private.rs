//! An engine of the tests' own: its data, its socket and its processes go with it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const UNTIL_UP: Duration = Duration::from_secs(60);

/// A `dockerd` beside the machine's.
pub struct PrivateEngine {
    dir: TempDir,
    child: Option<Child>,
    live_restore: bool,
    /// The program that it is started by, with its arguments.
    under: Vec<String>,
    /// Where it listens beside its socket.
    tcp: Option<String>,
}

impl PrivateEngine {
    /// Starts one and gives it the demo image. It needs root, as any engine does.
    pub fn start(live_restore: bool) -> Result<Self, String> {
        // In a network of its own: one without a bridge removes that of the machine's engine where it sees it.
        Self::start_under(live_restore, vec!["unshare".to_owned(), "--net".to_owned()], None)
    }

    /// The same, in a network that is there, listening there too.
    pub fn start_under(live_restore: bool, under: Vec<String>, tcp: Option<String>) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("an engine of the tests' own needs root: sudo make faults".to_owned());
        }
        let dir = tempfile::Builder::new().prefix("wharf-engine-").tempdir().map_err(|e| e.to_string())?;
        let mut engine = Self { dir, child: None, live_restore, under, tcp };
        engine.spawn()?;
        let save = Command::new("docker").args(["save", "wharf/demo:latest"]).stdout(Stdio::piped()).spawn();
        let mut save = save.map_err(|e| e.to_string())?;
        let pipe = save.stdout.take().ok_or("no pipe")?;
        let loaded = Command::new("docker").env("DOCKER_HOST", engine.host()).arg("load").stdin(pipe).output();
        save.wait().map_err(|e| e.to_string())?;
        match loaded {
            Ok(loaded) if loaded.status.success() => Ok(engine),
            other => Err(format!("the demo image can't be loaded: {other:?}")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its address.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Starts the program on its data and waits until it answers.
    pub fn spawn(&mut self) -> Result<(), String> {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).map_err(|e| e.to_string())?;
        // A pid file of one that was killed keeps the next from starting, where its number is in use again or nobody has
        // buried it yet; and its containerd was killed with it.
        for name in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        let mut words = self.under.iter().map(String::as_str).chain(["dockerd"]);
        let mut command = Command::new(words.next().ok_or("no program")?);
        command.args(words).arg("--host").arg(self.host());
        if let Some(address) = &self.tcp {
            command.args(["--tls=false", "--host", address]);
        }
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(self.path(name));
        }
        command.args([
            "--bridge",
            "none",
            "--iptables=false",
            "--ip-forward=false",
            "--containerd-namespace",
            "wharf-tests",
        ]);
        command.arg(format!("--live-restore={}", self.live_restore));
        let out = log.try_clone().map_err(|e| e.to_string())?;
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().map_err(|e| format!("dockerd: {e}"))?;
        self.child = Some(child);
        let deadline = Instant::now() + UNTIL_UP;
        while Instant::now() < deadline {
            let answered = Command::new("docker").env("DOCKER_HOST", self.host()).arg("version").output();
            if answered.is_ok_and(|answered| answered.status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("it does not come up:\n{}", tail(&self.path("log"))))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order; without live-restore its containers end with it.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }

    /// Kills what holds one of its containers, as a crash of the runtime would; whether there was one.
    pub fn kill_shim(&self, container: &str) -> bool {
        pids(&["-f", &format!("containerd-shim.* -id {container}")])
            .into_iter()
            .any(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok())
    }
}

/// The processes that `pgrep` finds.
fn pids(args: &[&str]) -> Vec<rustix::process::Pid> {
    let found = Command::new("pgrep").args(args).output().map(|found| found.stdout).unwrap_or_default();
    let numbers = String::from_utf8_lossy(&found).lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>();
    numbers.into_iter().filter_map(rustix::process::Pid::from_raw).collect()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.child.is_none() && self.spawn().is_err() {
            eprintln!("the engine of the tests can't be started to clean up; look into {}", self.dir.path().display());
        }
        let docker = |args: &[&str]| Command::new("docker").env("DOCKER_HOST", self.host()).args(args).output();
        if let Ok(all) = docker(&["ps", "-aq"]) {
            for id in String::from_utf8_lossy(&all.stdout).lines() {
                let _ = docker(&["rm", "--force", "--volumes", id]);
            }
        }
        self.terminate();
        // What it was killed in the middle of starting it does not know; that has its directory in its command line.
        let exec = self.path("exec");
        for shim in pids(&["-f", &format!("containerd-shim.* -address {}", exec.display())]) {
            let children = pids(&["-P", &shim.as_raw_nonzero().to_string()]);
            for pid in children.into_iter().chain([shim]) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // What it mounted for itself would keep its directory.
        for name in ["data", "exec"] {
            let path = self.path(name);
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let below = |line: &&str| line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(&path));
            for at in mounts.lines().filter(below).filter_map(|line| line.split(' ').nth(1)) {
                let _ = Command::new("umount").arg("--lazy").arg(at).output();
            }
        }
    }
}
