//! A tether that this daemon starts on the host, and that outlives it: in a session of its own, as the daemon's own user.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use super::{HostConfig, LOOK, Way};
use crate::{
    domain::InstanceId,
    embedded::{DEMO_AGENT, TETHER},
    workspace::{WorkspaceError, container::HOST_SOCKET, tether_volume},
};

/// How long a tether may take until it listens; what an earlier one has left is ended before that.
const UNTIL_LISTENING: Duration = Duration::from_secs(20);
/// The most of its log that is kept from one start to the next, and that is told.
const MOST_LOG: u64 = 1 << 20;
const TAIL: usize = 2048;

/// Where everything of it lies.
pub(super) struct Own {
    state: PathBuf,
    directory: PathBuf,
    /// Whether the directory is made where it is not there: an operator's is not.
    make_directory: bool,
    files: PathBuf,
}

impl Own {
    pub(super) fn new(config: &HostConfig, instance: &InstanceId) -> Self {
        Self {
            state: config.state.clone(),
            make_directory: config.directory.is_none(),
            directory: config.directory.clone().unwrap_or_else(|| config.state.join("work")),
            files: config.memory.join(format!("wharf-host-{instance}")),
        }
    }

    /// Where its socket lies.
    pub(super) fn run_dir(&self) -> PathBuf {
        self.state.join("run")
    }

    fn tether_state(&self) -> PathBuf {
        self.state.join("tether")
    }

    fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    pub(super) fn was_started(&self) -> bool {
        self.tether_state().exists()
    }

    /// A tether that ends in order takes its socket along; one that is killed leaves it.
    pub(super) fn went_in_order(&self) -> bool {
        !self.run_dir().join(HOST_SOCKET).exists()
    }

    /// Starts one, and returns when it listens.
    pub(super) async fn start(&self) -> Result<(), WorkspaceError> {
        let failed = |what: &str, e: &dyn std::fmt::Display| WorkspaceError::Tether {
            message: format!("it can't be started on the host: {what}: {e}"),
        };
        let program = self.program().map_err(|e| failed(&format!("in {}", self.state.display()), &e))?;
        let mut child = self.spawn(&program).map_err(|e| failed(&program.display().to_string(), &e))?;
        let way = Way::Own(self.run_dir());
        let until = Instant::now() + UNTIL_LISTENING;
        let outcome = loop {
            if way.open().await.is_ok() {
                break Ok(());
            }
            match child.try_wait() {
                Ok(Some(ended)) => break Err(failed(&ended.to_string(), &self.tail())),
                Ok(None) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                Ok(None) => break Err(failed("it does not listen", &self.tail())),
                Err(e) => break Err(failed("its state", &e)),
            }
        };
        // It is not this daemon's to end; only its burial is, as long as this daemon lives.
        tokio::spawn(async move {
            if let Ok(ended) = child.wait().await {
                tracing::info!(%ended, "the host's tether has ended");
            }
        });
        outcome
    }

    /// Writes the program where it is not there whole, and its directories.
    fn program(&self) -> io::Result<PathBuf> {
        let bin = self.state.join("bin");
        private(&bin)?;
        if self.make_directory {
            private(&self.directory)?;
        }
        write_program(&bin)
    }

    fn spawn(&self, program: &Path) -> io::Result<Child> {
        let log = self.log();
        if fs::metadata(&log).is_ok_and(|meta| meta.len() > MOST_LOG) {
            fs::remove_file(&log)?;
        }
        let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--state").arg(self.tether_state());
        command.arg("--socket").arg(self.run_dir().join(HOST_SOCKET));
        command.arg("--files").arg(&self.files).arg("--host").arg(&self.directory);
        // The daemon's environment holds what is not for agents.
        command.env_clear().env("PATH", search_path(program));
        command.envs(["HOME", "USER"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.kill_on_drop(false).spawn()
    }

    /// The end of its log.
    fn tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned();
        text.lines().last().unwrap_or_default().to_owned()
    }

    /// Waits until it is no more: the lock on its state is let go of by the system when it has ended.
    pub(super) async fn gone(&self, until: Instant) -> Result<(), WorkspaceError> {
        let failed = |message: String| WorkspaceError::Tether { message };
        let state = fs::File::open(self.tether_state()).map_err(|e| failed(e.to_string()))?;
        loop {
            match state.try_lock() {
                Ok(()) => return Ok(()),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(failed("it was told to stop, and still runs: something can't be ended".to_owned()));
                }
                Err(fs::TryLockError::Error(e)) => return Err(failed(e.to_string())),
            }
        }
    }

    /// Removes all but the directory that sessions worked in.
    pub(super) async fn remove(&self) -> Result<(), WorkspaceError> {
        let paths = [self.tether_state(), self.run_dir(), self.state.join("bin"), self.files.clone()];
        let log = self.log();
        let removed = tokio::task::spawn_blocking(move || {
            paths.iter().try_for_each(|path| absent(fs::remove_dir_all(path)))?;
            absent(fs::remove_file(log))
        });
        let removed = removed.await.map_err(io::Error::other).flatten();
        removed.map_err(|e| WorkspaceError::Tether { message: format!("{}: {e}", self.state.display()) })
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A directory for its owner alone.
pub(super) fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes tether's program into `bin` by its version, whole or not at all, and removes other versions' there: one that
/// still runs goes on.
pub(super) fn write_program(bin: &Path) -> io::Result<PathBuf> {
    let name = format!("wharf-tether-{}", tether_volume::version(TETHER));
    let program = bin.join(&name);
    write_whole(&program, TETHER)?;
    write_whole(&bin.join("wharf-demo-agent"), DEMO_AGENT)?;
    for entry in fs::read_dir(bin)? {
        let entry = entry?;
        if entry.file_name() != *name && entry.file_name().to_string_lossy().starts_with("wharf-tether-") {
            absent(fs::remove_file(entry.path()))?;
        }
    }
    Ok(program)
}

fn write_whole(program: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(program).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let draft = program.with_added_extension("new");
    absent(fs::remove_file(&draft))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&draft, program)
}

/// Where agents' programs are looked up: as this process does it, and the demo agent beside tether.
pub(super) fn search_path(program: &Path) -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    if let Some(bin) = program.parent() {
        path.push(":");
        path.push(bin);
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_written_whole_for_its_owner_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("wharf-tether-older"), "").unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        let program = write_program(dir.path()).unwrap();
        fs::write(&program, "damaged").unwrap();
        assert_eq!(write_program(dir.path()).unwrap(), program);
        assert_eq!(fs::read(&program).unwrap(), TETHER);
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "the other version is gone");
        assert_eq!(fs::read(dir.path().join("wharf-demo-agent")).unwrap(), DEMO_AGENT);
    }
}
