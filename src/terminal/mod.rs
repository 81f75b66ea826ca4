//! Terminals: programs that people run in a workspace, and that outlive the connection from which they were started.
//!
//! ```text
//!  Terminals (handle) ── one Task for each ──► tether: the process, its journal
//!        │                    │ output
//!        │                    ▼
//!        └── attach ──► Viewer ◄── Screen: the last of the output, and how it ended
//! ```
//!
//! The task reads as fast as its quickest viewer does, and at full speed while there is none: what is too old then is
//! dropped, so that a program that nobody watches neither waits for ever nor fills a disk.

mod error;
mod manager;
mod screen;
mod start;
mod task;
mod viewer;

pub use error::TerminalError;
pub use manager::{TerminalView, Terminals};
pub use screen::Ended;
pub use start::NewTerminal;
pub use viewer::{Keyboard, Seen, Viewer};
