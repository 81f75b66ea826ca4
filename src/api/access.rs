//! Who may ask at all: the Host and Origin allow-lists against DNS rebinding, and the bearer token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::problem::Problem;

/// What a connection came in by; the server puts it into every request. A request without it counts as TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The Unix socket: its mode is the access control.
    Unix,
    /// Loopback TCP: every local user and every browser can reach it.
    Tcp,
}

/// Checks tokens against SHA-256 hashes; the hashes are asked for at every check, so that a rotation is live.
#[derive(Clone)]
pub struct Auth {
    hashes: Arc<dyn Fn() -> Vec<[u8; 32]> + Send + Sync>,
}

impl Auth {
    /// With a source of the hashes of all valid tokens; it must not block.
    pub fn new(hashes: impl Fn() -> Vec<[u8; 32]> + Send + Sync + 'static) -> Self {
        Self { hashes: Arc::new(hashes) }
    }

    /// The hash that a token is kept as.
    #[must_use]
    pub fn hash(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Whether `token` is one of the valid ones; takes the same time whichever it is.
    #[must_use]
    pub fn check(&self, token: &str) -> bool {
        let asked = Self::hash(token);
        let found = (self.hashes)().iter().fold(Choice::from(0), |found, hash| found | asked.ct_eq(hash));
        found.into()
    }
}

/// The rules of access.
#[derive(Clone)]
pub struct Access {
    /// The tokens.
    pub auth: Auth,
    /// Host names allowed beside `localhost` and loopback addresses: `name` (any port) or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed: `https://name[:port]`; by default no page of a browser may ask.
    pub allowed_origins: Vec<String>,
}

impl Access {
    /// Everything that can be said before the route is known.
    ///
    /// # Errors
    /// 421 `host_not_allowed`, 403 `origin_not_allowed`, 401 `unauthorized`.
    pub fn check(&self, transport: Transport, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        // No browser reaches a Unix socket, and its clients put anything into Host.
        if transport == Transport::Tcp {
            self.check_host(uri, headers)?;
        }
        self.check_origin(headers)?;
        if matches!(uri.path(), "/healthz" | "/readyz") {
            return Ok(());
        }
        self.check_token(transport, headers)
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
        let loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
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

    fn check_token(&self, transport: Transport, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return match transport {
                Transport::Unix => Ok(()),
                Transport::Tcp => Err(Problem::unauthorized(
                    "this needs the header `Authorization: Bearer <token>`; the token lies at `<state-dir>/token`",
                )),
            };
        };
        let token =
            value.to_str().ok().and_then(|v| v.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
        match token {
            Some((_, token)) if self.auth.check(token.trim()) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the token is not valid; the valid one lies at `<state-dir>/token`")),
            None => Err(Problem::unauthorized(
                "the header `Authorization` has to be `Bearer <token>`; the token lies at `<state-dir>/token`",
            )),
        }
    }
}

/// The host without its port; an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name)
}

/// The middleware: before anything else.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let transport = request.extensions().get().copied().unwrap_or(Transport::Tcp);
    match access.check(transport, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        // The body of one who may not ask is not read.
        Err(problem) => problem.closing().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            auth: Auth::new(|| vec![Auth::hash("other"), Auth::hash("secret")]),
            allowed_hosts: vec!["wharf.lan".into(), "dev.lan:8080".into()],
            allowed_origins: vec!["https://ui.lan".into()],
        }
    }

    fn check(transport: Transport, uri: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        access().check(transport, &uri.parse().unwrap(), &map).map_err(|p| p.code())
    }

    #[test]
    fn tokens_are_compared_by_hash() {
        let auth = access().auth;
        assert!(auth.check("secret") && auth.check("other"));
        for wrong in ["", "secre", "secret ", "Secret"] {
            assert!(!auth.check(wrong), "{wrong:?}");
        }
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
        assert_eq!(tcp(&[("authorization", "Basic secret")]), Err("unauthorized"));
        assert_eq!(tcp(&[("authorization", "bearer secret")]), Ok(()));
        assert_eq!(check(Transport::Unix, "/v1/agents", &[]), Ok(()));
        let wrong = check(Transport::Unix, "/v1/agents", &[("authorization", "Bearer wrong")]);
        assert_eq!(wrong, Err("unauthorized"), "a wrong token is told, even where none is needed");
    }
}
