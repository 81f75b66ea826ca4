//! `wharf daemon`: runs the daemon in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::failure::Failure;
use super::{Outcome, runtime};
use crate::config::{Config, Flags};

/// Run the daemon
///
/// In the foreground, until SIGTERM or SIGINT. Agents go on in their containers while it is away. What is not given
/// here is read from WHARF_* variables, then from the configuration file.
#[derive(Args, Debug)]
pub(super) struct Daemon {
    /// The configuration file [default: /etc/wharf/wharf.toml, for users ~/.config/wharf/wharf.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store and the token lie [default: /var/lib/wharf, for users ~/.local/state/wharf]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The loopback address for TCP, or `off` [default: 127.0.0.1:7717]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The Unix socket, or `off` [default: /run/wharf/wharf.sock, for users in XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Daemon {
    pub(super) fn run(self) -> Outcome {
        let flags = Flags { config: self.config, state_dir: self.state_dir, listen: self.listen, socket: self.socket };
        let config = Config::load(flags).map_err(|e| Failure::usage(e.to_string()))?;
        crate::daemon::prepare();
        // Each cause on its chain says more; together they are one sentence for people.
        let run = runtime(true)?.block_on(crate::daemon::run(config));
        run.map(|()| ExitCode::SUCCESS).map_err(|e| Failure::other(format!("{e:#}")))
    }
}
