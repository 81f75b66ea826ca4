//! `wharf daemon`: runs the daemon in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// After how long an idle session is suspended, like `45m`, or `off` [default: 30m]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
}

impl Daemon {
    pub(super) fn run(self) -> Outcome {
        let flags = Flags {
            config: self.config,
            state_dir: self.state_dir,
            listen: self.listen,
            socket: self.socket,
            idle_timeout: self.idle_timeout,
        };
        let config = Config::load(flags).map_err(|e| Failure::usage(e.to_string()))?;
        crate::daemon::prepare();
        // Each cause on its chain says more; together they are one sentence for people.
        let runtime = runtime(true)?;
        let run = runtime.block_on(crate::daemon::run(config));
        // What was to be written is written. A thread that hangs in a read must not hold the end up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        run.map(|()| ExitCode::SUCCESS).map_err(|e| Failure::other(format!("{e:#}")))
    }
}
