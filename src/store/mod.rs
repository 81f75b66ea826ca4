//! The store: the registry in sled, the log in fjall, one writer over both.
//!
//! ```text
//!  submit ──► queue ──► writer ──► registry (what is made, deleted) ──► log ──► registry (what changed) ──► witness
//!                         │                                                                                  │
//!                         └───────────────────────── every waiter is told ◄──────────────────────────────────┘
//! ```
//!
//! Invariant: what is acknowledged is on the disk. Invariant: what is not acknowledged is not seen by readers. Invariant:
//! a store that can't be read is not written to.

mod batch;
mod census;
mod compact;
mod dir;
mod error;
#[cfg(test)]
mod faults;
mod index;
mod journal;
mod key;
mod latency;
mod log;
mod open;
mod options;
mod order;
mod plan;
mod queue;
mod read;
mod registry;
mod room;
mod tables;
#[cfg(test)]
mod tests;
mod value;
mod witness;
mod writer;

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread::{self, JoinHandle},
};

pub use batch::{Batch, IdempotencyRecord, TokenRecord};
pub use census::{OpenSession, Standing};
pub use error::StoreError;
pub use index::SessionIndex;
pub use latency::CommitLatency;
pub use options::Options;
pub use order::{Ordered, OrderedRun, Place};
pub use queue::Commit;

use crate::domain::InstanceId;
use queue::Queue;
use tokio::sync::watch;

/// What the handles and the writer share.
struct Shared {
    dir: PathBuf,
    instance: InstanceId,
    registry: registry::Registry,
    log: log::Log,
    queue: Queue,
    room: room::Room,
    failed: Mutex<Option<StoreError>>,
    /// Where every open session stands, as far as it is durable.
    census: RwLock<census::Census>,
    latency: latency::Latency,
    /// The last durable commit of the log.
    head: watch::Sender<u64>,
    /// Grows with each durable change of a session's record.
    made: watch::Sender<u64>,
    /// Held as long as the store is open.
    _lock: File,
}

impl Shared {
    fn health(&self) -> Result<(), StoreError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Turns the store into its failed state and gives the error that it answers from now on.
    fn fail(&self, error: &StoreError) -> StoreError {
        let error = match error {
            StoreError::Failed { .. } => error.clone(),
            other => StoreError::failed(other),
        };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() {
            tracing::error!(%error, "the store takes no more writes");
        }
        failed.get_or_insert(error).clone()
    }
}

/// What all clones of a handle share; the last one to go ends the writer.
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // The writer catches panics, so there is nothing to learn here.
            let _ = writer.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// The store; clones share it. When the last clone goes, what is queued is written first.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Store {
    /// Whether there is a store in `dir`, or a part of one. Changes nothing.
    #[must_use]
    pub fn is_at(dir: &Path) -> bool {
        dir::Layout::new(dir).is_there()
    }

    /// Opens the store in `dir`, making it (and the directory, mode 0700) where there is none. Blocks.
    ///
    /// # Errors
    /// `Locked` where another daemon has it; `Newer` or `Unreadable` where its data can't be read, and then nothing
    /// was changed; `Io` where the system refuses.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let (tell, told) = mpsc::sync_channel(1);
        let path = dir.to_owned();
        // sled is opened, written and flushed by the one thread.
        let writer = thread::Builder::new().name("store".to_owned()).spawn(move || match open::open(&path, &options) {
            Ok(writer) => {
                let _ = tell.send(Ok(Arc::clone(&writer.shared)));
                drop(tell);
                writer.run();
            }
            Err(e) => {
                let _ = tell.send(Err(e));
            }
        });
        let writer = writer.map_err(|e| StoreError::io(dir, &e))?;
        match told.recv() {
            Ok(Ok(shared)) => Ok(Self { handle: Arc::new(Handle { shared, writer: Mutex::new(Some(writer)) }) }),
            Ok(Err(e)) => {
                // So that nothing of the attempt is left when the caller tries again.
                let _ = writer.join();
                Err(e)
            }
            Err(_) => Err(StoreError::unreadable(dir, "opening it panicked")),
        }
    }

    /// Which daemon this is; fixed when the store was made.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.shared().instance
    }

    /// Writes a batch; durable when `Ok`. It is queued at the first poll; dropping the future does not undo it.
    ///
    /// # Errors
    /// As of `submit`.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.submit(batch).await
    }

    /// Queues a batch now: the order of the calls is the order on disk. Never blocks.
    ///
    /// Backpressure is by bytes: a batch beyond `Options::queue` waiting bytes is refused with `Overloaded`. A caller
    /// that awaits each commit before the next adds one batch at most; one that submits ahead awaits `ready` first.
    ///
    /// # Errors
    /// The commit gives `Taken`, `NotContiguous`, `UnknownSession`, `TooLarge`, `Invalid` or `Overloaded` for a batch
    /// that was refused; `Closed` after `close`; `Failed` where a write or sync failed: then it is not known what is on
    /// the disk, and nothing more is written. `Full` where the disk has no room: nothing was changed.
    pub fn submit(&self, batch: Batch) -> Commit {
        match batch.check().and_then(|()| self.health()) {
            Ok(()) => self.shared().queue.push(batch),
            Err(e) => Commit::refused(e),
        }
    }

    /// As `commit`, but waits for room in the queue and on the disk instead of being refused with `Overloaded` or `Full`:
    /// for whoever has changed its own state already and can't go back.
    ///
    /// # Errors
    /// As of `submit`, without `Overloaded`; `Full` only where the store is closed meanwhile.
    pub async fn commit_when_possible(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check().and_then(|()| self.health())?;
        self.shared().queue.push_when_possible(batch).await.await
    }

    /// How many batches it has taken since it was opened, of all sessions.
    pub fn batches(&self) -> u64 {
        self.shared().queue.taken()
    }

    /// Waits until the queue is at most half full.
    pub async fn ready(&self) {
        self.shared().queue.ready().await;
    }

    /// Whether batches can still be written.
    ///
    /// # Errors
    /// `Failed` with the first failure of a write or sync.
    pub fn health(&self) -> Result<(), StoreError> {
        self.shared().health()
    }

    /// Whether the disk has room for something new: whoever is about to make something asks before.
    ///
    /// # Errors
    /// `Full`.
    pub fn room_to_begin(&self) -> Result<(), StoreError> {
        self.shared().room.to_begin()
    }

    /// Whether anything can be written: who would wait for it asks before.
    ///
    /// # Errors
    /// `Full`.
    pub fn room_to_go_on(&self) -> Result<(), StoreError> {
        self.shared().room.to_go_on()
    }

    /// Bytes that the store takes on the disk.
    #[must_use]
    pub fn disk_use(&self) -> u64 {
        dir::size(&self.shared().dir)
    }

    /// Writes what is queued, syncs, and takes no more; other clones can still read. The directory is free for another
    /// daemon when the last clone is gone.
    ///
    /// # Errors
    /// `Failed` where a write or sync failed, now or before.
    pub async fn close(self) -> Result<(), StoreError> {
        let closed = tokio::task::spawn_blocking(move || {
            self.handle.close();
            self.health()
        });
        closed.await.unwrap_or_else(|e| Err(StoreError::failed(e)))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

/// Runs what may panic inside sled or fjall, and makes an error of a panic.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(StoreError::unreadable(path, format!("reading it panicked: {}", why.unwrap_or("without a message"))))
    })
}
