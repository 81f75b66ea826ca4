//! Who may ask at all: the Host and Origin allow-lists against DNS rebinding, the bearer token with its scope, the rate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::grants::{Grant, Tokens};
use super::problem::Problem;
use super::rate::{Client, Rate};
use super::scope::{self, Scope};
use super::serve::Place;

/// What begins the subprotocol that carries the token of a browser's WebSocket, which can't set headers.
const TOKEN_PROTOCOL: &str = "bearer.";

/// What a connection came in by; the server puts it into every request. A request without it counts as TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The Unix socket: its mode is the access control.
    Unix,
    /// TCP: every local user and every browser can reach it.
    Tcp,
}

/// The connection that a request came by.
#[derive(Clone, Default)]
pub(super) struct Link {
    pub(super) transport: Option<Transport>,
    pub(super) peer: Option<IpAddr>,
    /// Its place among all connections: what outlives the request keeps it.
    #[expect(dead_code, reason = "it is held, not looked at")]
    pub(super) place: Option<Arc<Place>>,
}

/// Who asks, for handlers whose answer outlasts the question.
#[derive(Clone)]
pub(super) struct Caller {
    /// Cancelled when the token is revoked, and when the daemon stops.
    pub(super) ended: CancellationToken,
    /// The token that was shown; none by the Unix socket, where its mode says who may.
    grant: Option<Arc<Grant>>,
}

impl Caller {
    /// Refuses who has a smaller scope than what a body asks for; `why` says what that is.
    pub(super) fn require(&self, needed: Scope, why: &str) -> Result<(), Problem> {
        match &self.grant {
            Some(grant) if grant.scope < needed => Err(forbidden(grant, needed, why)),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        std::future::ready(caller.ok_or_else(|| Problem::unauthorized("nobody is known to ask"))).await
    }
}

/// The rules of access.
#[derive(Clone)]
pub struct Access {
    /// The tokens.
    pub tokens: Tokens,
    /// How many requests a client may make over TCP; `None`: without a limit.
    pub rate: Option<Arc<Rate>>,
    /// Whether the rate holds for the Unix socket, too.
    pub rate_on_socket: bool,
    /// Host names allowed beside `localhost` and loopback addresses: `name` (any port) or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed: `https://name[:port]`; by default no page of a browser may ask.
    pub allowed_origins: Vec<String>,
}

impl Access {
    /// Everything that can be said before the route is known; the token that was shown.
    ///
    /// # Errors
    /// 421 `host_not_allowed`, 403 `origin_not_allowed`, 401 `unauthorized`.
    fn check(&self, transport: Transport, uri: &Uri, headers: &HeaderMap) -> Result<Option<Arc<Grant>>, Problem> {
        // No browser reaches a Unix socket, and its clients put anything into Host.
        if transport == Transport::Tcp {
            self.check_host(uri, headers)?;
        }
        self.check_origin(headers)?;
        if is_open(uri) {
            return Ok(None);
        }
        self.check_token(transport, headers)
    }

    /// Whether this client may make one more request now.
    fn check_rate(&self, link: &Link, grant: Option<&Grant>) -> Result<(), Problem> {
        let socket = link.transport == Some(Transport::Unix) && !self.rate_on_socket;
        let Some(rate) = self.rate.as_ref().filter(|_| !socket) else { return Ok(()) };
        let client = grant.map_or_else(|| Client::address(link.peer), |grant| Client::Token(grant.name.clone()));
        rate.take(client, Instant::now()).map_err(too_many)
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |shown: &str| {
            let shown: String = shown.chars().take(200).collect();
            let detail = format!("Host `{shown}` is not allowed: use localhost, or name it in `allowed_hosts`");
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", detail).with("host", shown))
        };
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return refused("") };
        let Ok(host) = host.to_str() else { return refused("") };
        // A request target in absolute form overrides the header, so it has to pass as well.
        for host in [Some(host), uri.authority().map(axum::http::uri::Authority::as_str)].into_iter().flatten() {
            if !self.host_allowed(host) {
                return refused(host);
            }
        }
        Ok(())
    }

    fn host_allowed(&self, host: &str) -> bool {
        let name = host_name(host);
        let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let listed = |allowed: &String| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name);
        loopback || name.eq_ignore_ascii_case("localhost") || self.allowed_hosts.iter().any(listed)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            if !self.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
                let origin: String = origin.chars().take(200).collect();
                let detail = format!("Origin `{origin}` is not allowed: name it in `allowed_origins`");
                let problem = Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail);
                return Err(problem.with("origin", origin));
            }
        }
        Ok(())
    }

    fn check_token(&self, transport: Transport, headers: &HeaderMap) -> Result<Option<Arc<Grant>>, Problem> {
        let token = match headers.get(AUTHORIZATION) {
            Some(value) => {
                let value = value.to_str().ok().and_then(|v| v.split_once(' '));
                let token = value.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
                Some(token.ok_or_else(|| {
                    Problem::unauthorized(
                        "the header `Authorization` has to be `Bearer <token>`; the token lies at `<state-dir>/token`",
                    )
                })?)
            }
            None => protocol_token(headers),
        };
        match token {
            Some(token) => self.tokens.check(token.trim()).map(Some).ok_or_else(|| {
                Problem::unauthorized("the token is not valid; the valid one lies at `<state-dir>/token`")
            }),
            None if transport == Transport::Unix => Ok(None),
            None => Err(Problem::unauthorized(
                "this needs the header `Authorization: Bearer <token>`; the token lies at `<state-dir>/token`",
            )),
        }
    }
}

/// What needs no token.
fn is_open(uri: &Uri) -> bool {
    matches!(uri.path(), "/healthz" | "/readyz")
}

/// The token among the subprotocols that a WebSocket asks for.
fn protocol_token(headers: &HeaderMap) -> Option<&str> {
    headers.get(UPGRADE)?;
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL))
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!("too many requests: try again in {seconds} s; `[rate]` of the configuration sets the limit");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds)
}

fn forbidden(grant: &Grant, needed: Scope, what: &str) -> Problem {
    let (has, needs) = (grant.scope.name(), needed.name());
    let detail = format!("{what} needs a token of scope `{needs}`; `{}` has `{has}`", grant.name);
    let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden_scope", detail);
    problem.with("scope", has).with("needed", needs).closing()
}

/// The host without its port; an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name)
}

/// The middleware: before anything else.
pub(super) async fn guard(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let link = request.extensions().get::<Link>().cloned().unwrap_or_default();
    let transport = link.transport.unwrap_or(Transport::Tcp);
    let checked = access.check(transport, request.uri(), request.headers());
    // Who is refused is counted, too.
    if let Err(problem) = access.check_rate(&link, checked.as_ref().ok().and_then(Option::as_deref)) {
        return problem.closing().into_response();
    }
    let grant = match checked {
        Ok(grant) => grant,
        // The body of one who may not ask is not read.
        Err(problem) => return problem.closing().into_response(),
    };
    let Some(grant) = grant else {
        request.extensions_mut().insert(Caller { ended: access.tokens.stopping(), grant: None });
        return next.run(request).await;
    };
    if let Err(problem) = check_scope(&grant, &request) {
        return problem.into_response();
    }
    let ended = grant.ended.clone();
    request.extensions_mut().insert(Caller { ended: ended.clone(), grant: Some(grant.clone()) });
    tokio::select! {
        biased;
        // First, so that who revokes the token that is shown here is answered.
        response = next.run(request) => until_revoked(response, grant),
        () = revoked(&access.tokens, ended) => Problem::unauthorized("the token was revoked").closing().into_response(),
    }
}

fn check_scope(grant: &Grant, request: &Request) -> Result<(), Problem> {
    // Who asks for what is not there may know that.
    let Some(route) = request.extensions().get::<MatchedPath>() else { return Ok(()) };
    let needed = required(request.method(), route.as_str());
    if needed.is_none_or(|needed| grant.scope >= needed) {
        Ok(())
    } else {
        Err(forbidden(grant, needed.unwrap_or(Scope::Admin), "this"))
    }
}

fn required(method: &Method, route: &str) -> Option<Scope> {
    (!matches!(route, "/healthz" | "/readyz")).then(|| scope::required(method, route))
}

/// Resolves when the token is revoked; the daemon's stop is told by the handlers themselves.
async fn revoked(tokens: &Tokens, ended: CancellationToken) {
    ended.cancelled().await;
    if tokens.stopping().is_cancelled() {
        std::future::pending::<()>().await;
    }
}

/// An answer that is still being sent breaks off when its token is revoked: it may not look whole.
fn until_revoked(response: Response, grant: Arc<Grant>) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let cut = body.into_data_stream().take_until(grant.ended.clone().cancelled_owned());
    let end = stream::once(async move { grant.ended.is_cancelled().then_some(Err(axum::Error::new(Revoked))) });
    Response::from_parts(head, Body::from_stream(cut.chain(end.filter_map(std::future::ready))))
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the token was revoked, or the daemon stops")]
struct Revoked;

#[cfg(test)]
mod tests {
    use super::*;

    /// With a token of its own; the directory goes, the store that was read stays.
    fn access() -> (Access, String) {
        thread_local! {
            static TOKENS: (Tokens, String) = crate::api::grants::fixture();
        }
        let (tokens, secret) = TOKENS.with(Clone::clone);
        let access = Access {
            tokens,
            rate: None,
            rate_on_socket: false,
            allowed_hosts: vec!["wharf.lan".into(), "dev.lan:8080".into()],
            allowed_origins: vec!["https://ui.lan".into()],
        };
        (access, secret)
    }

    fn check(transport: Transport, uri: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        access().0.check(transport, &uri.parse().unwrap(), &map).map(drop).map_err(|p| p.code())
    }

    #[test]
    fn hosts_are_allowed_by_name() {
        let ok = ["localhost", "LOCALHOST:1", "127.0.0.1:7717", "[::1]:7717", "[::1]", "wharf.lan:99", "dev.lan:8080"];
        for host in ok {
            assert_eq!(check(Transport::Tcp, "/healthz", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "dev.lan:81", "localhost.evil.example", "127.0.0.1.evil.example", "", "10.0.0.1"] {
            assert_eq!(check(Transport::Tcp, "/healthz", &[("host", host)]), Err("host_not_allowed"), "{host}");
        }
        assert_eq!(check(Transport::Tcp, "/healthz", &[]), Err("host_not_allowed"));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(Transport::Tcp, "/healthz", &twice), Err("host_not_allowed"));
        let absolute = check(Transport::Tcp, "http://evil.example/healthz", &[("host", "localhost")]);
        assert_eq!(absolute, Err("host_not_allowed"));
        assert_eq!(check(Transport::Unix, "/v1/agents", &[("host", "anything")]), Ok(()));
    }

    #[test]
    fn origins_are_refused_unless_listed() {
        let with = |origin| check(Transport::Unix, "/v1/agents", &[("origin", origin)]);
        assert_eq!(with("https://ui.lan"), Ok(()));
        for origin in ["https://evil.example", "null", "http://ui.lan", "https://ui.lan.evil.example"] {
            assert_eq!(with(origin), Err("origin_not_allowed"), "{origin}");
        }
    }

    #[test]
    fn tcp_needs_a_token_and_the_socket_does_not() {
        let tcp = |headers: &[(&str, &str)]| {
            check(Transport::Tcp, "/v1/agents", &[&[("host", "localhost")], headers].concat())
        };
        assert_eq!(tcp(&[]), Err("unauthorized"));
        assert_eq!(tcp(&[("authorization", "Bearer wrong")]), Err("unauthorized"));
        let (basic, bearer) = (format!("Basic {}", access().1), format!("bearer {}", access().1));
        assert_eq!(tcp(&[("authorization", &basic)]), Err("unauthorized"));
        assert_eq!(tcp(&[("authorization", &bearer)]), Ok(()));
        let protocols = format!("wharf, bearer.{}", access().1);
        assert_eq!(tcp(&[("sec-websocket-protocol", &protocols)]), Err("unauthorized"), "no WebSocket");
        assert_eq!(tcp(&[("upgrade", "websocket"), ("sec-websocket-protocol", &protocols)]), Ok(()));
        assert_eq!(tcp(&[("upgrade", "websocket"), ("sec-websocket-protocol", "bearer.x")]), Err("unauthorized"));
        assert_eq!(check(Transport::Unix, "/v1/agents", &[]), Ok(()));
        let wrong = check(Transport::Unix, "/v1/agents", &[("authorization", "Bearer wrong")]);
        assert_eq!(wrong, Err("unauthorized"), "a wrong token is told, even where none is needed");
    }
}
