//! Every error that a client can see: the one place where errors become HTTP statuses and stable codes.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::session::SessionError;
use crate::store::StoreError;
use crate::terminal::TerminalError;
use crate::workspace::{PathProblem, WorkspaceError};

/// Seconds after which a client may try again what failed for the daemon's own reasons.
const RETRY_SECONDS: &str = "2";

/// An error as RFC 9457 has it: `application/problem+json`.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    extra: Box<Map<String, Value>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:wharf:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What a program may rely on: `session_not_found`, `invalid_json`, …; never changes its meaning.
    pub code: String,
    /// What is wrong here and what to do about it.
    pub detail: String,
    /// The path that was asked for.
    #[serde(default)]
    pub instance: String,
    /// What belongs to the code: `looked_up`, `field`, `allowed`, `line`, `column`, `limit`, `ids`, `state`, ….
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// A problem with this status, code (snake_case) and explanation.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), extra: Box::default(), headers: Vec::new() }
    }

    /// Adds a field beside the standard ones.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// A parameter of the URL that can't be.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail).with("parameter", name)
    }

    /// A field of the body that can't be.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).with("field", name)
    }

    /// A body beyond `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes, the most that is taken here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("limit", limit).closing()
    }

    /// A missing or wrong token.
    #[must_use]
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"wharf\""))
    }

    /// The daemon is stopping.
    #[must_use]
    pub fn stopping() -> Self {
        Self::from(SessionError::Stopping)
    }

    /// The rest of the request will not be read.
    #[must_use]
    pub fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry(self) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS))
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn body(self, instance: String) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:wharf:problem:{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail,
            instance,
            extra: *self.extra,
        }
    }
}

/// `session_not_found` as people write it.
fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// The body is written by `outer`, which knows the path.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        if let StoreError::TooLarge { size, limit, .. } = e {
            let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", e.to_string());
            return problem.with("size", size).with("limit", limit);
        }
        if let StoreError::Full { free, reserve, .. } = e {
            tracing::warn!(error = %e, "a request was refused");
            let problem = Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", e.to_string());
            return problem.with("free", free).with("reserve", reserve);
        }
        tracing::error!(error = %e, "the store could not serve a request");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", e.to_string()).retry()
    }
}

impl From<WorkspaceError> for Problem {
    fn from(e: WorkspaceError) -> Self {
        let detail = e.to_string();
        let problem = |status, code| Self::new(status, code, detail.clone());
        match e {
            WorkspaceError::NotFound { looked_up } => {
                problem(StatusCode::NOT_FOUND, "workspace_not_found").with("looked_up", looked_up)
            }
            WorkspaceError::NameTaken { name, id } => {
                problem(StatusCode::CONFLICT, "name_taken").with("name", name).with("workspace", id)
            }
            // A place in a list is named in the URL, everything else in the body.
            WorkspaceError::Invalid { field: "after", .. } => Self::parameter("after", detail),
            WorkspaceError::Invalid { field, .. } => Self::field(field, detail),
            WorkspaceError::ImageMissing { image, hint } => {
                problem(StatusCode::CONFLICT, "image_missing").with("image", image).with("hint", hint)
            }
            WorkspaceError::EngineUnreachable { .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "engine_unreachable").retry()
            }
            WorkspaceError::Engine { .. } => problem(StatusCode::BAD_GATEWAY, "engine_failed"),
            WorkspaceError::Tether { .. } => problem(StatusCode::BAD_GATEWAY, "tether_failed"),
            WorkspaceError::HostDisabled => problem(StatusCode::UNPROCESSABLE_ENTITY, "host_disabled"),
            WorkspaceError::HostAway { .. } => problem(StatusCode::SERVICE_UNAVAILABLE, "host_unreachable").retry(),
            WorkspaceError::NotOnHost { .. } => problem(StatusCode::CONFLICT, "not_on_host"),
            WorkspaceError::Deleting { id } => {
                problem(StatusCode::CONFLICT, "workspace_deleting").with("workspace", id)
            }
            WorkspaceError::Setup { output, .. } => {
                problem(StatusCode::CONFLICT, "setup_failed").with("output", output)
            }
            WorkspaceError::Path { why, .. } => {
                let (status, code) = match why {
                    PathProblem::NotFound => (StatusCode::NOT_FOUND, "path_not_found"),
                    PathProblem::Outside => (StatusCode::UNPROCESSABLE_ENTITY, "path_outside"),
                    PathProblem::Kind => (StatusCode::UNPROCESSABLE_ENTITY, "path_kind"),
                    PathProblem::Denied => (StatusCode::UNPROCESSABLE_ENTITY, "path_denied"),
                    PathProblem::Archive => (StatusCode::UNPROCESSABLE_ENTITY, "archive_invalid"),
                    PathProblem::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
                };
                let mut problem = problem(status, code);
                if why == PathProblem::Outside {
                    problem.detail.push_str("; give a path below `/workspace` or `/home/agent`");
                }
                problem
            }
            WorkspaceError::TooLarge { limit, .. } => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large").with("limit", limit)
            }
            WorkspaceError::Store(e) => Self::from(e),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(e: SessionError) -> Self {
        let detail = e.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        let missing = |code| Self::new(StatusCode::NOT_FOUND, code, detail.clone());
        let unprocessable = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        match e {
            SessionError::TooManyWaiting { limit } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_waiting", detail).with("limit", limit).retry()
            }
            SessionError::NotFound { looked_up } => missing("session_not_found").with("looked_up", looked_up),
            SessionError::Ambiguous { looked_up, ids } => {
                conflict("ambiguous_id").with("looked_up", looked_up).with("ids", ids)
            }
            SessionError::Invalid { field: "after", .. } => Self::parameter("after", detail),
            SessionError::Invalid { field, .. } => Self::field(field, detail),
            SessionError::UnknownAgent { known, .. } => {
                unprocessable("unknown_agent").with("field", "agent").with("allowed", known)
            }
            SessionError::Closed { id } => conflict("session_closed").with("session", id.to_string()),
            SessionError::Busy { id } => conflict("session_busy").with("session", id.to_string()),
            SessionError::CapReached { id, field, used, limit, .. } => {
                let reached = conflict("cap_reached").with("session", id.to_string());
                reached.with("field", field).with("used", used).with("limit", limit)
            }
            SessionError::QueueFull { id, limit } => {
                let full = Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail);
                full.with("session", id.to_string()).with("limit", limit).retry()
            }
            SessionError::PromptNotFound { n, .. } => missing("prompt_not_found").with("looked_up", n),
            SessionError::PromptNotPending { state, .. } => {
                conflict("prompt_not_pending").with("state", serde_json::to_value(state).unwrap_or_default())
            }
            SessionError::PermissionNotFound { permission, .. } => {
                missing("permission_not_found").with("looked_up", permission)
            }
            SessionError::PermissionStale { permission, .. } => {
                conflict("permission_stale").with("permission", permission)
            }
            SessionError::IdempotencyReused { .. } => unprocessable("idempotency_key_reused"),
            SessionError::Failed { id, .. } => conflict("session_failed").with("session", id.to_string()),
            SessionError::Unsupported(_) => unprocessable("unsupported"),
            SessionError::Workspace(e) => Self::from(e),
            SessionError::Store(e) => Self::from(e),
            SessionError::Timeout { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail),
            SessionError::Resting | SessionError::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail).retry()
            }
        }
    }
}

impl From<TerminalError> for Problem {
    fn from(e: TerminalError) -> Self {
        let detail = e.to_string();
        match e {
            TerminalError::NotFound(id) => {
                Self::new(StatusCode::NOT_FOUND, "terminal_not_found", detail).with("looked_up", id)
            }
            TerminalError::Invalid { field, .. } => Self::field(field, detail),
            TerminalError::Full(limit) => {
                Self::new(StatusCode::CONFLICT, "too_many_terminals", detail).with("limit", limit)
            }
            TerminalError::StartFailed(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "start_failed", detail),
            TerminalError::Over => Self::new(StatusCode::CONFLICT, "terminal_ended", detail),
            TerminalError::Workspace(e) => Self::from(e),
        }
    }
}

/// Outermost: a panic becomes a 500 without details, and problems get their body.
pub(super) async fn outer(request: Request, next: Next) -> Response {
    let path: String = request.uri().path().chars().take(1024).collect();
    let mut response = match std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = message, "a request handler panicked");
            let detail = "a fault in the daemon; its log has the details";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
    };
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let body = serde_json::to_vec(&problem.body(path)).unwrap_or_default();
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = Body::from(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;

    #[test]
    fn errors_have_their_status_code_and_fields() {
        let id = SessionId::new("demo");
        let cases: Vec<(Problem, u16, &str, &str)> = vec![
            (SessionError::NotFound { looked_up: "x".into() }.into(), 404, "session_not_found", "looked_up"),
            (SessionError::Busy { id: id.clone() }.into(), 409, "session_busy", "session"),
            (SessionError::QueueFull { id, limit: 3 }.into(), 429, "queue_full", "limit"),
            (
                SessionError::UnknownAgent { name: "x".into(), known: vec!["demo".into()] }.into(),
                422,
                "unknown_agent",
                "allowed",
            ),
            (WorkspaceError::NotFound { looked_up: "w".into() }.into(), 404, "workspace_not_found", "looked_up"),
            (
                SessionError::Workspace(WorkspaceError::ImageMissing { image: "i".into(), hint: "make images".into() })
                    .into(),
                409,
                "image_missing",
                "hint",
            ),
        ];
        for (problem, status, code, field) in cases {
            assert_eq!((problem.status.as_u16(), problem.code), (status, code));
            assert!(problem.extra.contains_key(field), "{code} lacks {field}");
        }
    }

    #[test]
    fn what_may_pass_says_when_to_retry() {
        let unreachable = WorkspaceError::EngineUnreachable { message: "no socket".into() };
        for problem in
            [Problem::from(unreachable), Problem::stopping(), StoreError::Failed { why: "full".into() }.into()]
        {
            let response = problem.into_response();
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[RETRY_AFTER], RETRY_SECONDS);
        }
    }

    #[test]
    fn a_title_is_the_code_in_words() {
        assert_eq!(title("session_not_found"), "Session not found");
    }
}
