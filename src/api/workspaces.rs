//! `/v1/workspaces`: make, list, read, delete, start, stop, make anew, and their logs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::extract::{Id, JsonBody, Params};
use super::problem::Problem;
use crate::domain::Page;
use crate::workspace::{NewWorkspace, WorkspaceChanges, WorkspaceView};

/// Makes a workspace; its container is made when it is first needed.
///
/// With a `name` that is known: 200 and that workspace if its spec is equal, else 409 `name_taken`.
#[utoipa::path(post, path = "/v1/workspaces", tag = "workspaces", request_body = NewWorkspace, responses(
    (status = 201, description = "made", body = WorkspaceView,
     headers(("location" = String, description = "its path"))),
    (status = 200, description = "there was one with this name and an equal spec", body = WorkspaceView),
    (status = 409, description = "`name_taken`, `workspace_deleting`"),
))]
pub(super) async fn create(
    State(api): State<ApiState>,
    query: Params,
    JsonBody(new): JsonBody<NewWorkspace>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let (workspace, made) = api.workspaces.create(new).await?;
    if !made {
        return Ok(Json(workspace).into_response());
    }
    let location = format!("/v1/workspaces/{}", workspace.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(workspace)).into_response())
}

/// All workspaces, newest first.
#[utoipa::path(get, path = "/v1/workspaces", tag = "workspaces", params(
    ("after" = Option<String>, Query, description = "`next` of the page before"),
    ("limit" = Option<u16>, Query, description = "items at most; 100 by default", minimum = 1, maximum = 1000),
), responses((status = 200, body = Page<WorkspaceView>)))]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<WorkspaceView>>, Problem> {
    let query = query.only(&["after", "limit"])?;
    Ok(Json(api.workspaces.list(query.text("after")?, query.limit()?).await?))
}

/// One workspace, by id or name.
#[utoipa::path(get, path = "/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path, description = "id or name")),
    responses((status = 200, body = WorkspaceView)))]
pub(super) async fn get(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<WorkspaceView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.workspaces.get(&id).await?))
}

/// Deletes a workspace with its sessions, its container and its volumes: nothing of it is left.
#[utoipa::path(delete, path = "/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path, description = "id or name")),
    responses((status = 204, description = "deleted")))]
pub(super) async fn delete(State(api): State<ApiState>, Id(id): Id, query: Params) -> Result<StatusCode, Problem> {
    query.only(&[])?;
    api.sessions.delete_workspace(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts its container, making it if need be; answers when it serves, and its repository and setup command are done. A
/// setup that failed is tried again.
#[utoipa::path(post, path = "/v1/workspaces/{id}/start", tag = "workspaces",
    params(("id" = String, Path, description = "id or name")),
    responses((status = 200, body = WorkspaceView), (status = 409, description = "`image_missing`, `workspace_deleting`, `setup_failed`"),
              (status = 422, description = "`host_disabled`")))]
pub(super) async fn start(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<WorkspaceView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.workspaces.start(&id).await?))
}

/// Stops its container; answers when nothing of it runs any more. Its sessions rest before: a running turn is cancelled,
/// waiting prompts wait for the next request.
#[utoipa::path(post, path = "/v1/workspaces/{id}/stop", tag = "workspaces",
    params(("id" = String, Path, description = "id or name")),
    responses((status = 200, body = WorkspaceView), (status = 409, description = "`workspace_deleting`")))]
pub(super) async fn stop(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<WorkspaceView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.stop_workspace(&id).await?))
}

/// Makes its container anew, with what the body changes, and starts it; the volumes stay. Its sessions rest before (a
/// running turn is cancelled), and those that were awake resume in the new container. A setup that failed is tried again.
#[utoipa::path(post, path = "/v1/workspaces/{id}/recreate", tag = "workspaces",
    params(("id" = String, Path, description = "id or name")),
    request_body = Option<WorkspaceChanges>,
    responses((status = 200, body = WorkspaceView),
        (status = 409, description = "`image_missing`, `workspace_deleting`, `setup_failed`"),
        (status = 504, description = "`timeout`: what was asked for goes on")))]
pub(super) async fn recreate(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    JsonBody(changes): JsonBody<WorkspaceChanges>,
) -> Result<Json<WorkspaceView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.recreate_workspace(&id, changes).await?))
}

/// Its log, a line each behind its time: what happened to it, what cloning and setup command wrote, and what its
/// container's first process said.
#[utoipa::path(get, path = "/v1/workspaces/{id}/logs", tag = "workspaces", params(
    ("id" = String, Path, description = "id or name"),
    ("tail" = Option<u64>, Query, description = "lines of before at most; 1000 by default"),
    ("follow" = Option<bool>, Query, description = "whether new lines follow"),
), responses((status = 200, description = "lines", body = String, content_type = "text/plain")))]
pub(super) async fn logs(State(api): State<ApiState>, Id(id): Id, query: Params) -> Result<Response, Problem> {
    let query = query.only(&["tail", "follow"])?;
    let tail = query.number("tail")?.map_or(1000, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
    let lines = api.workspaces.logs(&id, tail, query.flag("follow")?).await?;
    Ok(super::files::text(lines, api.stop.clone()))
}
