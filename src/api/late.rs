//! `?wait=true` of a session's events: the stream begins before the session does.

use axum::http::StatusCode;
use bytes::Bytes;

use super::ApiState;
use super::problem::Problem;
use super::sse::Frames;
use crate::session::{LateSubscription, SessionError};

impl Frames for LateSubscription {
    async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        Self::next(self).await
    }
}

/// The events of a session that does not exist yet.
pub(super) fn subscribe(api: &ApiState, id: &str, after: u64) -> Result<LateSubscription, Problem> {
    if after > 0 {
        let detail = format!("event {after} does not exist: there is no session `{id}` yet; read it from the start");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "future_event_id", detail).with("after", after));
    }
    Ok(api.sessions.subscribe_late(id)?)
}
