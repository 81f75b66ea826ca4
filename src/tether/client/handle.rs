//! The handle that the daemon holds of one workspace's tether.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Attachment, Connect, Ended, ProcessInfo, StartProcess, TetherError,
    actor::Actor,
    commands::{Acks, Command, Reply},
};
use crate::tether::{
    frames::{FrameError, MAX_INPUT, encode_json, is_process_id, kind},
    messages::{End, HostUser, OfProcess, Req, Resize, Resolve, SendSignal, Size, Start, StartFile, Welcome},
};

/// Commands that may wait for the actor.
const COMMANDS: usize = 256;

/// What handle and actor share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) acks: Acks,
    pub(super) connected: AtomicBool,
    generation: Mutex<String>,
    host: Mutex<Option<HostUser>>,
    next_req: AtomicU64,
    pub(super) closed: CancellationToken,
    /// Why it was closed.
    reason: Mutex<Option<TetherError>>,
}

impl Shared {
    pub(super) fn set_welcome(&self, welcome: &Welcome) {
        welcome.generation.clone_into(&mut self.generation.lock().unwrap_or_else(PoisonError::into_inner));
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&welcome.host);
    }

    pub(super) fn close(&self, reason: &TetherError) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
        self.connected.store(false, Ordering::Release);
        self.closed.cancel();
    }

    /// Numbers begin at 1: 0 stands for "no answer wanted".
    pub(super) fn next_req(&self) -> u64 {
        self.next_req.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One workspace's tether; cheap to clone. The connection lives as long as any clone does.
///
/// While the connection is down, calls wait for the next one; they fail with `Gone` once there will be none. Whoever
/// must not wait, bounds the call.
#[derive(Clone)]
pub struct TetherClient {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl fmt::Debug for TetherClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TetherClient").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl TetherClient {
    /// Connects, and returns when tether has said hello, however many attempts that takes: bound it. The task that keeps the connection is spawned on `tracker`, and
    /// ends with `stop`, with the last handle, or when the connector says `Gone`.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn connect(
        connector: impl Connect,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, TetherError> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (ready, is_ready) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let actor = Actor::new(Arc::new(connector), received, Arc::clone(&shared), tracker.clone(), stop, ready);
        tracker.spawn(actor.run());
        let client = Self { commands, shared };
        match is_ready.await {
            Ok(result) => result.map(|()| client),
            Err(_) => Err(client.gone()),
        }
    }

    fn gone(&self) -> TetherError {
        let reason = self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reason.unwrap_or_else(|| TetherError::Gone("the client has ended".to_owned()))
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, TetherError>>) -> Command,
    ) -> Result<T, TetherError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    async fn request<T: Serialize>(
        &self,
        kind: u8,
        repeat: bool,
        message: impl FnOnce(u64) -> T,
    ) -> Result<Reply, TetherError> {
        let req = self.shared.next_req();
        let mut frame = Vec::new();
        encode_json(&mut frame, kind, &message(req)).map_err(|e| invalid(&e))?;
        self.command(|reply| Command::Request { req, frame, repeat, reply }).await
    }

    async fn done<T: Serialize>(
        &self,
        kind: u8,
        repeat: bool,
        message: impl FnOnce(u64) -> T,
    ) -> Result<(), TetherError> {
        match self.request(kind, repeat, message).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a process, and returns when its program runs. An id that tether knows is not started again: `Ok`.
    ///
    /// # Errors
    /// `StartFailed` with the reason (no such program, bad directory), `Invalid`, `Full`, `Gone`.
    pub async fn start(&self, start: StartProcess) -> Result<(), TetherError> {
        let StartProcess { id, argv, env, files, cwd, uid, gid, pty } = start;
        let pty = pty.map(|(rows, cols)| Size { rows, cols });
        let kind = if files.is_empty() { kind::START } else { kind::START_WITH_FILES };
        let file = |(path, text)| StartFile { path, text, at: String::new(), replaces: String::new() };
        let files = files.into_iter().map(file).collect();
        self.done(kind, true, |req| Start { req, id, argv, env, cwd, uid, gid, pty, files }).await
    }

    /// Receives a process's output from these offsets on, and its end. Takes over from an older attachment of the same
    /// process. Dropping the receiver detaches.
    ///
    /// # Errors
    /// `NotFound`, `Offset`, `Gone`.
    pub async fn attach(&self, process: &str, stdout: u64, stderr: u64) -> Result<Attachment, TetherError> {
        let (process, offsets) = (process.to_owned(), [stdout, stderr]);
        self.command(|reply| Command::Attach { process, offsets, reply }).await
    }

    /// Queues input `n` (from 1, without gaps), to be sent until tether has taken it, over as many connections as that
    /// takes; the attachment's `InputTaken` or `InputRejected` tells. One that was taken already is not taken again.
    /// `mark`: what is born from here on is what `end(since_mark)` ends.
    ///
    /// # Errors
    /// `Invalid` for a gap or for more than 32 MiB, `Full` where 64 MiB wait already, `Gone`.
    pub async fn input(&self, process: &str, n: u64, mark: bool, bytes: impl Into<Bytes>) -> Result<(), TetherError> {
        let (process, bytes) = (process.to_owned(), bytes.into());
        if !is_process_id(&process) {
            return Err(TetherError::Invalid(format!("`{process}` can't be a process's id")));
        }
        if n == 0 || bytes.len() > MAX_INPUT {
            return Err(TetherError::Invalid(format!("input {n} of {} bytes: at most {MAX_INPUT}", bytes.len())));
        }
        self.command(|reply| Command::Input { process, n, mark, bytes, reply }).await
    }

    /// Says that everything below these offsets is durable here, so that tether may drop it. Never waits.
    pub fn ack(&self, process: &str, stdout: u64, stderr: u64) {
        self.shared.acks.set(process, [stdout, stderr]);
    }

    /// Ends all of a process's tree, or what of it was born since the last marked input except the process itself; returns
    /// when nothing of that is left. `grace`: between SIGTERM and SIGKILL.
    ///
    /// # Errors
    /// `StillRunning` if it could not be done within ten seconds after the grace, `NotFound`, `Gone`.
    pub async fn end(&self, process: &str, since_mark: bool, grace: Duration) -> Result<Ended, TetherError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let end = |req| End { req, process: process.to_owned(), since_mark, grace_ms };
        match self.request(kind::END, true, end).await? {
            Reply::Ended(killed) => Ok(Ended { killed }),
            other => Err(unexpected(&other)),
        }
    }

    /// Closes a process's stdin behind the inputs that were taken; on a terminal, sends the end-of-input character.
    ///
    /// # Errors
    /// `NotFound`, `Gone`.
    pub async fn close_stdin(&self, process: &str) -> Result<(), TetherError> {
        self.done(kind::CLOSE_STDIN, true, |req| OfProcess { req, process: process.to_owned() }).await
    }

    /// Sends a signal to the process itself.
    ///
    /// # Errors
    /// `NotFound`, `NotRunning`, `Invalid`, `Gone`; `Disconnected`: it may have been sent.
    pub async fn signal(&self, process: &str, signal: i32) -> Result<(), TetherError> {
        self.done(kind::SIGNAL, false, |req| SendSignal { req, process: process.to_owned(), signal }).await
    }

    /// Sets the size of a process's terminal.
    ///
    /// # Errors
    /// `NotFound`, `NotRunning`, `Invalid` without a terminal, `Gone`.
    pub async fn resize(&self, process: &str, rows: u16, cols: u16) -> Result<(), TetherError> {
        let size = Size { rows, cols };
        self.done(kind::RESIZE, true, |req| Resize { req, process: process.to_owned(), size }).await
    }

    /// Drops the journal of a process that has ended; one that is not known is forgotten already.
    ///
    /// # Errors
    /// `Running`, `Gone`.
    pub async fn forget(&self, process: &str) -> Result<(), TetherError> {
        self.done(kind::FORGET, true, |req| OfProcess { req, process: process.to_owned() }).await
    }

    /// All processes that tether holds.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn list(&self) -> Result<Vec<ProcessInfo>, TetherError> {
        match self.request(kind::LIST, true, |req| Req { req }).await? {
            Reply::Processes(processes) => Ok(processes),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks a tether on a host for a directory without links, in which processes may work.
    ///
    /// # Errors
    /// `Invalid` where they may not, or there is none; `Gone`.
    pub async fn resolve(&self, path: &str) -> Result<String, TetherError> {
        match self.request(kind::RESOLVE, true, |req| Resolve { req, path: path.to_owned() }).await? {
            Reply::Resolved(path) => Ok(path),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells tether to end everything that it holds, and then to go; `closed` tells that it went.
    ///
    /// # Errors
    /// `Gone`; `Disconnected`: it may have been told.
    pub async fn stop(&self) -> Result<(), TetherError> {
        self.done(kind::STOP, false, |req| Req { req }).await
    }

    /// Where it works and as whom, if it is on a host.
    #[must_use]
    pub fn host(&self) -> Option<HostUser> {
        self.shared.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The running tether's generation: another than before means that every process of before is gone.
    #[must_use]
    pub fn generation(&self) -> String {
        self.shared.generation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// Resolves when there will be no connection any more.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.closed.clone().cancelled_owned()
    }
}

fn invalid(error: &FrameError) -> TetherError {
    TetherError::Invalid(error.to_string())
}

fn unexpected(reply: &Reply) -> TetherError {
    TetherError::Failed(format!("an answer to another question: {reply:?}"))
}
