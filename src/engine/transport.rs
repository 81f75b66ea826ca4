//! How requests reach the engine: connections that are kept alive, and the API version that the engine speaks.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bollard::{BollardRequest, ClientVersion, Docker, errors::Error as Bollard};
use hyper::{Uri, http::uri::PathAndQuery};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::UnixStream;

use super::EngineError;

/// Where the engine listens when nothing else is said.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A cut network link is silent: a connection on which nothing comes is probed after this long, and then so often.
const KEEPALIVE: Duration = Duration::from_secs(10);
const PROBES: u32 = 2;
const PROBE: Duration = Duration::from_secs(5);
/// Probes are for connections on which nothing is under way: what was sent and is not acknowledged for so long ends one,
/// too. The system alone would try again for a quarter of an hour, at ever longer intervals.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket: the engine is on this machine.
    Unix(PathBuf),
    /// Plain TCP, `host:port`.
    Tcp(String),
}

impl Endpoint {
    /// Reads `unix:///path`, `/path`, `tcp://host:port` or `http://host:port`.
    ///
    /// # Errors
    /// `Invalid` with what would be right.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        let invalid = |why: &str| EngineError::Invalid {
            message: format!(
                "`{text}` is no engine address: {why}; use unix:///PATH, tcp://HOST:PORT or http://HOST:PORT"
            ),
        };
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text)) {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(invalid("the path is not absolute"))
            };
        }
        if text.starts_with("https://") || text.starts_with("ssh://") {
            return Err(invalid("TLS and ssh are not supported, put a tunnel before it"));
        }
        let Some(rest) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return Err(invalid("the scheme is unknown"));
        };
        let host = rest.trim_end_matches('/');
        let port = host.rsplit_once(':').and_then(|(name, port)| (!name.is_empty()).then(|| port.parse::<u16>()));
        match port {
            Some(Ok(_)) if !host.contains('/') => Ok(Self::Tcp(host.to_owned())),
            _ => Err(invalid("host and port are needed")),
        }
    }

    /// Whether the engine can see this machine's files.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// The minor API version (of 1) that requests name; 0 until it is negotiated: then they name none.
pub(super) type Negotiated = Arc<AtomicU32>;

/// A client of `endpoint`; connects when the first request is made.
pub(super) fn client(endpoint: &Endpoint, version: &Negotiated, timeout: Duration) -> Result<Docker, EngineError> {
    match endpoint {
        Endpoint::Unix(path) => with(UnixConnector(path.as_path().into()), "http://engine", version, timeout),
        Endpoint::Tcp(host) => {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_keepalive(Some(KEEPALIVE));
            connector.set_keepalive_interval(Some(PROBE));
            connector.set_keepalive_retries(Some(PROBES));
            connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
            connector.set_connect_timeout(Some(Duration::from_secs(10)));
            with(connector, &format!("http://{host}"), version, timeout)
        }
    }
}

fn with<C>(connector: C, base: &str, version: &Negotiated, timeout: Duration) -> Result<Docker, EngineError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(8)
        .build(connector);
    let version = Arc::clone(version);
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        let minor = version.load(Ordering::Relaxed);
        async move {
            let (mut parts, body) = request.into_parts();
            // bollard names no version in its paths, so a newer engine would answer in its own newest one.
            if minor != 0 {
                parts.uri = versioned(parts.uri, minor)?;
            }
            client.request(BollardRequest::from_parts(parts, body)).await.map_err(Bollard::from)
        }
    };
    let newest = ClientVersion { major_version: 1, minor_version: NEWEST as usize };
    Docker::connect_with_custom_transport(transport, Some(base), timeout.as_secs(), &newest)
        .map_err(|e| EngineError::Invalid { message: e.to_string() })
}

/// The oldest API that has all that is used: Docker 19.03.
pub(super) const OLDEST: u32 = 40;
/// The newest API that this was written for.
pub(super) const NEWEST: u32 = 53;

fn versioned(uri: Uri, minor: u32) -> Result<Uri, Bollard> {
    let mut parts = uri.into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/v1.{minor}{path}"))?);
    Ok(Uri::from_parts(parts)?)
}

/// Connects to one Unix socket, whatever the request's address says.
#[derive(Clone)]
struct UnixConnector(Arc<Path>);

impl tower::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.0);
        Box::pin(async move { UnixStream::connect(&*path).await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_host_is() {
        assert_eq!(Endpoint::parse(DEFAULT_ENDPOINT).unwrap(), Endpoint::Unix("/var/run/docker.sock".into()));
        assert_eq!(Endpoint::parse("/run/x.sock").unwrap(), Endpoint::Unix("/run/x.sock".into()));
        assert_eq!(Endpoint::parse("tcp://h:2375").unwrap(), Endpoint::Tcp("h:2375".into()));
        assert_eq!(Endpoint::parse("http://[::1]:2375/").unwrap(), Endpoint::Tcp("[::1]:2375".into()));
        for bad in ["", "unix://x", "tcp://h", "tcp://:1", "tcp://h:x", "ftp://h:1", "https://h:1", "http://h:1/x"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_version_goes_before_the_path_and_keeps_the_query() {
        let uri = versioned("http://engine/containers/json?all=1".parse().unwrap(), 41).unwrap();
        assert_eq!(uri, "http://engine/v1.41/containers/json?all=1");
    }
}
