//! tether: holds the agent processes of a workspace and their output.
//!
//! The three calls that no safe wrapper among tether's few dependencies offers stand here, outside the library, which
//! forbids unsafe code: catching signals, keeping inherited descriptors from what is started, and reading a peer's credentials where its pid may be 0 (rustix makes that pid
//! a non-zero integer).

use std::{
    ffi::{c_int, c_void},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::OnceLock,
};

use wharf::tether::inside::{self, Peer, System};

const SIGNALS: [c_int; 3] = [2, 15, 17]; // SIGINT, SIGTERM, SIGCHLD
const F_SETFD: c_int = 2;
const FD_CLOEXEC: c_int = 1;
const SOL_SOCKET: c_int = 1;
const SO_PEERCRED: c_int = 17;

unsafe extern "C" {
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut u32) -> c_int;
}

static WAKE: OnceLock<UnixStream> = OnceLock::new();

/// Writes the signal's number to a socket that never blocks: one system call, and errno is left alone.
extern "C" fn on_signal(number: c_int) {
    if let (Some(wake), Ok(number)) = (WAKE.get(), u8::try_from(number)) {
        let _ = rustix::io::write(wake.as_fd(), &[number]);
    }
}

fn watch_signals() -> io::Result<OwnedFd> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    WAKE.set(write).map_err(|_| io::Error::other("signals are watched already"))?;
    for number in SIGNALS {
        // SAFETY: the handler does nothing but one write to a socket that stays open for the life of the process.
        if unsafe { signal(number, on_signal) } == usize::MAX {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(read.into())
}

fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut cred = [0_u32; 3]; // pid, uid, gid
    let mut len = u32::try_from(size_of_val(&cred)).unwrap_or_default();
    // SAFETY: the pointers are to live memory of the length given, and any bits are a valid array of integers.
    let failed =
        unsafe { getsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_PEERCRED, cred.as_mut_ptr().cast(), &raw mut len) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(Peer { pid: cred[0], uid: cred[1] }) }
}

/// What whoever started us left open is not for an agent.
fn keep_descriptors_to_ourselves() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    for fd in open.filter_map(|entry| entry.file_name().to_str()?.parse::<c_int>().ok()).filter(|&fd| fd > 2) {
        // SAFETY: setting this flag takes nothing from whoever owns the descriptor; one that is closed by now is an error.
        unsafe { fcntl(fd, F_SETFD, FD_CLOEXEC) };
    }
}

fn main() -> ExitCode {
    keep_descriptors_to_ourselves();
    inside::main(System { watch_signals, peer })
}
