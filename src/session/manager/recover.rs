//! What a new daemon does with the sessions that it finds.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::create::created;
use super::{Command, Sessions};
use crate::domain::{SessionId, SessionStatus};
use crate::session::SessionError;
use crate::store::Batch;

/// How many sessions are taken up at once, and how long the others wait for one.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

impl Sessions {
    /// Takes up every session that has something running, waiting or to be finished; the others wake on demand. Answers
    /// how many. They are taken up a few at a time, those with a turn first; whoever asks for one does not wait for that.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn recover(&self) -> Result<usize, SessionError> {
        let mut found = Vec::new();
        for (id, progress) in self.shared.store.progress_all()? {
            let began = progress.process.is_some() || progress.status == SessionStatus::Starting;
            let waits = !progress.queue.is_empty() && !progress.held;
            let unfinished = began || progress.turn.is_some() || waits;
            if !unfinished || (progress.closed.is_some() && progress.process.is_none()) {
                continue;
            }
            // Until its turn comes, its container counts as used.
            let record = self.shared.store.session(&id)?;
            let hold = record.map(|record| self.shared.workspaces.use_by_agent(&record.workspace));
            // The host waits for no engine, and so not behind those that do.
            let rank = match (&hold, progress.turn.is_some()) {
                (Some(hold), _) if hold.is_of_host() => 0,
                (_, true) => 1,
                (_, false) => 2,
            };
            found.push((rank, id, hold));
        }
        found.sort_by_key(|(rank, ..)| *rank);
        let count = found.len();
        let sessions = self.clone();
        self.shared.tracker.spawn(async move {
            let stop = sessions.shared.stop.clone();
            let all = stream::iter(found).for_each_concurrent(AT_ONCE, |(_, id, hold)| {
                let sessions = &sessions;
                async move {
                    sessions.take_up(&id).await;
                    drop(hold);
                }
            });
            tokio::select! {
                () = stop.cancelled() => {}
                () = all => {}
            }
        });
        self.delete_left_workspaces()?;
        Ok(count)
    }

    /// Starts a session's actor, and waits until it is ready, rests or has failed; not for ever.
    async fn take_up(&self, id: &SessionId) {
        let settled = self.ask(id, |reply| Command::Settle { reply });
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(session = %id, error = %e, "it could not be taken up"),
            Err(_) => tracing::warn!(session = %id, "taking it up takes long: it goes on beside the others"),
        }
    }

    /// A crash between a session's close and the deletion of its own workspace leaves the latter: it goes now.
    fn delete_left_workspaces(&self) -> Result<(), SessionError> {
        let mut before = None;
        loop {
            let records = self.shared.store.workspaces(before.as_ref(), 256)?;
            for record in &records {
                let Some(owner) = &record.ephemeral_of else { continue };
                let owner = self.shared.store.session(owner)?;
                if owner.is_none_or(|session| session.closed.is_some()) {
                    let (workspaces, id) = (self.shared.workspaces.clone(), record.id.clone());
                    self.shared.tracker.spawn(async move {
                        if let Err(e) = workspaces.delete(&id).await {
                            tracing::warn!(workspace = %id, error = %e, "a left workspace could not be deleted");
                        }
                    });
                }
            }
            match records.last() {
                Some(last) if records.len() == 256 => before = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// A crash between the registry and the log leaves a session without its first event: it gets it now. Nobody may ask
    /// for it before: whoever made it asks again with the same key, and would be told that there is no such session.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn complete_creations(&self) -> Result<(), SessionError> {
        let mut before = None;
        loop {
            let records = self.shared.store.sessions(before.as_ref(), 256)?;
            for record in &records {
                if self.shared.store.progress(&record.id)?.is_none() {
                    let mut batch = Batch::new();
                    created(record, &mut batch);
                    self.shared.store.commit(batch).await?;
                }
            }
            match records.last() {
                Some(last) if records.len() == 256 => before = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }
}
