//! Gives back the disk space of what was deleted: the log's tables are written anew without it, and journals that hold
//! nothing else go.

use super::{
    Batch, Store, StoreError, key,
    log::{Log, Part},
};
use crate::domain::SessionId;

/// Commits are counted from 1.
const NO_COMMIT: u64 = 0;

impl Store {
    /// Drops what deleted sessions left, and writes the log's tables anew. Others write and read meanwhile.
    ///
    /// # Errors
    /// The log can't be read or written.
    pub async fn compact(&self) -> Result<(), StoreError> {
        let mut from = Some(0);
        while let Some(at) = from {
            let store = self.clone();
            let (stale, next) = blocking(move || store.stale_order(at)).await?;
            if !stale.is_empty() {
                let mut batch = Batch::new();
                batch.forget_order(stale);
                self.commit(batch).await?;
            }
            from = next;
        }
        self.pass().await?;
        self.of_log(Log::compact).await?;
        self.pass().await?;
        self.of_log(Log::let_go).await
    }

    /// A commit that changes nothing: whatever was before it is past.
    async fn pass(&self) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.forget_order(vec![NO_COMMIT]);
        self.commit(batch).await
    }

    async fn of_log(&self, work: fn(&Log) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let store = self.clone();
        blocking(move || super::guarded(store.shared().log.path(), || work(&store.shared().log))).await
    }

    /// About how many bytes the log of a session takes.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn log_size(&self, id: &SessionId) -> Result<u64, StoreError> {
        let Some(session) = key::session(id) else { return Ok(0) };
        let mut size = 0;
        for part in Part::OF_SESSIONS {
            for entry in self.shared().log.prefix(part, &session) {
                let (key, value) = entry?;
                size += (key.len() + value.len()) as u64;
            }
        }
        Ok(size)
    }

    /// Bytes that the log's tables take on the disk: what it holds but for what was written last.
    #[must_use]
    pub fn tables_disk_use(&self) -> u64 {
        super::dir::size(&self.shared().log.path().join("keyspaces"))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(StoreError::failed(e)))
}
