//! The raw limit of everything that an agent does: the same demo agent on a bare pipe of the host.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// The demo agent's program and a home for it.
pub struct Program {
    path: PathBuf,
    home: PathBuf,
}

impl Program {
    /// The one that the daemon carries, as a file in `dir`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let (path, home) = (dir.join("demo-agent"), dir.join("home"));
        fs::write(&path, wharf::embedded::DEMO_AGENT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(&home)?;
        Ok(Self { path, home })
    }

    /// Starts it and leads it to where it takes a prompt.
    pub fn start(&self) -> io::Result<Agent> {
        let mut child = Command::new(&self.path)
            .env_clear()
            .env("HOME", &self.home)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = BufReader::with_capacity(64 * 1024, child.stdout.take().ok_or_else(missing)?);
        let mut agent = Agent { child, stdin, stdout, session: String::new(), requests: 0, line: Vec::new() };
        let client = json!({"protocolVersion": 1, "clientCapabilities": {}});
        agent.request("initialize", client)?;
        agent.answer()?;
        agent.request("session/new", json!({"cwd": "/", "mcpServers": []}))?;
        let opened = agent.answer()?;
        agent.session = opened["result"]["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(agent)
    }
}

/// An agent that takes prompts; dropped, it ends.
pub struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    session: String,
    requests: u64,
    line: Vec<u8>,
}

impl Agent {
    fn request(&mut self, method: &str, params: Value) -> io::Result<()> {
        self.requests += 1;
        let mut line = json!({"jsonrpc": "2.0", "id": self.requests, "method": method, "params": params}).to_string();
        line.push('\n');
        self.stdin.write_all(line.as_bytes())
    }

    /// The next line; an error where there is none.
    fn line(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        match self.stdout.read_until(b'\n', &mut self.line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(&self.line),
        }
    }

    fn answer(&mut self) -> io::Result<Value> {
        Ok(serde_json::from_slice(self.line()?)?)
    }

    /// Sends a prompt.
    pub fn prompt(&mut self, text: &str) -> io::Result<()> {
        let params = json!({"sessionId": self.session, "prompt": [{"type": "text", "text": text}]});
        self.request("session/prompt", params)
    }

    /// Reads the first message after a prompt.
    pub fn first(&mut self) -> io::Result<()> {
        self.line().map(drop)
    }

    /// Reads to the end of the turn; how many messages came.
    pub fn rest(&mut self) -> io::Result<u64> {
        let mut lines = 0;
        // Only an answer has its `id` or `result` so far ahead; updates begin with the method or their params.
        while !self.line()?.windows(12).take(64).any(|w| w == b"\"stopReason\"") {
            lines += 1;
        }
        Ok(lines)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
