//! One span and one line for each request: method, route, status and time; never tokens, bodies or ids of clients.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

pub(super) async fn span(request: Request, next: Next) -> Response {
    // The route, not the path: a path may hold what a client calls its sessions.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let reads = method.is_safe();
    let span = tracing::info_span!("request", %method, route);
    let begun = Instant::now();
    async move {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        match status {
            500.. => tracing::warn!(status, ms, "failed"),
            _ if reads => tracing::debug!(status, ms, "answered"),
            _ => tracing::info!(status, ms, "answered"),
        }
        response
    }
    .instrument(span)
    .await
}
