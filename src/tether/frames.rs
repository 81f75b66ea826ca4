//! The frames between the daemon and tether: a length (u32, little-endian), a kind (u8), a payload; bounded and checked.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// The newest version of the protocol that this build speaks.
pub const VERSION: u32 = 1;
/// The oldest version that this build still speaks.
pub const OLDEST_VERSION: u32 = 1;
/// The longest payload of every kind but `INPUT`, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The longest payload of an `INPUT` frame, in bytes: 32 MiB of input and its header.
pub const MAX_INPUT_PAYLOAD: usize = MAX_INPUT + 256;
/// The most bytes that one input may hold.
pub const MAX_INPUT: usize = 32 << 20;
/// How much output of one process, in units, tether may send beyond what its receiver has taken. A frame costs the bytes
/// that it carries and [`FRAME_COST`].
pub const WINDOW: u64 = 1 << 20;
/// What an `OUTPUT` frame costs beside its bytes, so that a flood of tiny frames is bounded too.
pub const FRAME_COST: u64 = 128;
/// The most bytes of output in one frame.
pub const MAX_OUTPUT: usize = 64 << 10;
/// The most processes that tether holds, those that ended and are not forgotten included.
pub const MAX_PROCESSES: usize = 1024;

/// The kinds of frames. 1 to 63 go to tether, 65 to 127 come from it.
pub mod kind {
    #![allow(missing_docs, reason = "each is described by its payload's type in `messages`")]
    pub const HELLO: u8 = 1;
    pub const START: u8 = 2;
    pub const ATTACH: u8 = 3;
    pub const INPUT: u8 = 4;
    pub const ACK: u8 = 5;
    pub const CREDIT: u8 = 6;
    pub const END: u8 = 7;
    pub const CLOSE_STDIN: u8 = 8;
    pub const SIGNAL: u8 = 9;
    pub const RESIZE: u8 = 10;
    pub const FORGET: u8 = 11;
    pub const LIST: u8 = 12;
    pub const PING: u8 = 13;
    pub const DETACH: u8 = 14;
    pub const START_WITH_FILES: u8 = 15;
    pub const RESOLVE: u8 = 16;
    pub const STOP: u8 = 17;

    pub const WELCOME: u8 = 65;
    pub const ERROR: u8 = 66;
    pub const DONE: u8 = 67;
    pub const ENDED: u8 = 68;
    pub const PROCESSES: u8 = 69;
    pub const ATTACHED: u8 = 70;
    pub const OUTPUT: u8 = 71;
    pub const INPUT_TAKEN: u8 = 72;
    pub const EXITED: u8 = 73;
    pub const PONG: u8 = 74;
    pub const RESOLVED: u8 = 75;
}

/// What is wrong with bytes that should be frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame without a kind.
    Empty,
    /// A payload beyond its kind's limit.
    TooLong {
        /// The kind.
        kind: u8,
        /// The payload's length in bytes.
        len: usize,
    },
    /// A payload that is not what its kind says.
    Malformed {
        /// The kind.
        kind: u8,
        /// In what way.
        what: String,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty frame"),
            Self::TooLong { kind, len } => write!(f, "a frame of kind {kind} with {len} bytes, which is too long"),
            Self::Malformed { kind, what } => write!(f, "a malformed frame of kind {kind}: {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind; perhaps one that this build does not know.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The payload as the JSON message `T`; fields that this build does not know are ignored.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.payload).map_err(|e| self.malformed(e.to_string()))
    }

    fn malformed(&self, what: impl Into<String>) -> FrameError {
        FrameError::Malformed { kind: self.kind, what: what.into() }
    }
}

const fn limit(kind: u8) -> usize {
    if kind == kind::INPUT { MAX_INPUT_PAYLOAD } else { MAX_PAYLOAD }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.buf.len() {
            self.buf.clear();
            self.at = 0;
            // Big inputs are rare, and a resident program gives their room back.
            self.buf.shrink_to(256 << 10);
        } else if self.at > (256 << 10) {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes are there.
    ///
    /// # Errors
    /// `Empty` and `TooLong`: the stream can't be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buf[self.at..];
        let Some((len, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*len) as usize;
        if len == 0 {
            return Err(FrameError::Empty);
        }
        let Some(&kind) = after.first() else { return Ok(None) };
        if len - 1 > limit(kind) {
            return Err(FrameError::TooLong { kind, len: len - 1 });
        }
        let Some(body) = after.get(..len) else { return Ok(None) };
        let frame = Frame { kind, payload: body[1..].to_vec() };
        self.at += 4 + len;
        Ok(Some(frame))
    }
}

/// Appends a frame to `out`.
///
/// # Errors
/// `TooLong`, and `out` is as it was.
pub fn encode(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Result<(), FrameError> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len > limit(kind) {
        return Err(FrameError::TooLong { kind, len });
    }
    let with_kind = u32::try_from(len + 1).map_err(|_| FrameError::TooLong { kind, len })?;
    out.extend_from_slice(&with_kind.to_le_bytes());
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// Appends a frame with a JSON payload to `out`.
///
/// # Errors
/// `TooLong`, and `out` is as it was.
pub fn encode_json<T: Serialize>(out: &mut Vec<u8>, kind: u8, message: &T) -> Result<(), FrameError> {
    let payload = serde_json::to_vec(message).map_err(|e| FrameError::Malformed { kind, what: e.to_string() })?;
    encode(out, kind, &[&payload])
}

/// Which output of a process. A process on a pty has `Stdout` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Its standard output, or its pty.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// An `OUTPUT` frame's payload: length of the id (u8), id, stream (u8), offset (u64), time (i64), bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// The process's id.
    pub process: &'a str,
    /// Which of its streams.
    pub stream: Stream,
    /// The stream's byte offset that `bytes` begins at.
    pub offset: u64,
    /// When tether read them, in milliseconds since the Unix epoch.
    pub time: i64,
    /// 1 to [`MAX_OUTPUT`] bytes.
    pub bytes: &'a [u8],
}

impl<'a> Output<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// `Malformed` for an id that is none; `TooLong`.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let id = id_prefix(kind::OUTPUT, self.process)?;
        let stream = [u8::from(self.stream == Stream::Stderr)];
        let parts: [&[u8]; 6] =
            [&id, self.process.as_bytes(), &stream, &self.offset.to_le_bytes(), &self.time.to_le_bytes(), self.bytes];
        encode(out, kind::OUTPUT, &parts)
    }

    /// Reads the payload of `frame`.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let (process, rest) = split_id(frame)?;
        let (stream, rest) = rest.split_first().ok_or_else(|| frame.malformed("no stream"))?;
        let stream = match stream {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            other => return Err(frame.malformed(format!("stream {other}"))),
        };
        let (offset, rest) = rest.split_first_chunk().ok_or_else(|| frame.malformed("no offset"))?;
        let (time, bytes) = rest.split_first_chunk().ok_or_else(|| frame.malformed("no time"))?;
        if bytes.is_empty() || bytes.len() > MAX_OUTPUT {
            return Err(frame.malformed(format!("{} bytes of output", bytes.len())));
        }
        Ok(Self { process, stream, offset: u64::from_le_bytes(*offset), time: i64::from_le_bytes(*time), bytes })
    }

    /// What it costs of the window.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.bytes.len() as u64 + FRAME_COST
    }
}

/// An `INPUT` frame's payload: length of the id (u8), id, flags (u8; 1: mark), n (u64), bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// The process's id.
    pub process: &'a str,
    /// The input's number, from 1 without gaps.
    pub n: u64,
    /// Whether the process's tree is to be remembered as it is before this input.
    pub mark: bool,
    /// At most [`MAX_INPUT`] bytes.
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// `Malformed` for an id that is none; `TooLong`.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let id = id_prefix(kind::INPUT, self.process)?;
        let flags = [u8::from(self.mark)];
        encode(out, kind::INPUT, &[&id, self.process.as_bytes(), &flags, &self.n.to_le_bytes(), self.bytes])
    }

    /// Reads the payload of `frame`.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let (process, rest) = split_id(frame)?;
        let (flags, rest) = rest.split_first().ok_or_else(|| frame.malformed("no flags"))?;
        let (n, bytes) = rest.split_first_chunk().ok_or_else(|| frame.malformed("no number"))?;
        if bytes.len() > MAX_INPUT {
            return Err(frame.malformed(format!("{} bytes of input", bytes.len())));
        }
        Ok(Self { process, n: u64::from_le_bytes(*n), mark: flags & 1 != 0, bytes })
    }
}

/// Whether `id` can name a process: 1 to 96 of `a-z`, `0-9`, `_`, `-`.
#[must_use]
pub fn is_process_id(id: &str) -> bool {
    (1..=96).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

fn id_prefix(kind: u8, id: &str) -> Result<[u8; 1], FrameError> {
    match u8::try_from(id.len()) {
        Ok(len) if is_process_id(id) => Ok([len]),
        _ => Err(FrameError::Malformed {
            kind,
            what: format!("process id {:?}", id.chars().take(100).collect::<String>()),
        }),
    }
}

fn split_id(frame: &Frame) -> Result<(&str, &[u8]), FrameError> {
    let (len, rest) = frame.payload.split_first().ok_or_else(|| frame.malformed("no process id"))?;
    let (id, rest) = rest.split_at_checked(usize::from(*len)).ok_or_else(|| frame.malformed("a cut process id"))?;
    match std::str::from_utf8(id) {
        Ok(id) if is_process_id(id) => Ok((id, rest)),
        _ => Err(frame.malformed("a process id that is none")),
    }
}

#[cfg(test)]
mod tests;
