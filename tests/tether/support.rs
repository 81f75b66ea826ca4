//! A tether as a plain process of the host, and clients that connect to it in several ways.

use std::{
    fs,
    future::Future,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wharf::tether::client::{
    Attachment, Connect, ConnectError, OutputStream, ProcessEvent, StartProcess, Stream, TetherClient, TetherError,
};

/// Longer than anything takes, so that a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const UID: u32 = 1000;

/// The program under test, written out once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wharf-tether-under-test");
        let _ = fs::remove_file(&path);
        write_program(&path);
        path
    })
}

pub(crate) fn write_program(path: &Path) {
    fs::write(path, wharf::embedded::TETHER).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) struct Tether {
    pub(crate) dir: TempDir,
    child: Child,
    args: Vec<String>,
}

impl Tether {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|arg| (*arg).replace("DIR", dir.path().to_str().unwrap())).collect();
        let child = serve(dir.path(), &args);
        Self { dir, child, args }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/tether.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with no chance to do anything, and lets `meanwhile` happen before it starts again.
    pub(crate) fn kill_and_restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        meanwhile(&self.state());
        self.child = serve(self.dir.path(), &self.args);
    }

    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        signal(self.pid(), "TERM");
        self.child.wait().unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(UnixConnector(self.socket())).await
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Gracefully: it ends what it holds.
            signal(self.pid(), "TERM");
            let _ = self.child.wait();
        }
    }
}

fn serve(dir: &Path, args: &[String]) -> Child {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--state").arg(dir.join("state")).arg("--socket").arg(dir.join("run/tether.sock"));
    command.args(args).stdin(Stdio::null()).spawn().unwrap()
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success());
}

/// A client and the task behind it, which ends with it.
pub(crate) struct Client {
    client: TetherClient,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Client {
    pub(crate) async fn new(connector: impl Connect) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let client = within(TetherClient::connect(connector, &tracker, stop.clone())).await.unwrap();
        Self { client, tracker, stop }
    }

    /// Ends it and waits for all its tasks.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        within(self.tracker.wait()).await;
    }

    pub(crate) async fn run(&self, start: StartProcess) -> Finished {
        let id = start.id.clone();
        within(self.start(start)).await.unwrap();
        let attachment = within(self.attach(&id, 0, 0)).await.unwrap();
        finish(attachment).await
    }
}

impl std::ops::Deref for Client {
    type Target = TetherClient;
    fn deref(&self) -> &TetherClient {
        &self.client
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

pub(crate) fn program(id: &str, argv: &[&str]) -> StartProcess {
    StartProcess {
        files: Vec::new(),
        id: id.to_owned(),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        cwd: "/".to_owned(),
        uid: UID,
        gid: UID,
        pty: None,
    }
}

pub(crate) fn sh(id: &str, script: &str) -> StartProcess {
    program(id, &["/bin/sh", "-c", script])
}

/// All that came of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) lost: bool,
    /// Whether it may end before it took its input.
    pub(crate) may_be_deaf: bool,
}

impl Finished {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn add(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) {
        let all = if stream == OutputStream::Stdout { &mut self.stdout } else { &mut self.stderr };
        assert_eq!(offset, all.len() as u64, "a gap or a repetition");
        all.extend_from_slice(bytes);
    }
}

pub(crate) async fn finish(attachment: Attachment) -> Finished {
    finish_from(attachment, Finished::default()).await
}

pub(crate) async fn finish_from(mut attachment: Attachment, mut all: Finished) -> Finished {
    while let Some(event) = within(attachment.events.recv()).await {
        match event {
            ProcessEvent::Output { stream, offset, bytes, .. } => all.add(stream, offset, &bytes),
            ProcessEvent::Exited { code, signal, lost } => {
                assert!(within(attachment.events.recv()).await.is_none(), "something after the end");
                return Finished { code, signal, lost, ..all };
            }
            ProcessEvent::InputTaken { .. } | ProcessEvent::Waits { .. } => {}
            ProcessEvent::InputRejected { .. } if all.may_be_deaf => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("no end came");
}

/// Reads on until the process has written `count` lines to stdout.
pub(crate) async fn lines(attachment: &mut Attachment, count: usize) -> Vec<String> {
    let mut text = Vec::new();
    while text.iter().filter(|&&b| b == b'\n').count() < count {
        match within(attachment.events.recv()).await.expect("it ended early") {
            ProcessEvent::Output { bytes, .. } => text.extend_from_slice(&bytes),
            ProcessEvent::InputTaken { .. } | ProcessEvent::Waits { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// Whether something of this pid can still run.
pub(crate) fn is_alive(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
}

/// Looks until it is so: for what nothing announces.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As the local engine does it.
pub(crate) struct UnixConnector(pub(crate) PathBuf);

impl Connect for UnixConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            let stream = UnixStream::connect(&self.0).await.map_err(|e| ConnectError::Retry(e.to_string()))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Cuts each connection after some bytes, each time after others.
pub(crate) struct CuttingConnector {
    pub(crate) socket: PathBuf,
    pub(crate) connections: Arc<AtomicU64>,
}

impl Connect for CuttingConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|e| ConnectError::Retry(e.to_string()))?;
            let n = self.connections.fetch_add(1, Ordering::Relaxed);
            let left = 900 + usize::try_from(n * 7_919 % 400_000).unwrap();
            Ok(Box::new(Cut { stream, left }) as Box<dyn Stream>)
        })
    }
}

struct Cut {
    stream: UnixStream,
    left: usize,
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut part = buf.take(self.left.min(buf.remaining()));
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let n = part.filled().len();
        if result.is_ready() {
            // `take` gives a buffer of its own view: what it filled is to be counted here.
            let filled = part.filled().to_vec();
            buf.put_slice(&filled);
            self.left -= n;
        }
        result
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// As an engine's exec does it: a program's stdin and stdout.
pub(crate) struct ExecConnector {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The pid of the newest.
    pub(crate) pid: Arc<AtomicU64>,
}

impl Connect for ExecConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            let mut child = tokio::process::Command::new(&self.argv[0])
                .args(&self.argv[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|e| ConnectError::Gone(e.to_string()))?;
            self.pid.store(u64::from(child.id().unwrap()), Ordering::Relaxed);
            let stream = tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
            Ok(Box::new(Exec { _child: child, stream }) as Box<dyn Stream>)
        })
    }
}

struct Exec {
    _child: tokio::process::Child,
    stream: tokio::io::Join<tokio::process::ChildStdout, tokio::process::ChildStdin>,
}

impl AsyncRead for Exec {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Exec {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub(crate) fn assert_gone<T: std::fmt::Debug>(result: &Result<T, TetherError>) {
    assert!(matches!(result, Err(TetherError::Gone(_))), "{result:?}");
}
