//! The store: the registry in sled, the log in fjall, one writer over both.

/// Why the store can't serve.
#[derive(Debug, thiserror::Error)]
#[error("store: {0}")]
pub struct StoreError(pub String);
