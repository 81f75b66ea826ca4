//! What tether prepares before it serves: directories, the lock on its state, its sockets.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{DirBuilderExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::Path,
};

use rustix::{
    fs::{FlockOperation, Gid, Mode, OFlags, Uid, fchown, flock, open},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::options::Own;

/// The longest path of a socket that the system takes, without the closing zero.
const LONGEST_SOCKET: usize = 107;
/// Descriptors for `MAX_PROCESSES` processes.
const DESCRIPTORS: u64 = 16 * 1024;

/// Makes the directories and gives them away; what is in them stays as it is.
pub(super) fn own(all: &[Own]) -> Result<(), String> {
    // All are made first: in one that was given away, a root of few capabilities can make nothing.
    for Own { path, .. } in all {
        fs::create_dir_all(path).map_err(|e| format!("can't make {}: {e}", path.display()))?;
    }
    all.iter().try_for_each(give)
}

fn give(own: &Own) -> Result<(), String> {
    let done = || -> io::Result<()> {
        // No link is followed: what is inside a volume may be an agent's.
        let dir = open(&own.path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(fchown(&dir, Some(Uid::from_raw(own.uid)), Some(Gid::from_raw(own.gid)))?)
    };
    done().map_err(|e| format!("can't give {} to {}:{}: {e}", own.path.display(), own.uid, own.gid))
}

/// Makes the state directory, for root's eyes only, and takes its lock, which lasts as long as the file is open.
pub(super) fn state(dir: &Path) -> Result<File, String> {
    let lock = || -> io::Result<File> {
        private_dir(dir)?;
        private_dir(&dir.join("processes"))?;
        Ok(File::from(open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    };
    let lock = lock().map_err(|e| format!("can't use the state directory {}: {e}", dir.display()))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(format!("another tether serves from {}", dir.display())),
        Err(e) => Err(format!("can't lock {}: {e}", dir.display())),
    }
}

fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// The socket for `connect`, in a directory for root only.
pub(super) fn inner_socket(path: &Path) -> Result<UnixListener, String> {
    let listen = || {
        path.parent().map_or(Ok(()), private_dir)?;
        listen(path, 0o600)
    };
    listen().map_err(|e| format!("can't listen at {}: {e}", path.display()))
}

/// The socket for the host: its directory, which is the host's, says who may; here, every connection is looked at.
pub(super) fn host_socket(path: &Path) -> Result<UnixListener, String> {
    listen(path, 0o666).map_err(|e| format!("can't listen at {}: {e}", path.display()))
}

fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // One that an earlier tether left; a living one would hold the lock on the state.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// However long the path is: the system takes 107 bytes.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    if path.as_os_str().len() <= LONGEST_SOCKET {
        return UnixListener::bind(path);
    }
    let dir = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// Room for all the descriptors that tether may need, if the hard limit has it.
pub(super) fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let current = match (now.current, now.maximum) {
        (Some(current), Some(maximum)) if current < DESCRIPTORS => DESCRIPTORS.min(maximum),
        (Some(current), None) if current < DESCRIPTORS => DESCRIPTORS,
        _ => return,
    };
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..now });
}
