//! The daemon's end of tether: one connection per workspace, made again whenever it drops.

mod actor;
mod attachments;
mod commands;
mod error;
mod handle;
mod inputs;
mod link;
mod requests;

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

pub use error::TetherError;
pub use handle::TetherClient;

use super::messages;
pub use super::{
    frames::Stream as OutputStream,
    messages::{HostUser, ProcessInfo, Span},
};
use crate::domain::Timestamp;

/// A byte stream to tether.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a connection to one workspace's tether is opened: an exec stream, or a Unix socket.
pub trait Connect: Send + Sync + 'static {
    /// Opens one.
    ///
    /// # Errors
    /// `ConnectError`, which says whether it is worth trying again.
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>>;
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not now; it may come.
    #[error("{0}")]
    Retry(String),
    /// The container does not run.
    #[error("{0}")]
    Gone(String),
}

/// A process to start.
#[derive(Clone)]
pub struct StartProcess {
    /// Its id: 1 to 96 of `a-z`, `0-9`, `_`, `-`; never used for another process before it is forgotten.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Files that it finds for as long as it runs: absolute path and content.
    pub files: Vec<(String, String)>,
    /// The working directory, absolute, inside the container.
    pub cwd: String,
    /// The user; not root.
    pub uid: u32,
    /// The group; not root's.
    pub gid: u32,
    /// Rows and columns of its terminal; `None`: pipes.
    pub pty: Option<(u16, u16)>,
}

impl fmt::Debug for StartProcess {
    // The environment holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartProcess").field("id", &self.id).field("argv", &self.argv).finish_non_exhaustive()
    }
}

/// One process's output, from the offsets that were asked for, and its end.
#[derive(Debug)]
pub struct Attachment {
    /// The last input that tether has taken; 0 before the first.
    pub last_input: u64,
    /// Whether it runs.
    pub running: bool,
    /// What comes of it. Ends after `Exited` or `Detached`, or when the client ends.
    pub events: mpsc::Receiver<ProcessEvent>,
}

/// What an attached process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It wrote these bytes. Each byte comes exactly once, in order, per stream.
    Output {
        /// Where it wrote.
        stream: OutputStream,
        /// The stream's offset that `bytes` begins at.
        offset: u64,
        /// When tether read them.
        time: Timestamp,
        /// At least one.
        bytes: Bytes,
    },
    /// tether has taken this input and will write it to the process, once.
    InputTaken {
        /// Its number.
        n: u64,
    },
    /// tether has refused this input; it was not and will not be written, unless it is given again.
    InputRejected {
        /// Its number.
        n: u64,
        /// Why.
        reason: String,
    },
    /// It ended, nothing of it is left, and all its output came before. Neither code nor signal: nobody knows how.
    Exited {
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// It went down with its tether.
        lost: bool,
    },
    /// Nothing more comes here, and what becomes of the process can't be seen.
    Detached {
        /// Why.
        reason: String,
    },
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many processes, all of which are gone.
    pub killed: usize,
}

impl From<messages::Exit> for ProcessEvent {
    fn from(exit: messages::Exit) -> Self {
        Self::Exited { code: exit.code, signal: exit.signal, lost: exit.lost }
    }
}
