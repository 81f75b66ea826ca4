//! The manager: finds, makes and ends sessions; what the API holds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NewPrompt, NewSession, PermissionAnswer, SessionChanges, SessionError, SessionFilter, SessionView};
use crate::domain::{Page, PermissionRecord, PromptNumber, PromptRecord};

/// All sessions of a daemon; cheap to clone.
#[derive(Clone)]
pub struct Sessions {}

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
    /// The turn that was ended; `null` when none ran.
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

/// A subscriber's place in a session's log.
pub struct Subscription {}

impl Subscription {
    /// The next frames in order (`id: <seq>\ndata: <json>\n\n` for each event), all that is there up to a bound;
    /// waits while there are none. `None`: the session is closed and everything was given.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        todo!()
    }
}

impl Sessions {
    /// Makes a session, or returns the one that has the key. Durable when it returns; the agent is started in the
    /// background.
    pub async fn create(&self, _new: NewSession) -> Result<Created, SessionError> {
        todo!()
    }
    /// By id, key or agent session id.
    pub async fn get(&self, _id: &str) -> Result<SessionView, SessionError> {
        todo!()
    }
    /// Newest first; `after` is the id that the page before ended with.
    pub async fn list(
        &self,
        _f: SessionFilter,
        _after: Option<String>,
        _limit: usize,
    ) -> Result<Page<SessionView>, SessionError> {
        todo!()
    }
    /// Changes fields.
    pub async fn change(&self, _id: &str, _c: SessionChanges) -> Result<SessionView, SessionError> {
        todo!()
    }
    /// Wakes it; returns when the agent is ready.
    pub async fn restore(&self, _id: &str) -> Result<SessionView, SessionError> {
        todo!()
    }
    /// Closes it: the agent is stopped and proven gone; with `purge`, record and log are dropped too.
    pub async fn close(&self, _id: &str, _purge: bool) -> Result<SessionView, SessionError> {
        todo!()
    }
    /// Accepts a prompt durably.
    pub async fn prompt(
        &self,
        _id: &str,
        _p: NewPrompt,
        _idempotency_key: Option<String>,
    ) -> Result<Accepted, SessionError> {
        todo!()
    }
    /// Prompts, oldest first, after number `after`.
    pub async fn prompts(
        &self,
        _id: &str,
        _after: PromptNumber,
        _limit: usize,
    ) -> Result<Page<PromptRecord>, SessionError> {
        todo!()
    }
    /// Withdraws a pending prompt.
    pub async fn withdraw(&self, _id: &str, _n: PromptNumber) -> Result<PromptRecord, SessionError> {
        todo!()
    }
    /// Ends the running turn, and with `queue` empties the queue; returns when the turn's end is in the log.
    pub async fn cancel(&self, _id: &str, _queue: bool) -> Result<Cancelled, SessionError> {
        todo!()
    }
    /// Pending permission requests, oldest first.
    pub async fn permissions(&self, _id: &str) -> Result<Vec<PermissionRecord>, SessionError> {
        todo!()
    }
    /// Answers one.
    pub async fn answer(
        &self,
        _id: &str,
        _permission: &str,
        _a: PermissionAnswer,
    ) -> Result<PermissionRecord, SessionError> {
        todo!()
    }
    /// Events after `after`, at most `limit`, of the given types (none: all). `next` is set while the log has more.
    pub async fn events(
        &self,
        _id: &str,
        _after: u64,
        _limit: usize,
        _types: &[String],
    ) -> Result<EventPage, SessionError> {
        todo!()
    }
    /// Every event after `after`, then each new one.
    pub async fn subscribe(&self, _id: &str, _after: u64) -> Result<Subscription, SessionError> {
        todo!()
    }
    /// Deletes a workspace with its sessions, container and volumes.
    pub async fn delete_workspace(&self, _id: &str) -> Result<(), SessionError> {
        todo!()
    }
}
