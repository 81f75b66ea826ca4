//! `/openapi.json`: the description of the API, made from the handlers, with the errors that every route can give.

mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::{ApiState, ProblemBody, scope};

const ABOUT: &str = "wharf gives every coding-agent session its own workspace container and never loses it.\n\n\
`{id}` of a session is its id, its key or the agent's own session id, percent-encoded. Times are RFC 3339 with \
milliseconds, UTC. Errors are `application/problem+json` with a stable `code`; 503 says in `Retry-After` when to try \
again, 429 `rate_limited` as well. Over TCP every route but `/healthz` and `/readyz` needs a bearer token, whose scope is \
`read`, `prompt` or `admin`, each of which includes the one before: what a route asks for stands in its `security`. A \
browser's WebSocket shows its token as the subprotocol `bearer.<token>` beside `wharf`. Over the Unix socket none is needed, \
because its mode is the access control, but a wrong one is refused. `Host` has to be `localhost`, a loopback address \
or one of `allowed_hosts` (TCP), `Origin` absent or one of `allowed_origins`. A token in the URL is never looked at.";

const PROBLEM: &str = "application/problem+json";

/// What the handlers' descriptions are added to.
pub(super) fn base() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("wharf")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", bearer)
        .schema(ProblemBody::name(), ProblemBody::schema())
        .build();
    let bearer = SecurityRequirement::new("bearer", std::iter::empty::<&str>());
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some([bearer])).build()
}

/// The finished document, rendered.
pub(super) fn document(mut api: OpenApi) -> Arc<str> {
    api.paths.paths.insert("/openapi.json".to_owned(), itself());
    for (path, item) in &mut api.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                complete(path, &method, operation);
            }
        }
    }
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    shape::mend(&mut document);
    document.to_string().into()
}

/// The methods of each path.
pub(super) type Methods = BTreeMap<String, Vec<&'static str>>;

/// Which methods each path takes.
pub(super) fn methods(api: &OpenApi) -> Methods {
    let of = |item: &PathItem| {
        let taken = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        taken.into_iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| name).collect()
    };
    api.paths.paths.iter().map(|(path, item)| (path.clone(), of(item))).collect()
}

/// The document's own path.
fn itself() -> PathItem {
    let json = ContentBuilder::new().schema(Some(ObjectBuilder::new())).build();
    let answer = ResponseBuilder::new().description("this document").content("application/json", json).build();
    let operation = OperationBuilder::new().tag("health").response("200", answer).summary(Some("This document."));
    PathItem::new(HttpMethod::Get, operation.build())
}

/// The route of the document; it needs a token like all others.
pub(super) fn route(document: Arc<str>) -> Router<ApiState> {
    let handler = move || {
        let document = document.to_string();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    Router::new().route("/openapi.json", get(handler))
}

/// The errors that come with a path, a query, a body, and with being asked at all.
fn complete(path: &str, method: &Method, operation: &mut Operation) {
    let open = matches!(path, "/healthz" | "/readyz");
    let mut common = vec![
        (
            400,
            "`invalid_path`, `invalid_parameter`, `unknown_parameter`, `invalid_header`, `future_event_id`, `invalid_json`, `incomplete_body`",
        ),
        (403, if open { "`origin_not_allowed`" } else { "`origin_not_allowed`, `forbidden_scope`" }),
        (429, "`rate_limited`"),
        (421, "`host_not_allowed`"),
        (500, "`internal`"),
    ];
    if !open {
        common.push((401, "`unauthorized`"));
        let scope = scope::required(method, path).name();
        operation.security = Some(vec![SecurityRequirement::new("bearer", [scope])]);
        common.push((502, "`engine_failed`, `tether_failed`"));
        common.push((503, "`engine_unreachable`, `store_failed`, `stopping`"));
    }
    if !method.is_safe() {
        common.push((507, "`disk_full`: nothing was changed; make room, then ask again"));
    }
    if path.contains('{') {
        common.push((
            404,
            "`session_not_found`, `workspace_not_found`, `prompt_not_found`, `permission_not_found`, `token_not_found`",
        ));
    }
    if path.starts_with("/v1/sessions/{id}") {
        common.push((409, "`ambiguous_id`"));
        common.push((504, "`timeout`: what was asked for goes on"));
    }
    if operation.request_body.is_some() {
        common.push((408, "`body_timeout`"));
        common.push((413, "`body_too_large`"));
        common.push((415, "`unsupported_media_type`"));
        common.push((422, "`unknown_field`, `missing_field`, `invalid_field`, `unknown_agent`, `unsupported`, `too_large`, `idempotency_key_reused`"));
    }
    for (status, codes) in common {
        let entry = operation.responses.responses.entry(status.to_string());
        entry.or_insert_with(|| ResponseBuilder::new().description(codes).build().into());
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
        {
            let schema = Ref::from_schema_name(ProblemBody::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert(PROBLEM.to_owned(), content.into());
        }
    }
}
