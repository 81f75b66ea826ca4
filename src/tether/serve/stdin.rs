//! The input that waits to be written to a process.

use std::{collections::VecDeque, os::fd::OwnedFd};

use rustix::io::Errno;

/// The most input that may wait, in bytes.
const MAX_WAITING: usize = 64 << 20;
/// What stands for the end of input on a terminal: control-D.
const END_OF_INPUT: &[u8] = &[4];

/// A process's stdin.
#[derive(Debug)]
pub(super) struct Stdin {
    /// None once it is closed.
    fd: Option<OwnedFd>,
    terminal: bool,
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first is written.
    written: usize,
    len: usize,
    close: bool,
    /// A terminal's end of input was given, and nothing since.
    ended: bool,
}

impl Stdin {
    pub(super) const fn new(fd: OwnedFd, terminal: bool) -> Self {
        Self { fd: Some(fd), terminal, waiting: VecDeque::new(), written: 0, len: 0, close: false, ended: false }
    }

    /// Whether so many bytes more may wait.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        self.len + bytes <= MAX_WAITING
    }

    /// Input for a process that has closed its stdin goes nowhere, as with a pipe.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        self.ended = false;
        if self.fd.is_some() && !self.close && !bytes.is_empty() {
            self.len += bytes.len();
            self.waiting.push_back(bytes);
        }
        self.write();
    }

    /// Closes it behind what waits. A second time changes nothing.
    pub(super) fn close(&mut self) {
        if self.terminal {
            if !self.ended {
                self.push(END_OF_INPUT.to_vec());
                self.ended = true;
            }
        } else {
            self.close = true;
            self.write();
        }
    }

    /// What to poll for room, while something waits.
    pub(super) fn wants_room(&self) -> Option<&OwnedFd> {
        if self.waiting.is_empty() { None } else { self.fd.as_ref() }
    }

    /// The terminal, if it is one.
    pub(super) fn terminal(&self) -> Option<&OwnedFd> {
        if self.terminal { self.fd.as_ref() } else { None }
    }

    /// Writes what goes without waiting.
    pub(super) fn write(&mut self) {
        while let (Some(fd), Some(first)) = (&self.fd, self.waiting.front()) {
            match rustix::io::write(fd, &first[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.len -= n;
                    if self.written == first.len() {
                        self.waiting.pop_front();
                        self.written = 0;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.close = self.drop_waiting(),
            }
        }
        if self.close {
            self.fd = None;
        }
    }

    fn drop_waiting(&mut self) -> bool {
        (self.len, self.written) = (0, 0);
        self.waiting = VecDeque::new();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::{
        fs::{OFlags, fcntl_setfl},
        pipe::{PipeFlags, pipe_with},
    };

    use super::*;

    #[test]
    fn input_is_written_in_order_as_room_comes_and_then_closed() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
        let mut stdin = Stdin::new(write, false);
        let all: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for part in all.chunks(700_000) {
            assert!(stdin.has_room(part.len()));
            stdin.push(part.to_vec());
        }
        assert!(!stdin.has_room(MAX_WAITING - 100_000));
        stdin.close();
        assert!(stdin.wants_room().is_some());
        let (mut reader, mut got, mut chunk) = (std::fs::File::from(read), Vec::new(), vec![0; 50_000]);
        loop {
            let n = reader.read(&mut chunk).unwrap();
            if n == 0 {
                break;
            }
            got.extend_from_slice(&chunk[..n]);
            stdin.write();
        }
        assert!(got == all);
        assert!(stdin.wants_room().is_none() && stdin.has_room(MAX_WAITING));
    }

    #[test]
    fn a_closed_reader_drops_what_waits() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
        let mut stdin = Stdin::new(write, false);
        stdin.push(vec![0; 200_000]);
        drop(read);
        stdin.write();
        assert!(stdin.wants_room().is_none() && stdin.has_room(MAX_WAITING));
        stdin.push(b"more".to_vec());
        assert!(stdin.has_room(MAX_WAITING));
    }
}
