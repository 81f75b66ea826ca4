//! Starts a process: its pipes or its terminal, and the keeper that it gets as a parent.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, Stdio},
};

use rustix::{
    fs::{Gid, MemfdFlags, OFlags, Uid, fchown, fcntl_setfl, memfd_create},
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::handoff::Handoff;
use crate::tether::messages::{Size, Start};

/// tether's ends of a process that is being started.
#[derive(Debug)]
pub(super) struct Spawned {
    /// The keeper's reports; nothing is sent that way after the start.
    pub(super) control: UnixStream,
    pub(super) keeper: i32,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    /// None for a terminal.
    pub(super) stderr: Option<OwnedFd>,
}

pub(super) fn spawn(start: &Start) -> io::Result<Spawned> {
    let spec = memfd_create("start", MemfdFlags::CLOEXEC)?;
    let mut spec = File::from(spec);
    spec.write_all(&serde_json::to_vec(start)?)?;
    let ends = match start.pty {
        Some(size) => terminal(size, start)?,
        None => pipes(start)?,
    };
    let (control, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg0("wharf-tether")
        .args(["keep", &start.id])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    let handoff = Handoff { spec: spec.into(), stdin: ends.stdin.1, stdout: ends.stdout.1, stderr: ends.stderr.1 };
    handoff.send(&control)?;
    control.set_nonblocking(true)?;
    let keeper = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Spawned { control, keeper, stdin: ends.stdin.0, stdout: ends.stdout.0, stderr: ends.stderr.0 })
}

/// Ours first, the process's second.
struct Ends {
    stdin: (OwnedFd, OwnedFd),
    stdout: (OwnedFd, OwnedFd),
    stderr: (Option<OwnedFd>, OwnedFd),
}

fn pipes(start: &Start) -> io::Result<Ends> {
    let (stdin_read, stdin_write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout_read, stdout_write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr_read, stderr_write) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&stdin_write, &stdout_read, &stderr_read] {
        fcntl_setfl(ours, OFlags::NONBLOCK)?;
    }
    for theirs in [&stdin_read, &stdout_write, &stderr_write] {
        give(theirs, start)?;
    }
    Ok(Ends {
        stdin: (stdin_write, stdin_read),
        stdout: (stdout_read, stdout_write),
        stderr: (Some(stderr_read), stderr_write),
    })
}

fn terminal(size: Size, start: &Start) -> io::Result<Ends> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    resize(&ours, size)?;
    give(&theirs, start)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok(Ends {
        stdin: (ours.try_clone()?, theirs.try_clone()?),
        stdout: (ours, theirs.try_clone()?),
        stderr: (None, theirs),
    })
}

/// So that the process can open /dev/stdout and the like by name.
fn give(fd: &OwnedFd, start: &Start) -> io::Result<()> {
    Ok(fchown(fd, Some(Uid::from_raw(start.uid)), Some(Gid::from_raw(start.gid)))?)
}

pub(super) fn resize(terminal: &OwnedFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
