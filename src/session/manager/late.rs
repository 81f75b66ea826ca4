//! Subscribing to a session that does not exist yet, and the counted subscriptions of those that do.

use tokio::sync::OwnedSemaphorePermit;

use super::Sessions;
use crate::domain::{SessionId, SessionKey};
use crate::session::{SessionError, Subscription};

/// A place in the log of a session that may not exist yet.
pub struct LateSubscription {
    sessions: Sessions,
    key: SessionKey,
    /// One of the bounded places to wait; given back when the session is there.
    waiting: Option<OwnedSemaphorePermit>,
    found: Option<Subscription>,
}

impl Sessions {
    /// The key that a session which does not exist may be waited for by; ids are not chosen by clients.
    ///
    /// # Errors
    /// `NotFound` for what can't be a key; `TooManyWaiting`.
    pub fn subscribe_late(&self, text: &str) -> Result<LateSubscription, SessionError> {
        let not_found = || SessionError::NotFound { looked_up: text.chars().take(256).collect() };
        if text.parse::<SessionId>().is_ok() {
            return Err(not_found());
        }
        let key = text.parse::<SessionKey>().map_err(|_| not_found())?;
        let waiting = self.shared.late.clone().try_acquire_owned();
        let waiting = waiting.map_err(|_| SessionError::TooManyWaiting { limit: crate::session::shared::LATE_MAX })?;
        Ok(LateSubscription { sessions: self.clone(), key, waiting: Some(waiting), found: None })
    }
}

impl LateSubscription {
    /// The next frames, from the session's first event; waits for the session first. As of [`Subscription::next`].
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, SessionError> {
        if self.found.is_none() {
            let id = self.made().await?;
            self.found = Some(self.sessions.subscribe(id.as_str(), 0).await?);
            self.waiting = None;
        }
        match &mut self.found {
            Some(subscription) => subscription.next().await,
            None => Ok(None),
        }
    }

    async fn made(&self) -> Result<SessionId, SessionError> {
        let store = &self.sessions.shared.store;
        let mut made = store.made();
        loop {
            made.borrow_and_update();
            if let Some(id) = store.session_by_key(&self.key)? {
                return Ok(id);
            }
            made.changed().await.map_err(|_| SessionError::Stopping)?;
        }
    }
}
