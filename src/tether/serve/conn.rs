//! A connection: frames in, frames out, never waiting.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Instant,
};

use serde::Serialize;

use crate::tether::{
    frames::{Decoder, Frame, FrameError, encode_json, kind},
    messages::{Error, ErrorCode},
};

/// Output is added only while less than this waits to be sent.
const OUTPUT_MARK: usize = 256 << 10;
/// Frames are read only while less than this waits to be sent: who does not read answers can't ask.
const INPUT_MARK: usize = 4 << 20;
/// The most reads in a row: others want a turn.
const READS: usize = 16;

#[derive(Debug)]
pub(super) struct Conn {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    pub(super) since: Instant,
    /// Why it is to be closed.
    pub(super) broken: Option<String>,
}

impl Conn {
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Self { stream, decoder: Decoder::default(), out: Vec::new(), sent: 0, since: now, broken: None }
    }

    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    const fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    pub(super) const fn wants_to_write(&self) -> bool {
        self.waiting() > 0
    }

    pub(super) const fn may_read(&self) -> bool {
        self.waiting() < INPUT_MARK
    }

    pub(super) const fn has_room_for_output(&self) -> bool {
        self.waiting() < OUTPUT_MARK
    }

    /// Where output frames go.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn fail(&mut self, why: impl Into<String>) {
        self.broken.get_or_insert_with(|| why.into());
    }

    pub(super) fn send<T: Serialize>(&mut self, kind: u8, message: &T) {
        if let Err(e) = encode_json(&mut self.out, kind, message) {
            self.fail(e.to_string());
        }
    }

    pub(super) fn send_error(&mut self, req: Option<u64>, code: ErrorCode, message: impl Into<String>) {
        self.send(kind::ERROR, &Error { req, process: None, n: None, code, message: message.into() });
    }

    /// Reads what is there.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for _ in 0..READS {
            match self.stream.read(buffer) {
                Ok(0) => return self.fail("it was closed"),
                Ok(n) => {
                    self.decoder.push(&buffer[..n]);
                    if n < buffer.len() {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.fail(e.to_string()),
            }
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.broken.is_some() || !self.may_read() { Ok(None) } else { self.decoder.next_frame() }
    }

    /// Sends what goes without waiting.
    pub(super) fn flush(&mut self) {
        while self.wants_to_write() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.fail(e.to_string()),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(OUTPUT_MARK);
            self.sent = 0;
        } else if self.sent > OUTPUT_MARK {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }
}
