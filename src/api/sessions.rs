//! `/v1/sessions`: make, list, read, change, close, restore and cancel.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::access::Caller;
use super::extract::{Id, JsonBody, Params};
use super::problem::Problem;
use super::scope::Scope;
use crate::domain::{Page, SessionStatus};
use crate::session::{Cancelled, Marked, NewSession, SessionChanges, SessionFilter, SessionView, WorkspaceChoice};
use crate::workspace::Workspaces;

/// Makes a session; the agent is started in the background.
///
/// With a `key` that is known: 200 and that session, its model changed if another is asked for. A spec in `workspace`, and
/// the workspace `host`, need a token of scope `admin`.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = NewSession, responses(
    (status = 201, description = "made", body = SessionView,
     headers(("location" = String, description = "its path"))),
    (status = 200, description = "there was one with this key", body = SessionView),
    (status = 404, description = "`workspace_not_found`"),
    (status = 409, description = "`image_missing`, `session_closed`, `workspace_deleting`"),
))]
pub(super) async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    query: Params,
    JsonBody(new): JsonBody<NewSession>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    check_place(&api, &caller, new.workspace.as_ref())?;
    let created = api.sessions.create(new).await?;
    if !created.new {
        return Ok(Json(created.session).into_response());
    }
    let location = format!("/v1/sessions/{}", created.session.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(created.session)).into_response())
}

/// Who may talk with agents may not therefore say where they run.
fn check_place(api: &ApiState, caller: &Caller, place: Option<&WorkspaceChoice>) -> Result<(), Problem> {
    let host = |name: &str| {
        Workspaces::is_host_name(name) || api.workspaces.resolve(name).is_ok_and(|workspace| workspace.host)
    };
    match place {
        Some(WorkspaceChoice::Inline(_)) => caller.require(Scope::Admin, "a session with a workspace of its own spec"),
        Some(WorkspaceChoice::Existing(name)) if host(name) => caller.require(Scope::Admin, "a session on the host"),
        _ => Ok(()),
    }
}

/// Sessions, newest first; all filters have to match.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions", params(
    ("app" = Option<String>, Query, description = "the part of the key before its first colon"),
    ("workspace" = Option<String>, Query, description = "id or name"),
    ("agent" = Option<String>, Query),
    ("status" = Option<SessionStatus>, Query),
    ("project" = Option<String>, Query),
    ("task_id" = Option<String>, Query),
    ("mcp_session_id" = Option<String>, Query),
    ("label" = Option<Vec<String>>, Query, description = "`key=value`; may be repeated, all have to match"),
    ("closed" = Option<bool>, Query, description = "list closed sessions too"),
    ("after" = Option<String>, Query, description = "`next` of the page before"),
    ("limit" = Option<u16>, Query, description = "items at most; 100 by default", minimum = 1, maximum = 1000),
), responses((status = 200, body = Page<SessionView>), (status = 404, description = "`workspace_not_found`")))]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<SessionView>>, Problem> {
    let known = ["app", "workspace", "agent", "status", "project", "task_id", "mcp_session_id", "label", "closed"];
    let query = query.only(&[&known[..], &["after", "limit"]].concat())?;
    let filter = filter(&query)?;
    Ok(Json(api.sessions.list(filter, query.text("after")?, query.limit()?).await?))
}

fn filter(query: &Params) -> Result<SessionFilter, Problem> {
    let status = query.one("status")?.map(|text| {
        serde_json::from_value::<SessionStatus>(text.into()).map_err(|e| Problem::parameter("status", e.to_string()))
    });
    let label = |text: &str| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Problem::parameter("label", "`label` has to be `key=value`")),
    };
    Ok(SessionFilter {
        app: query.text("app")?,
        workspace: query.text("workspace")?,
        agent: query.text("agent")?,
        status: status.transpose()?,
        project: query.text("project")?,
        task_id: query.text("task_id")?,
        mcp_session_id: query.text("mcp_session_id")?,
        labels: query.all("label").map(label).collect::<Result<_, _>>()?,
        closed: query.flag("closed")?,
    })
}

/// One session.
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "id, key or the agent's own session id")),
    responses((status = 200, body = SessionView)))]
pub(super) async fn get(State(api): State<ApiState>, Id(id): Id, query: Params) -> Result<Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.get(&id).await?))
}

/// Changes fields; absent ones stay.
#[utoipa::path(patch, path = "/v1/sessions/{id}", tag = "sessions", request_body = SessionChanges,
    params(("id" = String, Path, description = "id, key or the agent's own session id")),
    responses((status = 200, body = SessionView), (status = 409, description = "`session_closed`")))]
pub(super) async fn change(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    JsonBody(changes): JsonBody<SessionChanges>,
) -> Result<Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.change(&id, changes).await?))
}

/// Closes a session: its agent is stopped and proven gone; record and log are kept unless `purge` is set.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("purge" = Option<bool>, Query, description = "drop record and log too"),
), responses((status = 200, description = "as it was last", body = SessionView)))]
pub(super) async fn close(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<SessionView>, Problem> {
    let purge = query.only(&["purge"])?.flag("purge")?;
    Ok(Json(api.sessions.close(&id, purge).await?))
}

/// Wakes a session; answers when its agent is ready.
#[utoipa::path(post, path = "/v1/sessions/{id}/restore", tag = "sessions",
    params(("id" = String, Path, description = "id, key or the agent's own session id")),
    responses((status = 200, body = SessionView),
              (status = 409, description = "`session_closed`, `session_failed`, `image_missing`"),
              (status = 422, description = "`host_disabled`")))]
pub(super) async fn restore(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.restore(&id).await?))
}

/// Forgets the conversation: the agent is ended, and begins afresh at the next prompt. Session, key, log and subscribers
/// stay; a running turn is cancelled, and waiting prompts are withdrawn.
#[utoipa::path(post, path = "/v1/sessions/{id}/reset", tag = "sessions",
    params(("id" = String, Path, description = "id, key or the agent's own session id")),
    responses((status = 200, body = SessionView),
              (status = 409, description = "`session_closed`, `session_failed`")))]
pub(super) async fn reset(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<SessionView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.sessions.reset(&id).await?))
}

/// Has a session's agent started afresh before its next turn; a turn that runs is left alone.
///
/// It takes its conversation up again. The mark is durable, and goes when the new agent is ready.
#[utoipa::path(post, path = "/v1/sessions/{id}/recreate", tag = "sessions", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("reason" = Option<String>, Query, description = "for the log"),
), responses((status = 200, body = Marked), (status = 409, description = "`session_closed`"),
             (status = 422, description = "`invalid_field`")))]
pub(super) async fn recreate(State(api): State<ApiState>, Id(id): Id, query: Params) -> Result<Json<Marked>, Problem> {
    let reason = query.only(&["reason"])?.text("reason")?;
    Ok(Json(api.sessions.recreate(&id, reason).await?))
}

/// The same for all open sessions, or for those of a project.
#[utoipa::path(post, path = "/v1/sessions/recreate", tag = "sessions", params(
    ("project" = Option<String>, Query, description = "only sessions of this project"),
    ("reason" = Option<String>, Query, description = "for the log"),
), responses((status = 200, body = Marked), (status = 422, description = "`invalid_field`")))]
pub(super) async fn recreate_all(State(api): State<ApiState>, query: Params) -> Result<Json<Marked>, Problem> {
    let query = query.only(&["project", "reason"])?;
    Ok(Json(api.sessions.recreate_all(query.text("project")?, query.text("reason")?).await?))
}

/// Ends the running turn and every process born in it; answers when its end is in the log.
#[utoipa::path(post, path = "/v1/sessions/{id}/cancel", tag = "sessions", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("queue" = Option<bool>, Query, description = "withdraw the waiting prompts too"),
), responses((status = 200, body = Cancelled), (status = 409, description = "`session_closed`")))]
pub(super) async fn cancel(State(api): State<ApiState>, Id(id): Id, query: Params) -> Result<Json<Cancelled>, Problem> {
    let queue = query.only(&["queue"])?.flag("queue")?;
    Ok(Json(api.sessions.cancel(&id, queue).await?))
}
