//! `serve`: tether itself, one thread around one `poll`.

mod conn;
mod dispatch;
mod ending;
mod files;
mod handoff;
mod host;
mod journal;
mod keep;
mod launch;
mod options;
mod peers;
mod poller;
mod process;
mod procfs;
mod segments;
mod server;
mod setup;
mod source;
mod spawn;
mod stdin;
mod strays;

pub(crate) use keep::keep;
pub(crate) use launch::launch;
pub(crate) use options::Options;

use crate::tether::inside::System;

/// Serves until SIGTERM or SIGINT, and ends every process before it goes.
pub(crate) fn run(options: Options, system: System) -> Result<(), String> {
    server::Server::new(options, system)?.run().map_err(|e| format!("can't go on: {e}"))
}
