//! `/v1/orphans`: what this daemon made in the engine and no longer knows; `wharf doctor` asks here.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::extract::Params;
use super::problem::Problem;
use crate::domain::Page;
use crate::workspace::Orphan;

/// Containers, volumes and directories of this daemon that belong to no workspace; processes in connected workspaces that
/// have a session's name and that it does not know; and, marked `shared`, tether's volumes
/// of other versions that no container uses.
#[utoipa::path(get, path = "/v1/orphans", tag = "health", responses((status = 200, body = Page<Orphan>)))]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<Orphan>>, Problem> {
    query.only(&[])?;
    Ok(Json(Page { items: api.workspaces.orphans().await?, next: None }))
}

/// Removes those that are this daemon's alone, and answers what was removed.
#[utoipa::path(delete, path = "/v1/orphans", tag = "health", responses((status = 200, body = Page<Orphan>)))]
pub(super) async fn remove(State(api): State<ApiState>, query: Params) -> Result<Json<Page<Orphan>>, Problem> {
    query.only(&[])?;
    Ok(Json(Page { items: api.workspaces.remove_orphans().await?, next: None }))
}
