//! Marking sessions, so that their agents are started afresh before their next turns.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Command, Sessions};
use crate::domain::SessionId;
use crate::session::SessionError;

/// How many sessions are marked at once, and how many records are read at once.
const AT_ONCE: usize = 32;
const CHUNK: usize = 256;
/// How long a reason may be, in bytes.
const REASON_MAX: usize = 256;

/// How many sessions were marked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Marked {
    /// How many.
    pub marked: usize,
}

impl Sessions {
    /// Marks one session: its agent is started afresh, and takes its conversation up again, before its next turn; a turn
    /// that runs is left alone. Durable; the mark goes when the new agent is ready.
    ///
    /// # Errors
    /// `NotFound`, `Closed`, `Invalid` for a reason that can't be.
    pub async fn recreate(&self, id: &str, reason: Option<String>) -> Result<Marked, SessionError> {
        check_reason(reason.as_deref())?;
        let id = self.resolve(id)?.id;
        self.ask(&id, |reply| Command::Recreate { reason: reason.clone(), reply }).await?;
        Ok(Marked { marked: 1 })
    }

    /// Marks all open sessions, or those of a project.
    ///
    /// # Errors
    /// `Invalid` for a reason that can't be; `Store`.
    pub async fn recreate_all(&self, project: Option<String>, reason: Option<String>) -> Result<Marked, SessionError> {
        check_reason(reason.as_deref())?;
        let marks = self.open_sessions(project.as_deref())?.into_iter().map(|id| {
            let reason = reason.clone();
            async move {
                match self.ask(&id, |reply| Command::Recreate { reason: reason.clone(), reply }).await {
                    Ok(()) => Ok(1),
                    // Closed or deleted in between.
                    Err(SessionError::Closed { .. } | SessionError::NotFound { .. }) => Ok(0),
                    Err(e) => Err(e),
                }
            }
        });
        let marked = stream::iter(marks).buffer_unordered(AT_ONCE);
        let marked = marked.try_fold(0, |all, one| std::future::ready(Ok(all + one))).await?;
        Ok(Marked { marked })
    }

    fn open_sessions(&self, project: Option<&str>) -> Result<Vec<SessionId>, SessionError> {
        let (mut open, mut before) = (Vec::new(), None);
        loop {
            let records = self.shared.store.sessions(before.as_ref(), CHUNK)?;
            let matches = |record: &&crate::domain::SessionRecord| {
                record.closed.is_none() && project.is_none_or(|project| record.project.as_deref() == Some(project))
            };
            open.extend(records.iter().filter(matches).map(|record| record.id.clone()));
            match records.last() {
                Some(last) if records.len() == CHUNK => before = Some(last.id.clone()),
                _ => return Ok(open),
            }
        }
    }
}

fn check_reason(reason: Option<&str>) -> Result<(), SessionError> {
    match reason {
        Some(text) if text.is_empty() || text.len() > REASON_MAX || text.chars().any(char::is_control) => {
            let message = format!("it must have 1 to {REASON_MAX} bytes and no control characters");
            Err(SessionError::Invalid { field: "reason", message })
        }
        _ => Ok(()),
    }
}
