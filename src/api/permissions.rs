//! `/v1/sessions/{id}/permissions`: what the agent asks, and the answers.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::extract::{Id, JsonBody, Params, Sub};
use super::problem::Problem;
use crate::domain::{Page, PermissionRecord};
use crate::session::PermissionAnswer;

/// Pending permission requests, oldest first.
#[utoipa::path(get, path = "/v1/sessions/{id}/permissions", tag = "permissions",
    params(("id" = String, Path, description = "id, key or the agent's own session id")),
    responses((status = 200, body = Page<PermissionRecord>)))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<Page<PermissionRecord>>, Problem> {
    query.only(&[])?;
    Ok(Json(Page { items: api.sessions.permissions(&id).await?, next: None }))
}

/// Answers a pending request, by an option's id or by a kind of option.
#[utoipa::path(post, path = "/v1/sessions/{id}/permissions/{pid}", tag = "permissions",
    request_body = PermissionAnswer, params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("pid" = String, Path, description = "the request's id"),
), responses((status = 200, body = PermissionRecord),
             (status = 409, description = "`permission_stale`: it was answered or withdrawn before")))]
pub(super) async fn answer(
    State(api): State<ApiState>,
    Id(id): Id,
    Sub(pid): Sub,
    query: Params,
    JsonBody(answer): JsonBody<PermissionAnswer>,
) -> Result<Json<PermissionRecord>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.answer(&id, &pid, answer).await?))
}
