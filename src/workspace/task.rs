//! A process of the daemon's own in a workspace, run to its end through tether: it outlives the daemon as agents do.

use std::collections::VecDeque;

use super::{WorkspaceError, logbook::Logbook};
use crate::tether::client::{OutputStream, ProcessEvent, Span, StartProcess, TetherClient, TetherError};

/// The most of a process's output that is kept to be told.
const TAIL: usize = 2048;
/// The longest line that is put together.
const LINE: usize = 4096;

/// How a process ended.
pub(super) struct End {
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// Whether it went down with its container.
    pub(super) lost: bool,
    /// The end of what it wrote.
    pub(super) output: String,
}

/// Runs it, or takes up the one that runs already under its id; each line goes to the logbook. Whatever of `hidden` it
/// writes is replaced.
pub(super) async fn run(
    client: &TetherClient,
    start: StartProcess,
    who: &str,
    hidden: &[String],
    log: &Logbook,
) -> Result<End, WorkspaceError> {
    let id = start.id.clone();
    let known = client.list().await.map_err(failed)?.into_iter().find(|process| process.id == id);
    let (out, err) = match known {
        Some(known) => (known.stdout, known.stderr),
        None => match client.start(start).await {
            Ok(()) => (Span::default(), Span::default()),
            Err(TetherError::StartFailed(output)) => return Ok(End { code: None, signal: None, lost: false, output }),
            Err(error) => return Err(failed(error)),
        },
    };
    let mut attachment = client.attach(&id, out.start, err.start).await.map_err(failed)?;
    let mut read = [out.start, err.start];
    let mut lines = Lines { who, hidden, log, partial: [Vec::new(), Vec::new()], tail: VecDeque::new(), kept: 0 };
    while let Some(event) = attachment.events.recv().await {
        match event {
            ProcessEvent::Output { stream, offset, bytes, .. } => {
                let of = usize::from(stream == OutputStream::Stderr);
                read[of] = offset + bytes.len() as u64;
                lines.take(of, &bytes).await;
                client.ack(&id, read[0], read[1]);
            }
            ProcessEvent::Exited { code, signal, lost } => {
                // What can't be forgotten now costs disk until the workspace is deleted.
                client.forget(&id).await.ok();
                return Ok(End { code, signal, lost, output: lines.end().await });
            }
            ProcessEvent::Detached { reason } => return Err(WorkspaceError::Tether { message: reason }),
            ProcessEvent::Waits { reason } => log.line("wharf", &format!("what {who} writes waits: {reason}")).await,
            ProcessEvent::InputTaken { .. } | ProcessEvent::InputRejected { .. } => {}
        }
    }
    Err(WorkspaceError::Tether { message: format!("the connection ended before {who} did") })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: TetherError) -> WorkspaceError {
    WorkspaceError::Tether { message: error.to_string() }
}

/// Makes lines of pieces.
struct Lines<'a> {
    who: &'a str,
    hidden: &'a [String],
    log: &'a Logbook,
    partial: [Vec<u8>; 2],
    tail: VecDeque<String>,
    kept: usize,
}

impl Lines<'_> {
    async fn take(&mut self, of: usize, bytes: &[u8]) {
        for &byte in bytes {
            // What overwrites its line, such as progress, is told as lines.
            if matches!(byte, b'\n' | b'\r') {
                self.flush(of).await;
            } else {
                self.partial[of].push(byte);
                if self.partial[of].len() >= LINE {
                    self.flush(of).await;
                }
            }
        }
    }

    async fn flush(&mut self, of: usize) {
        let bytes = std::mem::take(&mut self.partial[of]);
        if bytes.is_empty() {
            return;
        }
        let mut line = String::from_utf8_lossy(&bytes).into_owned();
        for secret in self.hidden {
            line = line.replace(secret.as_str(), "***");
        }
        self.log.line(self.who, &line).await;
        self.kept += line.len() + 1;
        self.tail.push_back(line);
        while self.kept > TAIL && self.tail.len() > 1 {
            self.kept -= self.tail.pop_front().map_or(0, |line| line.len() + 1);
        }
    }

    async fn end(mut self) -> String {
        self.flush(0).await;
        self.flush(1).await;
        let all = self.tail.into_iter().collect::<Vec<_>>().join("\n");
        all[all.ceil_char_boundary(all.len().saturating_sub(TAIL))..].to_owned()
    }
}
