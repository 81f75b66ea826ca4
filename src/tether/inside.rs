//! What the program `wharf-tether` does, by its first argument.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::ExitCode,
};

mod connect;
mod files;

use super::serve;

/// The calls that need what safe Rust does not offer; the program brings them.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Makes SIGCHLD, SIGTERM and SIGINT readable as bytes of their numbers. Called once.
    pub watch_signals: fn() -> io::Result<OwnedFd>,
    /// Who connected.
    pub peer: fn(BorrowedFd<'_>) -> io::Result<Peer>,
}

/// Who is at the other end of a Unix socket, as seen from inside.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its process; 0 where that is outside our pid namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

const USAGE: &str = "usage:
  wharf-tether serve --state DIR --socket PATH [--host-socket PATH] [--own UID:GID:PATH]... [--journal-limit BYTES]
      holds processes and their output; meant to be a container's first process
  wharf-tether serve --state DIR --socket PATH --host DIR [--host-socket PATH] [--allow UID]...
      the same on a host: processes are its own user's, and work in DIR
  wharf-tether connect --socket PATH
      carries stdin and stdout to and from the serving tether
  wharf-tether files get|put [--tar] --limit BYTES -- PATH
      carries files out of the workspace and into it
  wharf-tether --version";

/// Runs the program.
#[must_use]
pub fn main(system: System) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("serve") => serve::Options::parse(&args[1..]).and_then(|options| serve::run(options, system)),
        Some("connect") => connect::run(&args[1..]),
        Some("files") => files::run(&args[1..]),
        Some("keep") => serve::keep(system),
        Some("launch") => return serve::launch(),
        Some("--version") => {
            println!("wharf-tether {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("wharf-tether: {message}");
            ExitCode::FAILURE
        }
    }
}
