//! `/healthz`: the daemon answers; `/readyz`: it and all that it needs can serve, or what can't and what to do.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::problem::Problem;

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A part that the daemon needs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Component {
    /// `store`, `engine`, ….
    pub name: String,
    /// Whether it can serve.
    pub ok: bool,
    /// What it is or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// The daemon's version.
    pub version: String,
}

/// Whether the daemon can serve.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Always `ready`; where it is not, the answer is a problem with `components`.
    pub status: String,
    /// The daemon's version.
    pub version: String,
    /// Its parts.
    pub components: Vec<Component>,
}

/// Whether the daemon answers; needs no token.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    let health = Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    std::future::ready(Json(health)).await
}

/// Whether store and engine can serve; needs no token. 503 says in `components` what can't.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, body = Readiness),
    (status = 503, description = "`not_ready`, with `components`; `stopping`", body = super::ProblemBody,
     content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(api): State<ApiState>) -> Result<Json<Readiness>, Problem> {
    if api.stop.is_cancelled() {
        return Err(Problem::stopping());
    }
    let components = tokio::time::timeout(PROBE_TIMEOUT, (api.ready)()).await.unwrap_or_else(|_| {
        let message = format!("not all parts answered within {} s", PROBE_TIMEOUT.as_secs());
        vec![Component { name: "probe".to_owned(), ok: false, message: Some(message), fix: None }]
    });
    let version = env!("CARGO_PKG_VERSION").to_owned();
    if components.iter().all(|c| c.ok) {
        return Ok(Json(Readiness { status: "ready".to_owned(), version, components }));
    }
    let reasons: Vec<String> = components
        .iter()
        .filter(|c| !c.ok)
        .map(|c| format!("{}: {}", c.name, c.message.as_deref().unwrap_or("does not serve")))
        .collect();
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reasons.join("; "));
    let components = serde_json::to_value(components).unwrap_or_default();
    Err(problem.with("version", version).with("components", components).retry())
}
