//! A subscription as a body of server-sent events: frames go through as they are, silence is broken by a comment.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, ReusableBoxFuture, WaitForCancellationFutureOwned};

use crate::domain::Run;
use crate::session::{SessionError, Subscription};

/// How long a client should wait before it reconnects.
const HELLO: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// Where frames come from.
pub(super) trait Frames: Send + 'static {
    /// The next ones; `None` when there will be no more.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SessionError>> + Send;

    /// What a WebSocket's client gets of them, a message each: the events' JSON, cut from the same bytes.
    fn messages(bytes: Bytes) -> Vec<Bytes> {
        let run = Run { first_seq: 0, count: 0, bytes };
        run.events().map(|(_, json)| run.bytes.slice_ref(json.as_bytes())).collect()
    }
}

impl Frames for Subscription {
    async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        Self::next(self).await
    }
}

type Next<S> = (S, Result<Option<Bytes>, SessionError>);

/// The body. It ends with its source, with the stop, or when the source fails; a client then reconnects with the last
/// id that it saw.
pub(super) struct EventStream<S> {
    next: ReusableBoxFuture<'static, Next<S>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ping: Pin<Box<Sleep>>,
    /// Silence after which a comment is sent, so that proxies and clients know that the connection lives.
    silence: Duration,
    types: Vec<String>,
    ready: VecDeque<Bytes>,
    /// The last event that the filter held back since something was sent.
    skipped: Option<u64>,
    done: bool,
}

async fn advance<S: Frames>(mut source: S) -> Next<S> {
    let next = source.next().await;
    (source, next)
}

impl<S: Frames> EventStream<S> {
    /// Events of `types` only; none: all.
    pub(super) fn new(source: S, types: Vec<String>, silence: Duration, stop: CancellationToken) -> Self {
        Self {
            next: ReusableBoxFuture::new(advance(source)),
            stop: Box::pin(stop.cancelled_owned()),
            ping: Box::pin(tokio::time::sleep(silence)),
            silence,
            types,
            ready: VecDeque::from([HELLO]),
            skipped: None,
            done: false,
        }
    }

    fn take(&mut self, bytes: Bytes) {
        if self.types.is_empty() {
            self.ready.push_back(bytes);
            return;
        }
        let (kept, skipped) = filter(bytes, &self.types);
        self.ready.extend(kept);
        self.skipped = skipped;
    }

    /// What is to be sent now; `None` inside: the end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done || self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                let silence = self.silence;
                self.ping.as_mut().reset(Instant::now() + silence);
                return Poll::Ready(Some(bytes));
            }
            match self.next.poll(cx) {
                Poll::Ready((source, Ok(Some(bytes)))) => {
                    self.next.set(advance(source));
                    self.take(bytes);
                }
                Poll::Ready((_, end)) => {
                    if let Err(e) = end {
                        tracing::warn!(error = %e, "a subscription failed");
                    }
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(self.ping.as_mut().poll(cx));
                    self.ready.push_back(comment(self.skipped.take()));
                }
            }
        }
    }
}

impl<S: Frames> Stream for EventStream<S> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.poll_bytes(cx));
        self.done = next.is_none();
        Poll::Ready(next.map(Ok))
    }
}

/// An id without data moves the client's `Last-Event-ID` past what the filter held back and gives it no event.
fn comment(skipped: Option<u64>) -> Bytes {
    skipped.map_or(Bytes::from_static(b": ping\n\n"), |seq| format!(": ping\nid: {seq}\n\n").into())
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// The frames of the given types, neighbours in one piece, without copying; and the last event if that was held back.
pub(super) fn filter(bytes: Bytes, types: &[String]) -> (Vec<Bytes>, Option<u64>) {
    const SEPARATOR: usize = 2;
    let run = Run { first_seq: 0, count: 0, bytes };
    let (mut kept, mut skipped) = (Vec::new(), None);
    let (mut from, mut at) = (0, 0);
    for (seq, json) in run.events() {
        let length = format_args!("id: {seq}\ndata: ").to_string().len() + json.len() + SEPARATOR;
        let wanted = serde_json::from_str::<Typed<'_>>(json).is_ok_and(|e| types.iter().any(|t| *t == e.kind));
        skipped = (!wanted).then_some(seq);
        if !wanted {
            if from < at {
                kept.push(run.bytes.slice(from..at));
            }
            from = at + length;
        }
        at += length;
    }
    if from < at {
        kept.push(run.bytes.slice(from..at));
    }
    (kept, skipped)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::sync::mpsc;

    use super::*;

    const PING: Duration = Duration::from_secs(15);

    struct Fake(mpsc::Receiver<Result<Bytes, SessionError>>);

    impl Frames for Fake {
        async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
            self.0.recv().await.transpose()
        }
    }

    fn frame(seq: u64, kind: &str) -> String {
        format!(
            "id: {seq}\ndata: {{\"seq\":{seq},\"turn\":null,\"type\":\"{kind}\",\"data\":{{\"type\":\"update\"}}}}\n\n"
        )
    }

    fn stream(types: &[&str]) -> (mpsc::Sender<Result<Bytes, SessionError>>, EventStream<Fake>, CancellationToken) {
        let (sender, receiver) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let types = types.iter().map(ToString::to_string).collect();
        (sender, EventStream::new(Fake(receiver), types, PING, stop.clone()), stop)
    }

    async fn text(stream: &mut EventStream<Fake>) -> Option<String> {
        stream.next().await.map(|Ok(bytes)| String::from_utf8(bytes.into()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn frames_go_through_untouched_and_silence_is_broken() {
        let (sender, mut stream, _stop) = stream(&[]);
        assert_eq!(text(&mut stream).await.unwrap(), "retry: 1000\n\n");
        let bytes = Bytes::from(frame(1, "update") + &frame(2, "x"));
        sender.send(Ok(bytes.clone())).await.unwrap();
        let got = stream.next().await.unwrap().unwrap();
        assert_eq!(got.as_ptr(), bytes.as_ptr(), "no copy");
        let begun = Instant::now();
        assert_eq!(text(&mut stream).await.unwrap(), ": ping\n\n");
        assert_eq!(begun.elapsed(), PING);
        drop(sender);
        assert_eq!(text(&mut stream).await, None);
        assert_eq!(text(&mut stream).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_cuts_frames_out_and_remembers_where_it_is() {
        let (sender, mut stream, _stop) = stream(&["a", "b"]);
        text(&mut stream).await;
        let all = [(1, "a"), (2, "b"), (3, "update"), (4, "a"), (5, "c"), (6, "c")];
        let bytes: String = all.iter().map(|(seq, kind)| frame(*seq, kind)).collect();
        sender.send(Ok(bytes.into())).await.unwrap();
        assert_eq!(text(&mut stream).await.unwrap(), frame(1, "a") + &frame(2, "b"));
        assert_eq!(text(&mut stream).await.unwrap(), frame(4, "a"));
        assert_eq!(text(&mut stream).await.unwrap(), ": ping\nid: 6\n\n");
        assert_eq!(text(&mut stream).await.unwrap(), ": ping\n\n");
    }

    #[tokio::test]
    async fn the_stop_ends_it_at_once() {
        let (sender, mut stream, stop) = stream(&[]);
        text(&mut stream).await;
        sender.send(Ok(Bytes::from(frame(1, "a")))).await.unwrap();
        stop.cancel();
        assert_eq!(text(&mut stream).await, None);
    }

    #[tokio::test]
    async fn a_failing_source_ends_it() {
        let (sender, mut stream, _stop) = stream(&[]);
        text(&mut stream).await;
        sender.send(Err(SessionError::Stopping)).await.unwrap();
        assert_eq!(text(&mut stream).await, None);
    }
}
