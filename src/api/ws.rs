//! A subscription as a WebSocket: a text message for each event, pings, and a reader's pace that costs nobody else.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
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
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::access::{Caller, Link};
use super::problem::Problem;
use super::sse::{self, Frames};

/// How many pings in a row a client may leave without an answer.
const UNANSWERED: u32 = 3;
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

/// Answers with a WebSocket that carries a subscription; it is pinged every `ping`.
pub(super) fn events<S: Frames>(
    mut upgrade: Upgrade,
    source: S,
    types: Vec<String>,
    ping: Duration,
) -> Result<Response, Problem> {
    let ws = upgrade.accept(MAX_MESSAGE)?;
    let Upgrade { caller, link, .. } = upgrade;
    Ok(ws.on_upgrade(move |mut socket| async move {
        let pump = Pump { socket: &mut socket, types, pings: Pings::new(ping) };
        let (why, reason) = pump.run(source, caller.ended).await;
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

/// Why a socket ends that answers no ping.
pub(super) const SILENT: (u16, &str) = (close_code::POLICY, "no ping was answered");

/// When a socket is pinged, and how long it has left that without an answer.
///
/// A client that is gone is told from one that is slow: what waits for room in the socket is no silence, and whatever the
/// client takes or says ends it.
pub(super) struct Pings {
    tick: Interval,
    alive: Alive,
}

/// What is known of a client that ought to answer pings.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<Silence>);

#[derive(Default)]
struct Silence {
    unanswered: AtomicU32,
    excused: AtomicBool,
}

impl Alive {
    /// The client said or took something.
    fn answered(&self) {
        self.0.unanswered.store(0, Ordering::Relaxed);
    }

    /// The client said something that is still being worked on: until this is dropped, its answers are not read.
    pub(super) fn excused(&self) -> Excused<'_> {
        self.0.excused.store(true, Ordering::Relaxed);
        Excused(self)
    }
}

/// As long as it lives, nobody listens to the client.
pub(super) struct Excused<'a>(&'a Alive);

impl Drop for Excused<'_> {
    fn drop(&mut self) {
        self.0.answered();
        self.0.0.excused.store(false, Ordering::Relaxed);
    }
}

impl Pings {
    pub(super) fn new(every: Duration) -> Self {
        let mut tick = interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, alive: Alive::default() }
    }

    /// For who listens to the client.
    pub(super) fn alive(&self) -> Alive {
        self.alive.clone()
    }

    /// The next ping, when it is time; `None`: too many got no answer.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.tick.tick().await;
        let silence = &self.alive.0;
        let before = match silence.excused.load(Ordering::Relaxed) {
            true => 0,
            false => silence.unanswered.fetch_add(1, Ordering::Relaxed),
        };
        (before < UNANSWERED).then(|| Message::Ping(Bytes::new()))
    }

    /// Sends, and notices a client that takes what there was no room for.
    pub(super) async fn sent<T>(&self, sending: impl Future<Output = T>) -> T {
        let mut sending = std::pin::pin!(sending);
        if let Poll::Ready(sent) = futures_util::poll!(sending.as_mut()) {
            return sent;
        }
        let sent = sending.await;
        self.alive.answered();
        sent
    }
}

struct Pump<'a> {
    socket: &'a mut WebSocket,
    types: Vec<String>,
    pings: Pings,
}

impl Pump<'_> {
    /// Until the source, the client or the permission ends; why.
    async fn run<S: Frames>(self, mut source: S, ended: CancellationToken) -> (u16, &'static str) {
        let Self { socket, types, mut pings } = self;
        loop {
            let sent = tokio::select! {
                biased;
                () = ended.cancelled() => return over(),
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return (close_code::NORMAL, ""),
                    // Subscribers only listen; what they say is bounded, and not read.
                    Some(Ok(_)) => {
                        pings.alive.answered();
                        continue;
                    }
                },
                ping = pings.next() => match ping {
                    None => return SILENT,
                    Some(ping) => tokio::select! {
                        biased;
                        () = ended.cancelled() => return over(),
                        sent = pings.sent(socket.send(ping)) => sent,
                    },
                },
                next = source.next() => match next {
                    Ok(Some(bytes)) => tokio::select! {
                        biased;
                        () = ended.cancelled() => return over(),
                        sent = pings.sent(send::<S>(socket, bytes, &types)) => sent,
                    },
                    Ok(None) => return (close_code::NORMAL, "no event will follow"),
                    Err(e) => {
                        tracing::warn!(error = %e, "a subscription failed");
                        return (close_code::ERROR, "the log could not be read: try again");
                    }
                },
            };
            if sent.is_err() {
                return (close_code::NORMAL, "");
            }
        }
    }
}

/// As fast as the client reads.
async fn send<S: Frames>(socket: &mut WebSocket, bytes: Bytes, types: &[String]) -> Result<(), axum::Error> {
    let pieces = if types.is_empty() { vec![bytes] } else { sse::filter(bytes, types).0 };
    for bytes in pieces {
        for message in S::messages(bytes) {
            // The same bytes as in the log: they were checked to be text once, here.
            let text = Utf8Bytes::try_from(message).map_err(axum::Error::new)?;
            socket.feed(Message::Text(text)).await?;
        }
    }
    socket.flush().await
}

const fn over() -> (u16, &'static str) {
    (close_code::AWAY, "the daemon stops, or the token was revoked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_nothing_is_given_up_and_one_that_does_is_not() {
        let (every, begun) = (Duration::from_secs(15), Instant::now());
        let mut pings = Pings::new(every);
        for _ in 0..20 {
            assert!(pings.next().await.is_some());
            pings.alive.answered();
        }
        for _ in 0..UNANSWERED {
            assert!(pings.next().await.is_some());
        }
        assert!(pings.next().await.is_none());
        assert_eq!(begun.elapsed(), every * (20 + UNANSWERED + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_what_waited_is_there() {
        let mut pings = Pings::new(Duration::from_secs(15));
        pings.next().await.unwrap();
        pings.sent(std::future::ready(())).await;
        assert_eq!(pings.alive.0.unanswered.load(Ordering::Relaxed), 1, "what goes into a buffer proves nothing");
        pings.sent(tokio::time::sleep(Duration::from_secs(600))).await;
        assert_eq!(pings.alive.0.unanswered.load(Ordering::Relaxed), 0);
        let alive = pings.alive();
        let working = alive.excused();
        for _ in 0..2 * UNANSWERED {
            assert!(pings.next().await.is_some(), "nobody listens to it meanwhile");
        }
        drop(working);
        assert!(pings.next().await.is_some());
    }
}
