//! A tether for the host that is a service of its own: this process becomes it.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::own::{private, search_path, write_program};
use crate::workspace::container::HOST_SOCKET;

/// What it is told.
#[derive(Clone, Debug)]
pub struct HostService {
    /// A directory of its own, absolute; made where it is not there.
    pub state: PathBuf,
    /// The socket that daemons connect to, absolute, in a directory that they can reach.
    pub socket: PathBuf,
    /// Where sessions work; without it a directory below `state`.
    pub directory: Option<PathBuf>,
    /// A directory in memory, absolute, in which nobody else can put anything in the way.
    pub memory: PathBuf,
    /// The daemons' users, by number, beside its own user and root.
    pub users: Vec<u32>,
}

impl HostService {
    /// Becomes a tether; comes back only with the reason why not.
    ///
    /// # Errors
    /// Its directories or its program can't be written.
    pub fn become_tether(self) -> io::Error {
        match self.command() {
            Ok(mut command) => command.exec(),
            Err(error) => error,
        }
    }

    fn command(self) -> io::Result<Command> {
        let at = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let Self { state, socket, directory, memory, users } = self;
        let bin = state.join("bin");
        private(&bin).map_err(|e| at(&bin, e))?;
        let directory = match directory {
            Some(directory) => directory,
            None => {
                let work = state.join("work");
                private(&work).map_err(|e| at(&work, e))?;
                work
            }
        };
        let program = write_program(&bin).map_err(|e| at(&bin, e))?;
        let mut command = Command::new(&program);
        command.env("PATH", search_path(&program));
        command.arg("serve").arg("--state").arg(state.join("tether"));
        command.arg("--socket").arg(state.join("run").join(HOST_SOCKET)).arg("--host-socket").arg(socket);
        command.arg("--files").arg(memory.join("files")).arg("--host").arg(directory);
        for uid in users {
            command.arg("--allow").arg(uid.to_string());
        }
        Ok(command)
    }
}
