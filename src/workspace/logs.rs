//! A workspace's log for a person: what happened to it, its setup's output, and what its container's PID 1 said.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;

use super::{WorkspaceError, Workspaces, names, place::Place, shared::Slot};
use crate::{
    domain::{WorkspaceId, WorkspaceStatus},
    engine::{Engine, EngineError},
};

/// Lines as they come; it ends with the workspace, with the daemon, or where nothing more was asked for.
pub type LogStream = BoxStream<'static, Bytes>;

/// The most lines of before.
const MOST_LINES: usize = 10_000;
/// The most bytes that are read of the engine's log at once.
const MOST_BYTES: usize = 2 << 20;
/// How many pieces wait for who follows.
const WAITING: usize = 64;
/// How long until the engine is asked again for the log of a container that it says runs.
const AGAIN: Duration = Duration::from_secs(1);

impl Workspaces {
    /// The last `tail` lines, each behind its time; `follow`: then each new one.
    ///
    /// # Errors
    /// `NotFound`, `Engine` where its log can't be read; an engine that is away is told in the log.
    pub async fn logs(&self, id: &str, tail: usize, follow: bool) -> Result<LogStream, WorkspaceError> {
        let id = self.resolve(id)?.id;
        let slot = self.shared.slot(&id);
        let (own, position) = slot.log.read(0).await.map_err(|e| WorkspaceError::Engine { message: e.to_string() })?;
        let tail = tail.min(MOST_LINES);
        let theirs = match slot.place {
            Place::Container => engine_lines(&self.shared.engine, &id, tail).await,
            // Its tether has a log of its own: the service's journal, or a file below the state directory.
            Place::Host => String::new(),
        };
        let mut lines: Vec<&str> = own.lines().chain(theirs.lines()).collect();
        lines.sort_by_key(|line| line.split(' ').next().unwrap_or_default());
        let from = lines.len().saturating_sub(tail);
        let text: String = lines[from..].iter().flat_map(|line| [line, "\n"]).collect();
        let first = stream::once(std::future::ready(Bytes::from(text)));
        if !follow {
            return Ok(first.boxed());
        }
        let (pieces, more) = mpsc::channel(WAITING);
        let (workspaces, stop) = (self.clone(), self.shared.stop.clone());
        self.shared.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = pieces.closed() => {}
                () = workspaces.follow(&id, &slot, position, &pieces) => {}
            }
        });
        let more = stream::unfold(more, |mut more: mpsc::Receiver<Bytes>| async move {
            more.recv().await.map(|piece| (piece, more))
        });
        Ok(first.chain(more).boxed())
    }

    async fn follow(&self, id: &WorkspaceId, slot: &Slot, position: u64, to: &mpsc::Sender<Bytes>) {
        tokio::select! {
            () = follow_own(slot, position, to) => {}
            () = follow_engine(&self.shared.engine, id, slot, to), if slot.place == Place::Container => {}
            () = deleted(slot) => {}
        }
    }
}

async fn deleted(slot: &Slot) {
    slot.commands.closed().await;
}

async fn follow_own(slot: &Slot, mut position: u64, to: &mpsc::Sender<Bytes>) {
    let mut end = slot.log.watch();
    loop {
        end.mark_unchanged();
        match slot.log.read(position).await {
            Ok((text, behind)) => {
                position = behind;
                if !text.is_empty() && to.send(text.into()).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "a workspace's log can't be read"),
        }
        if end.changed().await.is_err() {
            return;
        }
    }
}

/// Each run of the container has a stream of its own.
async fn follow_engine(engine: &Engine, id: &WorkspaceId, slot: &Slot, to: &mpsc::Sender<Bytes>) {
    let mut state = slot.state.subscribe();
    loop {
        if state.wait_for(|state| state.status == WorkspaceStatus::Running).await.is_err() {
            return;
        }
        let mut pieces = Box::pin(engine.container_logs(&names::container(id), 0, true));
        let mut lines = Named::default();
        while let Some(Ok(piece)) = pieces.next().await {
            let text = lines.take(&piece);
            if !text.is_empty() && to.send(text.into()).await.is_err() {
                return;
            }
        }
        // What is known of the container may be older than its end.
        tokio::time::sleep(AGAIN).await;
    }
}

async fn engine_lines(engine: &Engine, id: &WorkspaceId, tail: usize) -> String {
    let mut pieces = Box::pin(engine.container_logs(&names::container(id), tail, false));
    let (mut lines, mut text, mut size) = (Named::default(), String::new(), 0);
    let all = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            size += piece.len();
            if size > MOST_BYTES {
                break;
            }
            text.push_str(&lines.take(&piece));
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_secs(10), all).await {
        Ok(Ok(()) | Err(EngineError::NotFound { .. })) => text,
        Ok(Err(error)) => format!("{text}{} wharf: {error}\n", crate::domain::Timestamp::now()),
        Err(_) => format!("{text}{} wharf: the engine's log did not come in time\n", crate::domain::Timestamp::now()),
    }
}

/// Makes whole lines of pieces, and says behind each line's time whose it is.
#[derive(Default)]
struct Named(Vec<u8>);

impl Named {
    fn take(&mut self, piece: &[u8]) -> String {
        self.0.extend_from_slice(piece);
        let end = match self.0.iter().rposition(|&b| b == b'\n') {
            Some(end) => end + 1,
            // One that never ends is cut.
            None if self.0.len() > MOST_BYTES => self.0.len(),
            None => return String::new(),
        };
        let whole: Vec<u8> = self.0.drain(..end).collect();
        let mut text = String::new();
        for line in String::from_utf8_lossy(&whole).lines() {
            let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
            let clean: String = rest.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
            text.push_str(&format!("{time} tether: {clean}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_that_say_whose_they_are() {
        let mut named = Named::default();
        assert_eq!(named.take(b"2026-01-01T00:00:00.1Z one\n2026-01"), "2026-01-01T00:00:00.1Z tether: one\n");
        assert_eq!(named.take(b"-01T00:00:00.2Z t\x1bwo\n"), "2026-01-01T00:00:00.2Z tether: t wo\n");
    }
}
