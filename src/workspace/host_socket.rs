//! The shorter way to tether where the engine is on this machine: a Unix socket in a directory that the container
//! mounts.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::net::UnixStream;

use super::{Transport, container::HOST_SOCKET};

/// The longest path of a socket that the system takes, without the closing zero.
const LONGEST: usize = 107;

const UNTRIED: u8 = 0;
const WORKS: u8 = 1;
const REFUSED: u8 = 2;

/// Whether host sockets are used with this engine, and what was learnt of it.
pub(super) struct HostSockets {
    run_dir: PathBuf,
    transport: Transport,
    possible: bool,
    learnt: AtomicU8,
}

impl HostSockets {
    /// `local`: whether the engine sees this machine's files.
    pub(super) fn new(run_dir: PathBuf, transport: Transport, local: bool) -> Self {
        let possible = match transport {
            Transport::Auto => local,
            Transport::Exec => false,
            Transport::Socket => true,
        };
        Self { run_dir, transport, possible, learnt: AtomicU8::new(UNTRIED) }
    }

    /// Whether containers get the directory and connections try the socket.
    pub(super) fn used(&self) -> bool {
        self.possible && self.learnt.load(Ordering::Relaxed) != REFUSED
    }

    /// Whether there is no other way.
    pub(super) fn only(&self) -> bool {
        self.transport == Transport::Socket
    }

    /// A connection came about: a later failure is the container's, not the engine's.
    pub(super) fn works(&self) {
        self.learnt.store(WORKS, Ordering::Relaxed);
    }

    /// The engine does not see the directory: it runs on another machine, or sees another file system. Whether the
    /// other way is used from now on.
    pub(super) fn refuse(&self) -> bool {
        let fresh = !self.only()
            && self.learnt.compare_exchange(UNTRIED, REFUSED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if fresh {
            tracing::info!("the engine does not share this machine's files: tether is reached through execs");
        }
        !self.used()
    }

    /// The directory above all workspaces' directories.
    pub(super) fn run_dir(&self) -> &Path {
        &self.run_dir
    }
}

/// Makes a workspace's directory, without a socket of an earlier container in it. Blocks on the disk.
pub(super) fn prepare(run_dir: &Path, dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    // Nobody else gets through: what is below need not be guarded.
    builder.recursive(true).mode(0o700).create(run_dir)?;
    builder.create(dir)?;
    // tether's root has no right over others' directories and the daemon may be any user: so all may write, and only
    // the owner of a file may remove it.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1777))?;
    match fs::remove_file(dir.join(HOST_SOCKET)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes a workspace's directory; one that is not there is no error. Blocks on the disk.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Connects to the socket in `dir`, however long its path is.
pub(super) async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let path = dir.join(HOST_SOCKET);
    // What lies in the directory is untrusted: a link to another socket is not followed.
    if !fs::symlink_metadata(&path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no socket", path.display())));
    }
    if path.as_os_str().len() <= LONGEST {
        return UnixStream::connect(path).await;
    }
    let dir = fs::File::open(dir)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{HOST_SOCKET}", dir.as_raw_fd())).await;
    drop(dir);
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_path_connects_and_a_link_does_not() {
        let root = tempfile::tempdir().unwrap();
        let run_dir = root.path().join("x".repeat(120));
        let dir = run_dir.join("0123456789ab");
        prepare(&run_dir, &dir).unwrap();
        let real = root.path().join("real");
        let _listener = std::os::unix::net::UnixListener::bind(&real).unwrap();
        fs::rename(&real, dir.join(HOST_SOCKET)).unwrap();
        connect(&dir).await.unwrap();
        fs::rename(dir.join(HOST_SOCKET), &real).unwrap();
        std::os::unix::fs::symlink(&real, dir.join(HOST_SOCKET)).unwrap();
        assert_eq!(connect(&dir).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        prepare(&run_dir, &dir).unwrap();
        assert_eq!(connect(&dir).await.unwrap_err().kind(), io::ErrorKind::NotFound, "the old one was removed");
        remove(&dir).unwrap();
        remove(&dir).unwrap();
    }

    #[test]
    fn what_was_seen_to_work_is_not_given_up() {
        let sockets = HostSockets::new("/r".into(), Transport::Auto, true);
        assert!(sockets.used());
        sockets.works();
        assert!(!sockets.refuse() && sockets.used());
        let foreign = HostSockets::new("/r".into(), Transport::Auto, true);
        assert!(foreign.refuse() && !foreign.used());
        assert!(!HostSockets::new("/r".into(), Transport::Auto, false).used());
        assert!(!HostSockets::new("/r".into(), Transport::Exec, true).used());
    }
}
