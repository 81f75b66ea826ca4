//! A session's log as its subscribers see it: one shared tail in memory, a cursor each, older runs from the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::SessionError;
use super::shared::Counted;
use crate::domain::{Run, SessionId};
use crate::store::Store;

/// How much of the log's end stays in memory, per session.
const TAIL_BYTES: usize = 256 * 1024;
/// How much is read from the store at once for a subscriber that is behind the tail.
const READ_BYTES: usize = 256 * 1024;

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Whether the store took no more: what comes next, if anything, is for who asks again.
    failed: bool,
    /// The sequence number of the last durable event.
    last_seq: u64,
    /// Whether no event will follow.
    ended: bool,
}

#[derive(Debug, Default)]
struct Tail {
    runs: VecDeque<Run>,
    bytes: usize,
}

/// The shared end of one session's log.
///
/// Invariant: what `head` shows is durable. A subscriber therefore never sees an event that a crash takes back.
#[derive(Debug)]
pub(super) struct SessionLog {
    tail: Mutex<Tail>,
    head: watch::Sender<Head>,
}

impl SessionLog {
    /// A log whose durable end is `last_seq`.
    pub(super) fn new(last_seq: u64, ended: bool) -> Self {
        Self { tail: Mutex::default(), head: watch::Sender::new(Head { failed: false, last_seq, ended }) }
    }

    /// Shows a run that was made durable.
    pub(super) fn publish(&self, run: Run) {
        let last_seq = run.last_seq();
        {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.bytes += run.bytes.len();
            tail.runs.push_back(run);
            while tail.bytes > TAIL_BYTES
                && tail.runs.len() > 1
                && let Some(old) = tail.runs.pop_front()
            {
                tail.bytes -= old.bytes.len();
            }
        }
        self.head.send_modify(|head| (head.last_seq, head.failed) = (last_seq, false));
    }

    /// No event will follow.
    pub(super) fn end(&self) {
        self.head.send_modify(|head| head.ended = true);
    }

    /// Tells those who wait for the next event that it can't be written now.
    pub(super) fn fail(&self) {
        self.head.send_modify(|head| head.failed = true);
    }

    /// Frees the tail: readers go to the store.
    pub(super) fn rest(&self) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = Tail::default();
    }

    /// The frames that follow `after` within one run of the tail, and the last one's sequence number; `None` where the
    /// tail does not reach back so far.
    fn in_tail(&self, after: u64) -> Option<(Bytes, u64)> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tail.runs.partition_point(|run| run.last_seq() <= after);
        let run = tail.runs.get(at)?;
        (run.first_seq <= after + 1).then(|| (run.after(after), run.last_seq()))
    }
}

/// A subscriber's place in a session's log.
pub struct Subscription {
    store: Store,
    session: SessionId,
    log: Arc<SessionLog>,
    head: watch::Receiver<Head>,
    cursor: u64,
    /// Runs read from the store that were not given yet.
    behind: VecDeque<Run>,
    _counted: Counted,
}

impl Subscription {
    /// A subscriber that has seen everything up to `after`. `durable` is the last event that the store knew: readers
    /// see what is durable a moment before the log's head does, and may ask for what follows it.
    pub(super) fn new(
        store: Store,
        session: SessionId,
        log: Arc<SessionLog>,
        after: u64,
        durable: u64,
        counted: Counted,
    ) -> Result<Self, SessionError> {
        let head = log.head.subscribe();
        let last = head.borrow().last_seq.max(durable);
        if after > last {
            return Err(SessionError::Invalid {
                field: "after",
                message: format!("the log of {session} ends at event {last}, and {after} is beyond it"),
            });
        }
        Ok(Self { store, session, log, head, cursor: after, behind: VecDeque::new(), _counted: counted })
    }

    /// The next frames in order (`id: <seq>\ndata: <json>\n\n` for each event), at most one commit's; waits while there
    /// are none. `None`: the session is closed and everything was given. Cancel-safe.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        loop {
            let head = *self.head.borrow_and_update();
            if self.cursor < head.last_seq {
                return self.read().await.map(Some);
            }
            if head.failed {
                self.store.health()?;
            }
            if head.ended || self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> Result<Bytes, SessionError> {
        if self.behind.is_empty() {
            if let Some((bytes, last_seq)) = self.log.in_tail(self.cursor) {
                self.cursor = last_seq;
                return Ok(bytes);
            }
            let (store, session, from) = (self.store.clone(), self.session.clone(), self.cursor + 1);
            let runs = tokio::task::spawn_blocking(move || store.runs(&session, from, READ_BYTES))
                .await
                .map_err(|_| SessionError::Stopping)??;
            self.behind = runs.into();
        }
        let Some(run) = self.behind.pop_front() else {
            // The log was purged from under the subscriber.
            return Err(SessionError::NotFound { looked_up: self.session.to_string() });
        };
        let bytes = run.after(self.cursor);
        self.cursor = run.last_seq();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;

    fn run(seq: u64) -> Run {
        Run { first_seq: seq, count: 1, bytes: format!("id: {seq}\ndata: {{}}\n\n").into() }
    }

    #[tokio::test]
    async fn what_is_durable_may_be_followed_before_the_head_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let (log, session) = (Arc::new(SessionLog::new(1, false)), SessionId::new("demo"));
        let count = Arc::default();
        let subscribe =
            |after| Subscription::new(store.clone(), session.clone(), log.clone(), after, 2, Counted::new(&count));
        assert!(matches!(subscribe(3), Err(SessionError::Invalid { field: "after", .. })));
        let mut subscription = subscribe(2).unwrap();
        log.publish(run(2));
        log.publish(run(3));
        assert_eq!(subscription.next().await.unwrap().unwrap(), run(3).bytes);
        log.end();
        assert_eq!(subscription.next().await.unwrap(), None);
        drop(subscription);
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 0, "it is counted while it is there");
    }
}
