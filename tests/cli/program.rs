//! Runs `wharf` as a person or a script would.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::support::{Daemon, PATIENCE};

/// The program, told where the daemon is.
#[derive(Clone)]
pub(crate) struct Wharf {
    host: String,
    token: Option<String>,
}

/// What a run of it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Its output, which must have come with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:#?}");
        self.out
    }

    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.expect(0);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

impl Wharf {
    /// For a daemon's socket.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self::at(&format!("unix://{}", daemon.socket().display()), None)
    }

    /// For an address and a token.
    pub(crate) fn at(host: &str, token: Option<&str>) -> Self {
        Self { host: host.to_owned(), token: token.map(str::to_owned) }
    }

    /// A command of it, in an environment of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.args(args).env_clear().env("WHARF_HOST", &self.host).env("HOME", "/nonexistent");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(token) = &self.token {
            command.env("WHARF_TOKEN", token);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Said {
        Running::start(self.command(args)).end().await
    }

    /// Runs it to its end with this on its standard input.
    pub(crate) async fn fed(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let mut stdin = running.child.stdin.take().expect("its input");
        stdin.write_all(input.as_bytes()).await.expect("it reads");
        drop(stdin);
        running.end().await
    }
}

/// A run that is under way.
pub(crate) struct Running {
    child: Child,
    stdout: ChildStdout,
    stderr: ChildStderr,
    out: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let (stdout, stderr) = (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
        Self { child, stdout, stderr, out: String::new() }
    }

    /// Reads its output until it holds this.
    pub(crate) async fn until(&mut self, text: &str) {
        let read = async {
            let mut buffer = [0; 4096];
            while !self.out.contains(text) {
                let n = self.stdout.read(&mut buffer).await.expect("its output");
                assert!(n > 0, "it ended without {text:?}: {}", self.out);
                self.out.push_str(std::str::from_utf8(&buffer[..n]).expect("UTF-8"));
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("said in time");
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is told");
    }

    /// Waits for something on its standard error.
    pub(crate) async fn warned(&mut self, text: &str) -> String {
        let mut said = String::new();
        let read = async {
            let mut buffer = [0; 4096];
            while !said.contains(text) {
                let n = self.stderr.read(&mut buffer).await.expect("its errors");
                assert!(n > 0, "it ended without {text:?}: {said}");
                said.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("said in time");
        said
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Said {
        let (mut more, mut err) = (String::new(), String::new());
        let all = async {
            let (out, errors, status) = tokio::join!(
                self.stdout.read_to_string(&mut more),
                self.stderr.read_to_string(&mut err),
                self.child.wait()
            );
            out.and(errors).expect("UTF-8");
            status.expect("its status")
        };
        let status = tokio::time::timeout(PATIENCE, all).await.expect("it ends in time");
        Said { code: status.code().unwrap_or(-1), out: self.out + &more, err }
    }
}
