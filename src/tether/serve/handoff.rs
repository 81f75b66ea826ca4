//! File descriptors handed from tether to keeper to launcher over a socket: no number in argv, none left open by chance.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// What a process is started with.
#[derive(Debug)]
pub(super) struct Handoff {
    /// A file in memory with the `Start` message: the environment is never in argv and never on a disk.
    pub(super) spec: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Handoff {
    pub(super) fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let fds: [BorrowedFd<'_>; 4] =
            [self.spec.as_fd(), self.stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("the descriptors do not fit in a message"));
        }
        sendmsg(socket, &[IoSlice::new(b"h")], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub(super) fn receive(socket: impl AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        match (fds.next(), fds.next(), fds.next(), fds.next()) {
            (Some(spec), Some(stdin), Some(stdout), Some(stderr)) => Ok(Self { spec, stdin, stdout, stderr }),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no descriptors came")),
        }
    }
}
