//! WebSockets of the command line, over the same places as its HTTP.

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use tokio_tungstenite::tungstenite::Error;
pub(super) use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, Query};
use super::discover::Host;
use super::failure::Failure;

/// A byte stream to a daemon.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A WebSocket.
pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

impl Client {
    /// Opens one.
    pub(super) async fn websocket(&self, path: &[&str], query: &Query) -> Result<Socket, Failure> {
        let (host, token) = self.place();
        let gone = |e: std::io::Error| Failure::unreachable(format!("no daemon answers on {}: {e}", host.display()));
        let stream: Box<dyn Io> = match host {
            Host::Unix(socket) => Box::new(UnixStream::connect(socket).await.map_err(gone)?),
            Host::Tcp(url) => Box::new(TcpStream::connect(address(url)).await.map_err(gone)?),
        };
        let mut url = self.url(path, query);
        let other = |e: String| Failure::other(format!("cannot open a WebSocket: {e}"));
        url.set_scheme("ws").map_err(|()| other("the address can't be one of a WebSocket".to_owned()))?;
        let mut request = url.as_str().into_client_request().map_err(|e| other(e.to_string()))?;
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            request.headers_mut().insert(AUTHORIZATION, value.map_err(|e| other(e.to_string()))?);
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => {
                let problem = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                let status = response.status();
                Err(problem.map_or_else(|| other(format!("{} answered {status}", host.display())), Failure::problem))
            }
            Err(e) => Err(Failure::unreachable(format!("no WebSocket to {}: {e}", host.display()))),
        }
    }
}

fn address(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or("localhost"), url.port_or_known_default().unwrap_or(80))
}
