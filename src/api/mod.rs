//! The HTTP API: routes, access, errors and streams over the managers; the only room that names axum.

mod access;
mod agents;
mod all_events;
mod body;
mod events;
mod extract;
mod files;
mod grants;
mod health;
mod late;
mod linger;
mod listen;
mod metrics;
mod openapi;
mod orphans;
mod permissions;
mod problem;
mod prompts;
mod rate;
mod scope;
mod serve;
mod sessions;
mod sse;
mod stats;
mod terminal;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod trace;
mod wait;
mod workspaces;
mod ws;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::{Access, Transport};
pub use agents::{AgentAbilities, AgentInfo, When};
pub use files::FilesTaken;
pub use grants::{FIRST_TOKEN, TokenError, TokenView, Tokens};
pub use health::{Component, Health, Readiness};
pub use listen::{ListenError, Listeners};
pub use problem::{Problem, ProblemBody};
pub use rate::Rate;
pub use scope::Scope;
pub use serve::{Limits, serve};
pub use stats::Stats;
pub use terminal::{TerminalInput, TerminalOutput};
pub use tls::{Tls, TlsError};
pub use tokens::{MadeToken, NewToken};
pub use wait::TurnResult;

use crate::session::Sessions;
use crate::terminal::Terminals;
use crate::workspace::Workspaces;

/// A question that the composition root answers.
pub type Ask<T> = Arc<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>;

/// What is known of the agents, in their own images or in another.
pub type AskAgents = Arc<dyn Fn(Option<String>) -> BoxFuture<'static, Vec<AgentInfo>> + Send + Sync>;

/// What the handlers need; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The sessions.
    pub sessions: Sessions,
    /// The workspaces.
    pub workspaces: Workspaces,
    /// The catalogue of agents, in its order.
    pub agents: AskAgents,
    /// The state of each part that the daemon needs; bounded to 10 s by the caller.
    pub ready: Ask<Vec<Component>>,
    /// The terminals.
    pub terminals: Terminals,
    /// The tokens.
    pub tokens: Tokens,
    /// After how long a silent stream says that it is there, and a WebSocket asks whether its client is.
    pub ping: Duration,
    /// Ends streams and waits when the daemon stops.
    pub stop: CancellationToken,
}

/// The router with everything around it: errors, tracing and access.
pub fn router(state: ApiState, access: Access) -> Router {
    let (routes, description) = documented().split_for_parts();
    let methods = Arc::new(openapi::methods(&description));
    let document = openapi::document(description);
    routes
        .merge(openapi::route(document))
        .with_state(state)
        .fallback(not_found)
        .method_not_allowed_fallback(move |method, path| method_not_allowed(methods.clone(), method, path))
        // The last one is the outermost.
        .layer(from_fn_with_state(Arc::new(access), access::guard))
        .layer(from_fn(problem::outer))
        .layer(from_fn(trace::span))
}

/// The description of the API, as `/openapi.json` gives it, for people to read.
#[must_use]
pub fn description() -> String {
    let (_, description) = documented().split_for_parts();
    let document: serde_json::Value = serde_json::from_str(&openapi::document(description)).unwrap_or_default();
    format!("{document:#}\n")
}

fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(workspaces::create, workspaces::list))
        .routes(routes!(workspaces::get, workspaces::delete))
        .routes(routes!(workspaces::start))
        .routes(routes!(workspaces::stop))
        .routes(routes!(terminal::create, terminal::list))
        .routes(routes!(terminal::attach, terminal::end))
        .routes(routes!(workspaces::recreate))
        .routes(routes!(workspaces::logs))
        .routes(routes!(files::get, files::put))
        .routes(routes!(sessions::create, sessions::list))
        .routes(routes!(sessions::get, sessions::change, sessions::close))
        .routes(routes!(sessions::restore))
        .routes(routes!(sessions::reset))
        .routes(routes!(sessions::cancel))
        .routes(routes!(sessions::recreate))
        .routes(routes!(sessions::recreate_all))
        .routes(routes!(prompts::create, prompts::list))
        .routes(routes!(prompts::withdraw))
        .routes(routes!(permissions::list))
        .routes(routes!(permissions::answer))
        .routes(routes!(events::read))
        .routes(routes!(all_events::read))
        .routes(routes!(stats::read))
        .routes(routes!(metrics::read))
        .routes(routes!(agents::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::rotate))
        .routes(routes!(orphans::list, orphans::remove))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

async fn not_found(uri: axum::http::Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("there is no route `{path}`; /openapi.json lists them all");
    std::future::ready(Problem::new(StatusCode::NOT_FOUND, "route_not_found", detail).with("looked_up", path))
        .await
        .into_response()
}

async fn method_not_allowed(
    methods: Arc<openapi::Methods>,
    method: axum::http::Method,
    path: Option<axum::extract::MatchedPath>,
) -> Response {
    // The document's own route is not in the document that the handlers make.
    let taken = path.and_then(|path| methods.get(path.as_str())).map_or(&["GET"][..], Vec::as_slice);
    let detail = format!("this route does not take {method}; it takes {}", taken.join(", "));
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).with("allowed", taken);
    std::future::ready(problem).await.into_response()
}
