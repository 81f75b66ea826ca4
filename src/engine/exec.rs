//! A process started in a container with its streams attached.
//!
//! What the engine leaves open is closed here: an error of starting arrives as text where output should be, the end of
//! the stream is not the process's end, and the stream of a container whose supervisor was killed never ends.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bollard::{
    container::LogOutput,
    errors::Error as Bollard,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Engine, EngineError, LONG, SHORT};

/// How much of a process's stderr is kept for an error message: its end.
const STDERR_KEPT: usize = 4096;
/// The longest text that the engine writes in place of output.
const ENGINE_TEXT: usize = 4096;

/// What became of an exec's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// It runs, or the engine thinks so.
    Running,
    /// It ended with this code.
    Exited(i64),
    /// The engine no longer knows it: it was restarted, or the container's supervisor died.
    Lost,
}

/// Asks after an exec's process, also when its stream is gone; cheap to clone.
#[derive(Clone)]
pub struct ExecProbe {
    engine: Engine,
    id: Arc<str>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl ExecProbe {
    /// What became of the process. To be asked after the stream's end; waits a moment for the engine to have noticed.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn end(&self) -> Result<ExecEnd, EngineError> {
        let mut now = self.now().await?;
        for _ in 0..50 {
            if now != ExecEnd::Running {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            now = self.now().await?;
        }
        Ok(now)
    }

    async fn now(&self) -> Result<ExecEnd, EngineError> {
        let call = self.engine.docker.inspect_exec(&self.id);
        match self.engine.call("exec", SHORT, call).await {
            Ok(answer) if answer.running == Some(true) => Ok(ExecEnd::Running),
            Ok(answer) => Ok(answer.exit_code.map_or(ExecEnd::Lost, ExecEnd::Exited)),
            Err(EngineError::NotFound { .. }) => Ok(ExecEnd::Lost),
            Err(error) => Err(error),
        }
    }

    /// The end of what the process wrote to stderr, at most 4 KiB.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn keep_stderr(&self, bytes: &[u8]) {
        let mut kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&bytes[bytes.len().saturating_sub(STDERR_KEPT)..]);
        let over = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..over);
    }
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Bollard>> + Send>>;

/// Whether output has been seen to be the process's own.
enum Trust {
    /// Nothing has come yet.
    Unseen,
    /// The first output could be the engine's; it is being asked whether the process started.
    Asking { text: Bytes, answer: BoxFuture<'static, Result<ExecEnd, EngineError>> },
    /// It is the process's.
    Given,
}

/// The attached streams of a process: read its stdout, write its stdin. Its stderr is kept for [`ExecProbe::stderr`].
pub struct ExecStream {
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    unread: Bytes,
    trust: Trust,
    probe: ExecProbe,
    // One for each direction: the two may be polled by different tasks, and each future wakes one.
    lost_reading: Pin<Box<WaitForCancellationFutureOwned>>,
    lost_writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Engine {
    /// Starts `argv` in a running container as `user` (`uid` or `uid:gid`), its three streams attached, without a
    /// terminal. When `lost` is cancelled (the container died) the streams end with an error, whatever the engine does.
    ///
    /// That the command does not exist is known only by reading: the read fails with an [`EngineError`] inside.
    ///
    /// # Errors
    /// `NotFound`, `NotRunning`, `Paused` of the container, …
    pub async fn exec_attach(
        &self,
        container: &str,
        argv: &[&str],
        user: &str,
        lost: &CancellationToken,
    ) -> Result<ExecStream, EngineError> {
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            user: Some(user.to_owned()),
            cmd: Some(argv.iter().map(|&arg| arg.to_owned()).collect()),
            ..Default::default()
        };
        let what = format!("container {container}");
        let id = self.call(&what, LONG, self.docker.create_exec(container, config)).await?.id;
        let options = StartExecOptions { detach: false, tty: false, output_capacity: Some(64 * 1024) };
        match self.call(&what, LONG, self.docker.start_exec(&id, Some(options))).await? {
            StartExecResults::Attached { output, input } => Ok(ExecStream {
                output,
                input,
                unread: Bytes::new(),
                trust: Trust::Unseen,
                probe: ExecProbe { engine: self.clone(), id: id.into(), stderr: Arc::default() },
                lost_reading: Box::pin(lost.clone().cancelled_owned()),
                lost_writing: Box::pin(lost.clone().cancelled_owned()),
            }),
            StartExecResults::Detached => {
                Err(EngineError::Other { what, message: "the engine detached an exec that was to be attached".into() })
            }
        }
    }
}

impl ExecStream {
    /// Asks after the process, also when the stream is gone.
    #[must_use]
    pub fn probe(&self) -> ExecProbe {
        self.probe.clone()
    }

    /// Settles whether the first output is the process's own or the engine's error.
    fn poll_trust(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Trust::Asking { text, answer } = &mut self.trust else { return Poll::Ready(Ok(())) };
        let end = ready!(answer.as_mut().poll(cx));
        let failed = matches!(end, Ok(ExecEnd::Exited(126 | 127) | ExecEnd::Lost));
        let text = std::mem::take(text);
        self.trust = Trust::Given;
        if failed {
            let error = EngineError::from_exec_text(&String::from_utf8_lossy(&text));
            return Poll::Ready(Err(io::Error::other(error)));
        }
        self.unread = text;
        Poll::Ready(Ok(()))
    }

    fn take_output(&mut self, item: LogOutput) {
        match item {
            LogOutput::StdErr { message } => self.probe.keep_stderr(&message),
            LogOutput::StdIn { .. } => {}
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                if matches!(self.trust, Trust::Unseen) {
                    // The engine's own text ends like this; a process's first output hardly ever does.
                    if message.ends_with(b"\r\n") && message.len() <= ENGINE_TEXT {
                        let probe = self.probe.clone();
                        let answer = Box::pin(async move { probe.now().await });
                        self.trust = Trust::Asking { text: message, answer };
                        return;
                    }
                    self.trust = Trust::Given;
                }
                self.unread = message;
            }
        }
    }
}

fn container_died() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the container died")
}

impl AsyncRead for ExecStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.poll_trust(cx))?;
            if !this.unread.is_empty() {
                let n = this.unread.len().min(buf.remaining());
                buf.put_slice(&this.unread[..n]);
                this.unread.advance(n);
                return Poll::Ready(Ok(()));
            }
            match this.output.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(item))) => this.take_output(item),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error.to_string()))),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(this.lost_reading.as_mut().poll(cx));
                    return Poll::Ready(Err(container_died()));
                }
            }
        }
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.lost_writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(container_died()));
        }
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lost_writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(container_died()));
        }
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}
