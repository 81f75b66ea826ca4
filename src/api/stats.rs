//! `GET /v1/stats`: totals of all sessions or of one project's, and what the daemon takes.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::Params;
use super::problem::Problem;
use crate::session::SessionTotals;

/// Totals.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Of the sessions.
    pub sessions: SessionTotals,
    /// Readers of live events, of one session or of all.
    pub subscribers: u64,
    /// Bytes that the store takes on the disk.
    pub disk_use: u64,
    /// Seconds since the daemon started.
    pub uptime: u64,
    /// The daemon's version.
    pub version: String,
}

/// Totals: sessions by status and agent, queue depth, active work, subscribers, disk use.
///
/// With `project` the sessions are those of that project; `user_turn_in_flight` then tells whether a user's turn runs or
/// waits in it. Sessions labelled `wharf.automated=true` are programs' own and don't count there.
#[utoipa::path(get, path = "/v1/stats", tag = "health",
    params(("project" = Option<String>, Query, description = "count the sessions of this project only")),
    responses((status = 200, body = Stats)))]
pub(super) async fn read(State(api): State<ApiState>, query: Params) -> Result<Json<Stats>, Problem> {
    let query = query.only(&["project"])?;
    let (sessions, _) = api.sessions.totals(query.one("project")?)?;
    Ok(Json(Stats {
        sessions,
        subscribers: api.sessions.subscribers() as u64,
        disk_use: api.sessions.disk_use().await?,
        uptime: api.sessions.uptime().as_secs(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}
