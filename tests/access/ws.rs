//! A WebSocket client for tests.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::support::{Daemon, PATIENCE};

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open one.
pub(crate) struct Ws(pub(crate) WebSocketStream<Box<dyn Io>>);

impl Ws {
    /// Over the daemon's Unix socket.
    pub(crate) async fn unix(daemon: &Daemon, path: &str) -> Self {
        let stream = tokio::net::UnixStream::connect(daemon.socket()).await.expect("it listens");
        Self::over(Box::new(stream), path, &[]).await.unwrap_or_else(|(status, body)| panic!("{status} {body:#}"))
    }

    /// Over TCP with these headers; or the status and the problem that came instead.
    pub(crate) async fn tcp(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Result<Self, (u16, Value)> {
        let base = daemon.tcp();
        let stream = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.expect("it listens");
        Self::over(Box::new(stream), path, headers).await
    }

    async fn over(stream: Box<dyn Io>, path: &str, headers: &[(&str, &str)]) -> Result<Self, (u16, Value)> {
        let mut request = format!("ws://localhost{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                Err((response.status().as_u16(), body.unwrap_or(Value::Null)))
            }
            Err(e) => panic!("{e}"),
        }
    }

    /// The next message that is no ping; `None`: closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let next = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(message) => return Some(message),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("in time")
    }

    /// The next one, which is JSON.
    pub(crate) async fn json(&mut self) -> Option<Value> {
        let message = self.next().await?;
        Some(serde_json::from_str(message.to_text().expect("text")).expect("JSON"))
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.0.send(message).await.expect("it is open");
    }
}
