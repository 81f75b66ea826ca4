//! The queue before the one writer: in the order of the calls, bounded in bytes, never blocking who submits.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{Batch, StoreError};

/// The most bytes and batches that one group takes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
const GROUP_BATCHES: usize = 4096;

/// A batch and who waits for it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
    /// Whether it waits for the disk instead of being refused.
    patient: bool,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// How many batches were ever taken in.
    taken: u64,
    closed: bool,
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Notify,
    limit: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), drained: Notify::new(), limit }
    }

    /// Queues a batch. One that is larger than the limit is taken when nothing else waits.
    pub(super) fn push(&self, batch: Batch) -> Commit {
        let mut state = self.state();
        match self.take_in(&mut state, batch, false) {
            Ok(commit) => commit,
            Err(_) => Commit::refused(StoreError::Overloaded { queued: state.bytes, limit: self.limit }),
        }
    }

    /// Queues a batch as soon as there is room for it.
    pub(super) async fn push_when_possible(&self, mut batch: Batch) -> Commit {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Before the look at the queue, so that no drain between the two is missed.
            drained.as_mut().enable();
            batch = match self.take_in(&mut self.state(), batch, true) {
                Ok(commit) => return commit,
                Err(batch) => batch,
            };
            drained.await;
        }
    }

    /// Takes a batch in, or gives it back where there is no room.
    fn take_in(&self, state: &mut State, batch: Batch, patient: bool) -> Result<Commit, Batch> {
        let size = batch.size();
        if state.closed {
            return Ok(Commit::refused(StoreError::Closed));
        }
        if state.bytes > 0 && state.bytes + size > self.limit {
            return Err(batch);
        }
        let (done, waiter) = oneshot::channel();
        state.bytes += size;
        state.taken += 1;
        state.jobs.push_back(Job { batch, done, patient });
        self.filled.notify_one();
        Ok(Commit(Inner::Waiting(waiter)))
    }

    /// How many batches were taken in since the opening.
    pub(super) fn taken(&self) -> u64 {
        self.state().taken
    }

    /// Waits until less than half of the limit is queued.
    pub(super) async fn ready(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.state().bytes <= self.limit / 2 {
                return;
            }
            drained.await;
        }
    }

    /// Waits for a batch; `false` when the queue is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Refuses what is queued and can be refused; of a closed queue, everything. What is patient stays where it is.
    pub(super) fn refuse(&self, error: &StoreError) {
        let mut state = self.state();
        let closed = state.closed;
        let (kept, refused) = std::mem::take(&mut state.jobs).into_iter().partition(|job| job.patient && !closed);
        let refused: VecDeque<Job> = refused;
        state.jobs = kept;
        state.bytes = state.jobs.iter().map(|job| job.batch.size()).sum();
        drop(state);
        self.drained.notify_waiters();
        for job in refused {
            // Whoever no longer waits does not need the answer.
            let _ = job.done.send(Err(error.clone()));
        }
    }

    /// Waits a while where only patient batches are queued, until something comes that can be refused.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.state();
        let patient = |state: &mut State| !state.closed && state.jobs.iter().all(|job| job.patient);
        drop(self.filled.wait_timeout_while(state, time, patient));
    }

    /// The next batches, as many as make a group.
    pub(super) fn take(&self) -> VecDeque<Job> {
        let mut state = self.state();
        let (mut group, mut bytes) = (VecDeque::new(), 0);
        while group.len() < GROUP_BATCHES {
            let Some(size) = state.jobs.front().map(|job| job.batch.size()) else { break };
            if !group.is_empty() && bytes + size > GROUP_BYTES {
                break;
            }
            bytes += size;
            group.extend(state.jobs.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.drained.notify_waiters();
        group
    }

    /// Takes no more; what is queued is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.drained.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Inner {
    Waiting(oneshot::Receiver<Result<(), StoreError>>),
    Refused(Option<StoreError>),
}

/// A batch on its way to the disk: ready when it is durable or refused. Dropping it does not undo the batch.
#[must_use = "only its result tells whether the batch is durable"]
pub struct Commit(Inner);

impl Commit {
    pub(super) fn refused(error: StoreError) -> Self {
        Self(Inner::Refused(Some(error)))
    }
}

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Waiting(waiter) => Pin::new(waiter)
                .poll(cx)
                .map(|done| done.unwrap_or_else(|_| Err(StoreError::failed("the store's writer ended")))),
            Inner::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(StoreError::Closed))),
        }
    }
}
