//! The demo agent as a real process, driven through the adapter.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use wharf::agent::adapter::{Adapter, Output, StartOptions};

use crate::script::{catalogue, options, render};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, written once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &PROGRAM
        .get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("wharf-demo-agent");
            std::fs::write(&path, wharf::embedded::DEMO_AGENT).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            (directory, path)
        })
        .1
}

/// A running demo agent and its adapter.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    reader: Option<JoinHandle<()>>,
    adapter: Box<dyn Adapter>,
    said: Vec<Output>,
}

impl Agent {
    fn start(home: &Path, options: &StartOptions) -> Self {
        let mut command = Command::new(program());
        command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
        // Another test's fork may still hold the program open for writing for a moment: ETXTBSY.
        let deadline = Instant::now() + PATIENCE;
        let mut child = loop {
            match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                child => break child.unwrap(),
            }
        };
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut rest = stdout.lines();
            while let Some(Ok(line)) = rest.next() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let adapter = catalogue().get("demo").unwrap().adapter();
        let mut agent = Self { child, stdin, lines, reader: Some(reader), adapter, said: Vec::new() };
        let outputs = agent.adapter.start(options);
        agent.take(outputs);
        agent
    }

    fn ready(home: &Path, options: &StartOptions) -> Self {
        let mut agent = Self::start(home, options);
        agent.until(|output| matches!(output, Output::Ready));
        agent
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            render(&output);
            if let Output::Send(text) = &output {
                self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
            }
            self.said.push(output);
        }
    }

    /// Reads on until an output is there that was not there before the last call.
    fn until(&mut self, wanted: impl Fn(&Output) -> bool) -> String {
        let mut at = 0;
        loop {
            if let Some(found) = self.said[at..].iter().find(|output| wanted(output)) {
                let found = render(found);
                return found;
            }
            at = self.said.len();
            let line = self.lines.recv_timeout(PATIENCE).expect("the agent says something");
            let outputs = self.adapter.receive(line.as_bytes());
            self.take(outputs);
        }
    }

    fn prompt(&mut self, text: &str) {
        self.said.clear();
        let outputs = self.adapter.prompt(&[json!({"type": "text", "text": text})]);
        self.take(outputs);
    }

    fn cancel(&mut self) {
        let outputs = self.adapter.cancel();
        self.take(outputs);
    }

    /// Runs a prompt to its end; tells what was said and how it ended.
    fn turn(&mut self, text: &str) -> (String, String) {
        self.prompt(text);
        self.end()
    }

    fn end(&mut self) -> (String, String) {
        let end = self.until(|output| matches!(output, Output::TurnEnded(_)));
        let end = end.strip_prefix("turn ended: ").unwrap();
        (self.text("agent_message_chunk"), end.split(" usage").next().unwrap().to_owned())
    }

    fn updates(&self) -> Vec<Value> {
        let raw = self.said.iter().filter_map(|output| if let Output::Update(raw) = output { Some(raw) } else { None });
        raw.map(|raw| serde_json::from_str(raw.get()).unwrap()).collect()
    }

    fn text(&self, kind: &str) -> String {
        let updates = self.updates();
        let chunks = updates.iter().filter(|update| update["sessionUpdate"] == kind);
        chunks.filter_map(|update| update["content"]["text"].as_str()).collect()
    }

    fn statuses(&self) -> Vec<String> {
        self.updates().iter().filter_map(|update| update["status"].as_str().map(str::to_owned)).collect()
    }

    fn linked(&self) -> String {
        let id = self.said.iter().find_map(|output| match output {
            Output::Linked { agent_session_id } => Some(agent_session_id.clone()),
            _ => None,
        });
        id.unwrap()
    }

    fn permission(&mut self, option: &str) {
        let asked = self.until(|output| matches!(output, Output::PermissionRequested { .. }));
        let id = asked.split(' ').nth(1).unwrap().to_owned();
        let outputs = self.adapter.answer_permission(&id, option);
        assert_eq!(outputs.len(), 1);
        self.take(outputs);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdin = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(reason: &str, said: &str) -> (String, String) {
    (said.to_owned(), reason.to_owned())
}

#[test]
fn each_verb() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::ready(home.path(), &StartOptions { cwd: "/".into(), ..options(None) });
    assert_eq!(agent.turn("echo héllo"), end("end_turn", "héllo"));
    assert_eq!(agent.turn("what else"), end("end_turn", "what else"));
    assert_eq!(agent.turn("slow 3"), end("end_turn", "chunk 1 chunk 2 chunk 3 "));
    assert_eq!(agent.turn("burst 3"), end("end_turn", "chunk 1 chunk 2 chunk 3 "));
    assert_eq!(agent.turn("think of it"), end("end_turn", "of it"));
    assert_eq!(agent.text("agent_thought_chunk"), "thinking about of it");
    assert_eq!(agent.turn("run pwd; echo e >&2"), end("end_turn", "/\ne\n"));
    assert_eq!(agent.statuses(), ["pending", "in_progress", "completed"]);
    assert_eq!(agent.turn("run exit 3"), end("end_turn", ""));
    assert_eq!(agent.statuses(), ["pending", "in_progress", "failed"]);
    assert_eq!(agent.turn("model?"), end("end_turn", "demo-1"));
    let (said, _) = agent.turn("big 100000");
    assert_eq!((said.len(), said.lines().count()), (100_000, 6250));
    agent.prompt("fail");
    let failed = agent.until(|output| matches!(output, Output::TurnEnded(_)));
    assert!(failed.ends_with("error=the prompt asked for a failure: {\"status\":500} (Some(500))"), "{failed}");
    assert_eq!(agent.turn("echo still here"), end("end_turn", "still here"));
    agent.prompt("exit 7");
    assert_eq!(agent.child.wait().unwrap().code(), Some(7));
}

#[test]
fn permissions_once_for_ever_and_never() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::ready(home.path(), &options(None));
    agent.prompt("ask echo a");
    agent.permission("once");
    // The working directory of the options does not exist here: that shows as a failed call.
    let (said, reason) = agent.end();
    assert!(said.contains("could not be started") && reason == "end_turn", "{said}");
    let mut agent = Agent::ready(home.path(), &StartOptions { cwd: "/".into(), ..options(None) });
    agent.prompt("ask echo a");
    agent.permission("reject");
    assert_eq!(agent.end(), end("end_turn", "rejected"));
    agent.prompt("ask echo b");
    agent.permission("always");
    assert_eq!(agent.end(), end("end_turn", "b\n"));
    assert_eq!(agent.turn("ask echo c"), end("end_turn", "c\n"));
}

/// Whether a process ends. A killed one may need a moment to die, and nobody here is told when an orphan has.
fn gone(pid: &str) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") || stat.contains(") X") {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_ends_what_runs_with_all_its_processes() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::ready(home.path(), &StartOptions { cwd: "/".into(), ..options(None) });
    agent.prompt("slow 600");
    agent.until(|output| render(output).contains("chunk 1 "));
    agent.cancel();
    assert_eq!(agent.end().1, "cancelled");

    let pids = home.path().join("pids");
    assert!(Command::new("mkfifo").arg(&pids).status().unwrap().success());
    agent.prompt(&format!("run sleep 600 & echo $! $$ > {}; wait", pids.display()));
    // Opening the pipe waits for the command to write to it.
    let text = std::fs::read_to_string(&pids).unwrap();
    agent.cancel();
    assert_eq!(agent.end().1, "cancelled");
    assert_eq!(agent.statuses(), ["pending", "in_progress", "failed"]);
    for pid in text.split_whitespace() {
        assert!(gone(pid), "{pid} is still there");
    }

    agent.prompt("ask echo x");
    agent.until(|output| matches!(output, Output::PermissionRequested { .. }));
    agent.cancel();
    assert_eq!(agent.end().1, "cancelled");
    assert_eq!(agent.turn("echo on"), end("end_turn", "on"));
}

#[test]
fn a_killed_agent_remembers_when_it_is_resumed() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::ready(home.path(), &options(None));
    let id = agent.linked();
    agent.turn("echo one");
    agent.adapter.set_model("demo-2").map(|outputs| agent.take(outputs)).unwrap();
    agent.adapter.set_mode("plan").map(|outputs| agent.take(outputs)).unwrap();
    agent.prompt("slow 600");
    agent.until(|output| render(output).contains("chunk 1 "));
    agent.kill();
    let mut agent = Agent::ready(home.path(), &options(Some(&id)));
    assert!(agent.updates().iter().all(|update| update["sessionUpdate"] != "user_message_chunk"));
    assert_eq!(agent.turn("recall"), end("end_turn", "echo one\nslow 600"));
    assert_eq!(agent.turn("model?"), end("end_turn", "demo-2"));
    assert_eq!(agent.turn("mode?"), end("end_turn", "plan"));
    assert!(agent.adapter.set_model("gpt").unwrap_err().0.contains("demo-1, demo-2, demo-3"));
    agent.kill();
    let wanted = StartOptions { model: Some("demo-3".into()), mode: Some("build".into()), ..options(Some(&id)) };
    let mut agent = Agent::ready(home.path(), &wanted);
    assert_eq!(agent.turn("model?").0 + &agent.turn("mode?").0, "demo-3build");
}

#[test]
fn an_unknown_session_is_not_resumed() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(home.path(), &options(Some("demo-gone")));
    let failed = agent.until(|output| matches!(output, Output::ResumeFailed { .. }));
    assert_eq!(failed, "resume failed: no session demo-gone");
}

#[test]
fn another_daemon_goes_on_in_the_middle_of_a_turn() {
    let home = tempfile::tempdir().unwrap();
    let mut agent = Agent::ready(home.path(), &options(None));
    agent.prompt("slow 5");
    agent.until(|output| render(output).contains("chunk 2 "));
    let state = agent.adapter.state();
    agent.adapter = catalogue().restore("demo", &state).unwrap();
    assert_eq!(agent.end(), end("end_turn", "chunk 1 chunk 2 chunk 3 chunk 4 chunk 5 "));
}
