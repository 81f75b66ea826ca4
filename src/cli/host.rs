//! `wharf host`: the host's tether as a service of its own.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::failure::Failure;
use crate::workspace::HostService;

/// Serve agents on this machine
///
/// For `[host] socket` of a daemon that is a service: wharf-host.service runs it. Agents run as its own user, outlive the
/// daemon, and end with it.
#[derive(Args, Debug)]
pub(super) struct Host {
    /// Where it keeps what agents say until a daemon has it [default: STATE_DIRECTORY of its unit]
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY", hide_env = true)]
    state_dir: PathBuf,
    /// Where daemons connect [default: tether.sock in RUNTIME_DIRECTORY of its unit]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where sessions work [default: `work` in its state directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A daemon's user, by name or number, beside its own and root; may be repeated
    #[arg(long = "for", value_name = "USER")]
    users: Vec<String>,
}

impl Host {
    pub(super) fn run(self) -> Outcome {
        let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let socket = self.socket.or_else(|| Some(runtime.as_ref()?.join("tether.sock")));
        let socket = socket.ok_or_else(|| Failure::usage("`--socket PATH` says where daemons connect".to_owned()))?;
        let own = || PathBuf::from(format!("/dev/shm/wharf-host-{}", rustix::process::geteuid().as_raw()));
        let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = self.users.iter().map(|user| number(user, &known)).collect::<Result<_, _>>()?;
        let service = HostService {
            state: absolute(&self.state_dir)?,
            socket: absolute(&socket)?,
            directory: self.directory.as_deref().map(absolute).transpose()?,
            memory: runtime.unwrap_or_else(own),
            users,
        };
        Err(Failure::other(format!("it can't be started: {}", service.become_tether())))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

fn number(user: &str, known: &str) -> Result<u32, Failure> {
    let listed = || {
        known.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == user).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    };
    let unknown = || Failure::usage(format!("`--for {user}`: /etc/passwd has no such user; a number works, too"));
    user.parse().ok().or_else(listed).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn users_are_named_or_numbered() {
        let known = "root:x:0:0:root:/root:/bin/sh\nwharf:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(number("wharf", known).ok(), Some(998));
        assert_eq!(number("7", known).ok(), Some(7));
        assert!(number("whar", known).is_err());
    }
}
