//! What can be wrong with the store or with a batch; `Clone`, because one failure goes to every waiter of its group.

use std::path::PathBuf;

use crate::domain::SessionId;

const MIB: u64 = 1024 * 1024;

/// Why the store can't serve, or why it refused a batch.
///
/// A refused batch (`Taken`, `NotContiguous`, `UnknownSession`, `TooLarge`, `Invalid`, `Overloaded`, `Full`) changed
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has the store open.
    #[error("{} is in use by another wharf daemon{}: stop that one, or use another state directory", .dir.display(),
        .pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// The data were written by a later version; nothing was touched.
    #[error("{} has format {found}, this wharf knows up to {known}: run the newer wharf that wrote it. Nothing was \
        changed", .path.display())]
    Newer {
        /// The file or directory.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The data were written by a version that lacked what this one relies on; nothing was touched.
    #[error("{} has format {found}, this wharf needs {known}: run the older wharf that wrote it, or move the state \
        directory away to start anew. Nothing was changed", .path.display())]
    Older {
        /// The file or directory.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this version reads.
        known: u64,
    },
    /// The data can't be read or are not whole; nothing was touched.
    #[error("{} can't be read: {why}. Restore the state directory from a backup, or move it away to start anew. \
        Nothing was changed", .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused something while the store was opened or read.
    #[error("{}: {why}. See that it is readable and writable for this user and that its disk has room, then start the \
        daemon again", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// In the system's words.
        why: String,
    },
    /// A unique name belongs to another record.
    #[error("the {what} `{name}` is taken by {by}")]
    Taken {
        /// `workspace name` or `session key`.
        what: &'static str,
        /// The name.
        name: String,
        /// The id of its owner.
        by: String,
    },
    /// A run does not begin where the session's log ends: a fault of the caller.
    #[error("the log of session {session} goes on at {expected}, the run begins at {found}")]
    NotContiguous {
        /// The session.
        session: SessionId,
        /// The sequence number that must come next.
        expected: u64,
        /// The run's first.
        found: u64,
    },
    /// Log data for a session that is not in the registry.
    #[error("session {session} is not in the registry")]
    UnknownSession {
        /// The session.
        session: SessionId,
    },
    /// A key or value over its limit.
    #[error("{what} takes {size} bytes, the store takes at most {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A value that can't be stored.
    #[error("{what}: {why}")]
    Invalid {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// More is queued for the writer than it takes.
    #[error("{queued} bytes wait to be written, the most are {limit}: the disk is too slow, try again later")]
    Overloaded {
        /// Bytes queued.
        queued: usize,
        /// The most.
        limit: usize,
    },
    /// The disk has less room than is kept free. Nothing was changed; it works again when there is room.
    #[error("the disk with {} has {} MiB left, and {} MiB are kept free for what has begun: make room there, then try \
        again", .dir.display(), .free / MIB, .reserve / MIB)]
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// Bytes left.
        free: u64,
        /// Bytes below which nothing new is begun.
        reserve: u64,
    },
    /// A write or a sync failed: what is on disk can be read, nothing more is written until the daemon starts again.
    #[error(
        "the store takes no more writes since one failed: {why}. Free space or repair the disk, then start the \
        daemon again"
    )]
    Failed {
        /// What failed, in the system's words.
        why: String,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn unreadable(path: impl Into<PathBuf>, why: impl std::fmt::Display) -> Self {
        Self::Unreadable { path: path.into(), why: why.to_string() }
    }

    pub(super) fn io(path: impl Into<PathBuf>, why: &std::io::Error) -> Self {
        Self::Io { path: path.into(), why: why.to_string() }
    }

    pub(super) fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed { why: why.to_string() }
    }

    /// The same refusal, naming `path` instead of a part of it.
    pub(super) fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::Unreadable { why, .. } => Self::Unreadable { path: path.into(), why },
            Self::Newer { found, known, .. } => Self::Newer { path: path.into(), found, known },
            other => other,
        }
    }
}
