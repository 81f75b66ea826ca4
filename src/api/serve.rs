//! Accepts connections and serves the router on each, until told to stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::access::Transport;
use super::linger::Linger;
use super::listen::{Listeners, unlink};

/// Connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// Time in which a request's head has to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head, and of what is read ahead.
const MAX_HEAD: usize = 64 * 1024;
/// Time that requests get to end once told to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`; then no connection is accepted, streams end, requests get a second to end, and what is left is cut.
///
/// # Errors
/// A listener could not be registered with the runtime.
pub async fn serve(listeners: Listeners, router: Router, stop: CancellationToken) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    let server = Server { router, stop, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
    for listener in listeners.unix {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        accepting.spawn(server.clone().accept(Transport::Unix, async move || Ok(listener.accept().await?.0)));
    }
    for listener in listeners.tcp {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.spawn(server.clone().accept(Transport::Tcp, async move || {
            let (stream, _) = listener.accept().await?;
            // An event is sent when it happens, not when a packet is full.
            let _ = stream.set_nodelay(true);
            Ok(stream)
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
    places: Arc<Semaphore>,
}

impl Server {
    /// One listener's loop; it owns the tasks of its connections.
    async fn accept<A, S>(self, transport: Transport, accept: A)
    where
        A: AsyncFn() -> io::Result<S>,
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
                Ok(stream) => {
                    let connection = connection(stream, transport, self.router.clone(), self.stop.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(accept);
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests did not end in time and are cut");
            connections.shutdown().await;
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!(error = %e, "a connection's task ended");
    }
}

async fn connection<S>(stream: S, transport: Transport, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(transport);
        request.map(Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Linger::new(stream)), TowerToHyperService::new(service));
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
