//! What the server waits for, and what it was woken by.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// What a descriptor belongs to. Processes by their place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Listener(usize),
    Guest(usize),
    Controller,
    Keeper(usize),
    Stdin(usize),
    /// Process and stream.
    Source(usize, usize),
}

/// The list for one call of `poll`.
#[derive(Default)]
pub(super) struct Poller<'a> {
    fds: Vec<PollFd<'a>>,
    tokens: Vec<Token>,
}

impl<'a> Poller<'a> {
    pub(super) fn read(&mut self, token: Token, fd: &'a impl AsFd) {
        self.add(token, fd.as_fd(), PollFlags::IN);
    }

    pub(super) fn write(&mut self, token: Token, fd: &'a impl AsFd) {
        self.add(token, fd.as_fd(), PollFlags::OUT);
    }

    pub(super) fn read_write(&mut self, token: Token, fd: &'a impl AsFd, read: bool, write: bool) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        self.add(token, fd.as_fd(), flags);
    }

    fn add(&mut self, token: Token, fd: BorrowedFd<'a>, flags: PollFlags) {
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
        self.tokens.push(token);
    }

    /// Waits until something is ready, at most until then.
    pub(super) fn wait(mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        // Rounded up: waking too early would only mean to wait again.
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_micros(100));
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        match poll(&mut self.fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let ready = self.fds.iter().zip(self.tokens).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(_, token)| token).collect())
    }
}
