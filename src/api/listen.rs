//! The sockets that the API is served on: those that a service manager hands over, else bound here.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Who may connect: the owner and the group.
const SOCKET_MODE: u32 = 0o660;

/// Why the API can't be served there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// TCP beyond this machine.
    #[error("listen = {0}: beyond loopback only TLS is served: set `cert` and `key` in `[tls]`")]
    NotLoopback(SocketAddr),
    /// A daemon answers on the socket.
    #[error("a daemon is already listening on {}: stop it, or give this one another `socket`", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket lies there.
    #[error("{} is not a socket: it is left as it is; remove it or give another `socket`", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {what}: {source}")]
    Io {
        /// The address.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Listening sockets, not yet served.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) unix: Vec<UnixListener>,
    pub(super) tcp: Vec<TcpListener>,
    /// Whether TCP speaks TLS.
    tls: bool,
    /// A socket file of ours, with device and inode: removed at the end if it is still ours.
    pub(super) file: Option<(PathBuf, u64, u64)>,
}

impl Listeners {
    /// Takes what a service manager handed over (`LISTEN_FDS`) and binds the rest: `socket` unless a Unix socket was
    /// handed over, `tcp` unless a TCP socket was. Call it once, early: it takes `LISTEN_FDS` out of the environment.
    ///
    /// # Errors
    /// An address beyond loopback, a socket in use, or what the system refused.
    pub fn open(socket: Option<&Path>, tcp: Option<SocketAddr>, tls: bool) -> Result<Self, ListenError> {
        let mut listeners = Self { tls, ..Self::inherited(tls)? };
        if let (Some(path), true) = (socket, listeners.unix.is_empty()) {
            let (listener, dev, ino) = bind_unix(path)?;
            listeners.unix.push(listener);
            listeners.file = Some((path.to_owned(), dev, ino));
        }
        if let (Some(address), true) = (tcp, listeners.tcp.is_empty()) {
            check(address, tls)?;
            let listener = TcpListener::bind(address);
            listeners.tcp.push(listener.map_err(|source| ListenError::Io { what: address.to_string(), source })?);
        }
        Ok(listeners)
    }

    fn inherited(tls: bool) -> Result<Self, ListenError> {
        let mut given = listenfd::ListenFd::from_env();
        let mut listeners = Self::default();
        for n in 0..given.len() {
            if let Ok(Some(listener)) = given.take_unix_listener(n) {
                listeners.unix.push(listener);
                continue;
            }
            let what = || format!("socket {n} of the service manager");
            let listener = given.take_tcp_listener(n).map_err(|source| ListenError::Io { what: what(), source })?;
            if let Some(listener) = listener {
                let address = listener.local_addr().map_err(|source| ListenError::Io { what: what(), source })?;
                check(address, tls)?;
                listeners.tcp.push(listener);
            }
        }
        Ok(listeners)
    }

    /// What is listened on, for people and for `--host`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let unix = self.unix.iter().filter_map(|l| {
            let address = l.local_addr().ok()?;
            // Bound under another name and renamed, so the system knows the wrong one.
            let path = self.file.as_ref().map(|(path, ..)| path.as_path()).or(address.as_pathname())?;
            Some(format!("unix://{}", path.display()))
        });
        let scheme = if self.tls { "https" } else { "http" };
        let tcp = self.tcp_addresses().into_iter().map(|a| format!("{scheme}://{a}"));
        unix.chain(tcp).collect()
    }

    /// The TCP addresses, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|l| l.local_addr().ok()).collect()
    }
}

fn check(address: SocketAddr, tls: bool) -> Result<(), ListenError> {
    if tls || address.ip().is_loopback() { Ok(()) } else { Err(ListenError::NotLoopback(address)) }
}

/// Binds under a name beside and renames it over: nobody can connect before the mode is right, and a socket file that
/// a dead daemon left is replaced in one step. The store's lock keeps two daemons of one state directory apart.
fn bind_unix(path: &Path) -> Result<(UnixListener, u64, u64), ListenError> {
    let failed = |source| ListenError::Io { what: path.display().to_string(), source };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
        _ => {}
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let bound = (|| {
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE))?;
        let meta = fs::symlink_metadata(&beside)?;
        fs::rename(&beside, path)?;
        Ok((listener, meta.dev(), meta.ino()))
    })();
    bound.map_err(|e| {
        let _ = fs::remove_file(&beside);
        failed(e)
    })
}

/// Removes the socket file if nobody has put another one there.
pub(super) fn unlink(file: &(PathBuf, u64, u64)) {
    let (path, dev, ino) = file;
    if fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (*dev, *ino)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/wharf.sock");
        let first = Listeners::open(Some(&path), None, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(first.addresses(), [format!("unix://{}", path.display())]);
        assert!(matches!(Listeners::open(Some(&path), None, false), Err(ListenError::InUse(_))));
        drop(first);
        assert!(path.exists(), "a dead daemon leaves its file");
        let second = Listeners::open(Some(&path), None, false).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 1, "nothing else is left beside it");
        unlink(second.file.as_ref().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listeners::open(Some(&path), None, false), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn beyond_loopback_is_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let opened = Listeners::open(None, Some(address.parse().unwrap()), false);
            assert!(matches!(opened, Err(ListenError::NotLoopback(_))), "{address}");
        }
        let opened = Listeners::open(None, Some("127.0.0.1:0".parse().unwrap()), false).unwrap();
        assert_ne!(opened.tcp_addresses()[0].port(), 0);
    }
}
