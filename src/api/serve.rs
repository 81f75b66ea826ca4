//! Accepts connections and serves the router on each, until told to stop.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt as _;

use super::access::{Link, Transport};
use super::linger::Linger;
use super::listen::{Listeners, unlink};
use super::tls::Tls;

/// Connections at once unless configured; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// Time in which a TLS handshake has to be done.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the system asks whether the other machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Time in which a request's head has to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head, and of what is read ahead.
const MAX_HEAD: usize = 64 * 1024;
/// Time that requests get to end once told to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What bounds the connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// TLS on TCP.
    pub tls: Option<Arc<Tls>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: MAX_CONNECTIONS, tls: None }
    }
}

/// A connection's place among all: held by the connection, and by a WebSocket that it became.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: TaskTrackerToken,
}

/// Serves until `stop`; then no connection is accepted, streams end, requests get a second to end, and what is left is cut.
///
/// # Errors
/// A listener could not be registered with the runtime.
pub async fn serve(listeners: Listeners, router: Router, limits: Limits, stop: CancellationToken) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let server = Server { router, stop, tls: None, places, open: TaskTracker::new() };
    for listener in listeners.unix {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        accepting.spawn(server.clone().accept(Transport::Unix, async move || Ok((listener.accept().await?.0, None))));
    }
    for listener in listeners.tcp {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let server = Server { tls: limits.tls.clone(), ..server.clone() };
        accepting.spawn(server.accept(Transport::Tcp, async move || {
            let (stream, peer) = listener.accept().await?;
            // An event is sent when it happens, not when a packet is full.
            let _ = stream.set_nodelay(true);
            // A reader may be as slow as it likes, but not gone for ever.
            let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
            let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE);
            Ok((stream, Some(peer.ip())))
        }));
    }
    while let Some(ended) = accepting.join_next().await {
        if let Err(e) = ended {
            tracing::error!(error = %e, "an accept loop ended");
        }
    }
    if let Some(file) = &listeners.file {
        unlink(file);
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    router: Router,
    stop: CancellationToken,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    /// Everything that has a place.
    open: TaskTracker,
}

impl Server {
    /// One listener's loop; it owns the tasks of its connections.
    async fn accept<A, S>(self, transport: Transport, accept: A)
    where
        A: AsyncFn() -> io::Result<(S, Option<IpAddr>)>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let place = self.places.clone().acquire_owned().await.ok();
                (place, accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    log_panic(ended);
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let place = place.map(|permit| Place { _permit: permit, _counted: self.open.token() });
                    let link = Link { transport: Some(transport), peer, place: place.map(Arc::new) };
                    connections.spawn(self.clone().connection(stream, link));
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(accept);
        self.open.close();
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
            // What connections became is no task of this loop, and holds their places.
            self.open.wait().await;
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests did not end in time and are cut");
            connections.shutdown().await;
        }
    }

    /// One connection, with TLS where that is spoken here.
    async fn connection<S>(self, stream: S, link: Link)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &self.tls else { return connection(stream, link, self.router, self.stop).await };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)) => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => connection(stream, link, self.router, self.stop).await,
            Ok(Err(e)) => tracing::debug!(error = %e, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!(error = %e, "a connection's task ended");
    }
}

async fn connection<S>(stream: S, link: Link, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(link.clone());
        request.map(Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Linger::new(stream)), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection broke");
    }
}
