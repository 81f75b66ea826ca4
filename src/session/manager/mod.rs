//! The manager: finds sessions and hands each request to the session's actor; what the API holds.

mod create;
mod find;
mod late;
mod list;
mod reading;
mod recover;
mod recreate;
mod recreate_workspace;
mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

pub use self::recreate::Marked;
pub use late::LateSubscription;
pub(super) use list::is_of;

use super::actor::{Actor, Command, Handle, check_content};
use super::log::Subscription;
use super::shared::{Rules, Shared, Timeouts};
use super::{NewPrompt, PermissionAnswer, SessionChanges, SessionError, SessionView};
use crate::agent::{Catalogue, Surroundings};
use crate::domain::{Page, PermissionRecord, PermissionState, PromptNumber, PromptRecord, SessionId};
use crate::seal::Sealer;
use crate::store::Store;
use crate::workspace::{WorkspaceView, Workspaces};

/// How long an `Idempotency-Key` may be, in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// All sessions of a daemon; cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    pub(super) shared: Arc<Shared>,
    live: Arc<Mutex<HashMap<SessionId, Handle>>>,
}

/// A session that was asked for.
pub struct Created {
    /// The session.
    pub session: SessionView,
    /// Whether it was made by this call; `false` where its key was known.
    pub new: bool,
}

/// A prompt that is on disk.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The prompt's number in its session.
    pub id: PromptNumber,
    /// Its turn.
    pub turn: String,
    /// How many prompts run or wait before it.
    pub position: usize,
}

/// What a cancel did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cancelled {
    /// The turn that was ended; `null` when none ran or waited.
    pub turn: Option<String>,
    /// Prompts taken out of the queue.
    pub withdrawn: Vec<PromptNumber>,
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events' JSON, in order.
    pub items: Vec<String>,
    /// Pass as `after` to read on; `None` when this page reaches the log's end.
    pub next: Option<u64>,
}

impl Sessions {
    /// The manager over a store, its workspaces and its agents. Actors run as tasks of `tracker` until `stop`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the composition root's list of parts")]
    pub fn new(
        store: Store,
        workspaces: Workspaces,
        catalogue: Arc<Catalogue>,
        sealer: Sealer,
        surroundings: Arc<dyn Surroundings>,
        timeouts: Timeouts,
        rules: Rules,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared::new(store, workspaces, catalogue, sealer, surroundings, timeouts, rules, tracker, stop);
        let sessions = Self { shared: Arc::new(shared), live: Arc::default() };
        sessions.sweep();
        sessions
    }

    /// By id, key or agent session id.
    ///
    /// # Errors
    /// `NotFound`, or `Ambiguous` for an agent session id that several sessions have.
    pub async fn get(&self, id: &str) -> Result<SessionView, SessionError> {
        let record = self.resolve(id)?;
        self.view(record)
    }

    /// Changes fields.
    ///
    /// # Errors
    /// `Invalid`; `Unsupported` where the agent can't; `Closed`.
    pub async fn change(&self, id: &str, changes: SessionChanges) -> Result<SessionView, SessionError> {
        create::check_changes(&changes)?;
        let id = self.resolve(id)?.id;
        self.ask(&id, |reply| Command::Change { changes: Box::new(changes.clone()), reply }).await?;
        self.get(id.as_str()).await
    }

    /// Wakes it; returns when the agent is ready.
    ///
    /// # Errors
    /// `Failed` with what to do, `Workspace`, `Closed`, or `Timeout`.
    pub async fn restore(&self, id: &str) -> Result<SessionView, SessionError> {
        let id = self.resolve(id)?.id;
        let ready = self.ask(&id, |reply| Command::Wake { reply });
        self.patiently("starting the agent", ready).await?;
        self.get(id.as_str()).await
    }

    /// Closes it: the agent is stopped and proven gone; with `purge`, record and log are dropped too. Closing a closed
    /// session changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Timeout`.
    pub async fn close(&self, id: &str, purge: bool) -> Result<SessionView, SessionError> {
        let record = self.resolve(id)?;
        let id = record.id.clone();
        if record.closed.is_none() {
            let closed = self.ask(&id, |reply| Command::Close { reply });
            self.patiently("ending the agent", closed).await?;
        }
        let view = self.get(id.as_str()).await?;
        if purge {
            let mut batch = crate::store::Batch::new();
            batch.delete_session(id);
            self.shared.store.commit(batch).await?;
        }
        Ok(view)
    }

    /// Forgets the conversation; session, key, log and subscribers stay. A running turn is cancelled.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Timeout`.
    pub async fn reset(&self, id: &str) -> Result<SessionView, SessionError> {
        let record = self.resolve(id)?;
        if record.closed.is_some() {
            return Err(SessionError::Closed { id: record.id });
        }
        let rested = self.ask(&record.id, |reply| Command::Reset { reply });
        self.patiently("ending the agent", rested).await?;
        self.get(record.id.as_str()).await
    }

    /// Accepts a prompt durably. The same idempotency key gives the same prompt again.
    ///
    /// # Errors
    /// `Invalid`, `Closed`, `Failed`, `Busy`, `QueueFull`, `IdempotencyReused`.
    pub async fn prompt(
        &self,
        id: &str,
        prompt: NewPrompt,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, SessionError> {
        let record = self.resolve(id)?;
        self.prompt_record(&record.id, prompt, idempotency_key).await
    }

    async fn prompt_record(
        &self,
        id: &SessionId,
        prompt: NewPrompt,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, SessionError> {
        if idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX) {
            return Err(SessionError::Invalid {
                field: "Idempotency-Key",
                message: format!("it must have 1 to {IDEMPOTENCY_KEY_MAX} bytes"),
            });
        }
        let content = check_content(prompt.content)?;
        self.shared.store.room_to_begin()?;
        let idempotency = idempotency_key.map(|key| {
            let hash = Sha256::digest(serde_json::to_vec(&content).unwrap_or_default());
            (key, hash.into())
        });
        let when_busy = prompt.when_busy;
        self.ask(id, |reply| Command::Prompt {
            content: content.clone(),
            when_busy,
            idempotency: idempotency.clone(),
            reply,
        })
        .await
    }

    /// Prompts, oldest first, after number `after`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn prompts(
        &self,
        id: &str,
        after: PromptNumber,
        limit: usize,
    ) -> Result<Page<PromptRecord>, SessionError> {
        let id = self.resolve(id)?.id;
        let mut items = self.shared.store.prompts(&id, after, limit + 1)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|p| p.id.to_string());
        Ok(Page { items, next })
    }

    /// Withdraws a pending prompt.
    ///
    /// # Errors
    /// `PromptNotFound`, `PromptNotPending`.
    pub async fn withdraw(&self, id: &str, n: PromptNumber) -> Result<PromptRecord, SessionError> {
        let id = self.resolve(id)?.id;
        self.ask(&id, |reply| Command::Withdraw { n, reply }).await
    }

    /// Ends the running turn, and with `queue` empties the queue; returns when the turn's end is in the log.
    ///
    /// # Errors
    /// `NotFound`, `Timeout`.
    pub async fn cancel(&self, id: &str, queue: bool) -> Result<Cancelled, SessionError> {
        let id = self.resolve(id)?.id;
        let cancelled = self.ask(&id, |reply| Command::Cancel { queue, reply });
        self.patiently("ending the turn", cancelled).await
    }

    /// Pending permission requests, oldest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn permissions(&self, id: &str) -> Result<Vec<PermissionRecord>, SessionError> {
        let id = self.resolve(id)?.id;
        let mut pending = self.shared.store.permissions(&id)?;
        pending.retain(|p| p.state == PermissionState::Pending);
        pending.sort_by_key(|p| p.time);
        Ok(pending)
    }

    /// Answers one.
    ///
    /// # Errors
    /// `PermissionNotFound`, `PermissionStale`, `Invalid`.
    pub async fn answer(
        &self,
        id: &str,
        permission: &str,
        answer: PermissionAnswer,
    ) -> Result<PermissionRecord, SessionError> {
        let id = self.resolve(id)?.id;
        let permission = permission.to_owned();
        self.ask(&id, |reply| Command::Answer { permission: permission.clone(), answer: answer.clone(), reply }).await
    }

    /// Every event after `after`, then each new one.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where `after` is beyond the log's end.
    pub async fn subscribe(&self, id: &str, after: u64) -> Result<Subscription, SessionError> {
        let record = self.resolve(id)?;
        let (durable, log) = (self.progress(&record)?.last_seq, self.shared.log(&record.id)?);
        Subscription::new(self.shared.store.clone(), record.id, log, after, durable, self.shared.counted())
    }

    /// Stops a workspace's container: its sessions rest, a running turn is cancelled; proven.
    ///
    /// # Errors
    /// `Workspace`, `Timeout`.
    pub async fn stop_workspace(&self, id: &str) -> Result<WorkspaceView, SessionError> {
        let workspace = self.shared.workspaces.resolve(id)?;
        for session in self.open_sessions_of(&workspace.id)? {
            let rested = self.ask(&session, |reply| Command::Suspend { by_hand: true, reply });
            self.patiently("ending the agent", rested).await?;
        }
        Ok(self.shared.workspaces.stop(workspace.id.as_str()).await?)
    }

    /// Deletes a workspace with its sessions, container and volumes.
    ///
    /// # Errors
    /// `Workspace`, `Timeout`.
    pub async fn delete_workspace(&self, id: &str) -> Result<(), SessionError> {
        let workspace = self.shared.workspaces.resolve(id)?;
        let mut batch = crate::store::Batch::new();
        for session in self.shared.store.sessions_of_workspace(&workspace.id)? {
            self.close(session.as_str(), false).await?;
            batch.delete_session(session);
        }
        match self.shared.workspaces.delete(&workspace.id).await {
            // An ephemeral one went with its session.
            Ok(()) | Err(crate::workspace::WorkspaceError::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        if !batch.is_empty() {
            self.shared.store.commit(batch).await?;
        }
        Ok(())
    }

    /// The actor of a session, started if it rests.
    fn handle(&self, id: &SessionId) -> Handle {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let known = live.get(id).cloned();
        if let Some(handle) = known.as_ref().filter(|h| !h.is_closed()) {
            return handle.clone();
        }
        if live.len() >= 64 && live.len().is_power_of_two() {
            live.retain(|_, handle| !handle.is_over());
        }
        let handle = Actor::spawn(self.shared.clone(), id.clone(), known);
        live.insert(id.clone(), handle.clone());
        handle
    }

    /// Asks a session's actor; again, where it went to rest just then.
    async fn ask<T>(
        &self,
        id: &SessionId,
        mut command: impl FnMut(oneshot::Sender<Result<T, SessionError>>) -> Command,
    ) -> Result<T, SessionError> {
        loop {
            if self.shared.stop.is_cancelled() {
                return Err(SessionError::Stopping);
            }
            // An actor waits for room on the disk; who asks it is told instead.
            self.shared.store.room_to_go_on()?;
            let (reply, answer) = oneshot::channel();
            if !self.handle(id).send(command(reply)).await {
                continue;
            }
            match answer.await {
                Ok(Err(SessionError::Resting)) => {}
                Ok(result) => return result,
                Err(_) => return Err(SessionError::Stopping),
            }
        }
    }

    async fn patiently<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        let patience: Duration = self.shared.timeouts.patience;
        tokio::time::timeout(patience, work)
            .await
            .unwrap_or(Err(SessionError::Timeout { what, seconds: patience.as_secs() }))
    }
}
