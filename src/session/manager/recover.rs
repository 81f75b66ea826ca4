//! What a new daemon does with the sessions that it finds.

use super::Sessions;
use super::create::created;
use crate::session::SessionError;
use crate::store::Batch;

impl Sessions {
    /// Takes up every session that has something running, waiting or to be finished; the others wake on demand. Answers
    /// how many. The workspaces are woken in turn, by the actors.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn recover(&self) -> Result<usize, SessionError> {
        self.complete_creations().await?;
        let mut count = 0;
        for (id, progress) in self.shared.store.progress_all()? {
            let unfinished = progress.process.is_some() || progress.turn.is_some() || !progress.queue.is_empty();
            if unfinished && (progress.closed.is_none() || progress.process.is_some()) {
                count += 1;
                self.handle(&id);
            }
        }
        self.delete_left_workspaces()?;
        Ok(count)
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

    /// A crash between the registry and the log leaves a session without its first event: it gets it now.
    async fn complete_creations(&self) -> Result<(), SessionError> {
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
