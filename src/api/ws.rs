//! A subscription as a WebSocket: a text message for each event, pings, and a reader's pace that costs nobody else.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::access::{Caller, Link};
use super::problem::Problem;
use super::sse::{self, Frames};
use crate::domain::Run;

/// Between pings.
pub(super) const PING: Duration = Duration::from_secs(15);
/// What a connection reads and writes at once: thousands of them cost little.
const BUFFER: usize = 4096;
/// A subscriber has nothing to say that is longer.
const MAX_MESSAGE: usize = 4096;
/// How long a good-bye may take: half of what a stop gives.
const GOOD_BYE: Duration = Duration::from_millis(500);
/// The subprotocol that is chosen where a client offers any: a browser offers `wharf` and `bearer.<token>`.
const PROTOCOL: &str = "wharf";

/// An upgrade that is asked for, or why it can't be, by whom and over what.
pub(super) struct Upgrade {
    asked: Option<Result<WebSocketUpgrade, WebSocketUpgradeRejection>>,
    pub(super) caller: Caller,
    /// Held by what the connection becomes: it counts, and a stop waits for it.
    pub(super) link: Link,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wanted = parts.headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let caller = Caller::from_request_parts(parts, state).await?;
        let link = parts.extensions.get::<Link>().cloned().unwrap_or_default();
        let asked = if wanted { Some(WebSocketUpgrade::from_request_parts(parts, state).await) } else { None };
        Ok(Self { asked, caller, link })
    }
}

impl Upgrade {
    /// Whether the request wants to become a WebSocket.
    pub(super) const fn wanted(&self) -> bool {
        self.asked.is_some()
    }

    /// The upgrade, with its limits: a client's message has `most` bytes at most.
    pub(super) fn accept(&mut self, most: usize) -> Result<WebSocketUpgrade, Problem> {
        let asked = self.asked.take().ok_or_else(|| {
            let detail = "this is a WebSocket: ask with `Upgrade: websocket`";
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
        })?;
        let ws = asked.map_err(|e| {
            let detail = format!("this is not how a WebSocket is opened: {}", e.body_text());
            Problem::new(StatusCode::BAD_REQUEST, "invalid_upgrade", detail)
        })?;
        let ws = ws.read_buffer_size(BUFFER).write_buffer_size(BUFFER).max_message_size(most).max_frame_size(most);
        Ok(ws.protocols([PROTOCOL]))
    }
}

/// Answers with a WebSocket that carries a subscription.
pub(super) fn events<S: Frames>(mut upgrade: Upgrade, source: S, types: Vec<String>) -> Result<Response, Problem> {
    let ws = upgrade.accept(MAX_MESSAGE)?;
    let Upgrade { caller, link, .. } = upgrade;
    Ok(ws.on_upgrade(move |mut socket| async move {
        let (why, reason) = Pump { socket: &mut socket, types }.run(source, caller.ended).await;
        close(&mut socket, why, reason).await;
        drop(link);
    }))
}

/// Says good-bye; who does not hear it is left.
pub(super) async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let bye = socket.send(Message::Close(Some(frame)));
    let _ = tokio::time::timeout(GOOD_BYE, bye).await;
}

struct Pump<'a> {
    socket: &'a mut WebSocket,
    types: Vec<String>,
}

impl Pump<'_> {
    /// Until the source, the client or the permission ends; why.
    async fn run<S: Frames>(mut self, mut source: S, ended: CancellationToken) -> (u16, &'static str) {
        let mut ping = interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                biased;
                () = ended.cancelled() => return over(),
                heard = self.socket.recv() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return (close_code::NORMAL, ""),
                    // Subscribers only listen; what they say is bounded, and not read.
                    Some(Ok(_)) => continue,
                },
                next = source.next() => match next {
                    Ok(Some(bytes)) => tokio::select! {
                        biased;
                        () = ended.cancelled() => return over(),
                        sent = self.send(bytes) => sent,
                    },
                    Ok(None) => return (close_code::NORMAL, "no event will follow"),
                    Err(e) => {
                        tracing::warn!(error = %e, "a subscription failed");
                        return (close_code::ERROR, "the log could not be read: try again");
                    }
                },
                _ = ping.tick() => self.socket.send(Message::Ping(Bytes::new())).await,
            };
            if sent.is_err() {
                return (close_code::NORMAL, "");
            }
        }
    }

    /// As fast as the client reads.
    async fn send(&mut self, bytes: Bytes) -> Result<(), axum::Error> {
        let pieces = if self.types.is_empty() { vec![bytes] } else { sse::filter(bytes, &self.types).0 };
        for bytes in pieces {
            let run = Run { first_seq: 0, count: 0, bytes };
            for (_, json) in run.events() {
                // The same bytes as in the log: they were checked to be text once, here.
                let text = Utf8Bytes::try_from(run.bytes.slice_ref(json.as_bytes())).map_err(axum::Error::new)?;
                self.socket.feed(Message::Text(text)).await?;
            }
        }
        self.socket.flush().await
    }
}

const fn over() -> (u16, &'static str) {
    (close_code::AWAY, "the daemon stops, or the token was revoked")
}
