//! Parts of the configuration that stand for themselves.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

/// How the daemon reaches tether inside a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TetherTransport {
    /// A socket where the engine is local, else an exec stream.
    #[default]
    Auto,
    /// An exec stream: works with every engine.
    Exec,
    /// A Unix socket in a bind-mounted directory.
    Socket,
}

/// Limits of workspaces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Cores.
    pub cpus: Option<f64>,
    /// Bytes, swap included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// `[retention]`: what is kept of closed sessions; everything, for ever, unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after the close.
    pub closed_sessions: Option<Duration>,
    /// How large the log may be, in bytes, before closed sessions go early.
    pub log_size: Option<u64>,
}

/// `[host]`: whether sessions may work on this machine itself, without a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostMode {
    /// Whether they may.
    pub enabled: bool,
    /// Where they work; by default `host/work` in the state directory.
    pub directory: Option<PathBuf>,
    /// The socket of a tether that is a service of its own.
    pub socket: Option<PathBuf>,
}

/// `[[mounts]]`: a directory or file of the engine's machine that workspaces may mount.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRule {
    /// Its path, absolute.
    pub host: String,
    /// Whether it can only be mounted for reading; true unless it is said otherwise.
    #[serde(default = "yes")]
    pub read_only: bool,
}

const fn yes() -> bool {
    true
}
