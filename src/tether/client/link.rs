//! One connection: whole frames in, bytes out, both at once, so that neither side waits for the other.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    time::timeout,
};

use super::{ConnectError, Stream};
use crate::tether::{
    frames::{Decoder, Frame, FrameError, OLDEST_VERSION, VERSION, encode_json, kind},
    messages::{Error, ErrorCode, Hello, Welcome},
};

/// How long tether may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Frames are added only while less than this waits to be sent.
const MARK: usize = 1 << 20;

pub(super) struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    decoder: Decoder,
    buffer: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("tether broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("tether broke the protocol: {0}")]
    Protocol(String),
    #[error("it was silent for too long")]
    Silent,
    #[error("{0}")]
    Refused(String),
}

impl Link {
    /// Says hello and waits for the welcome.
    pub(super) async fn open(stream: Box<dyn Stream>) -> Result<(Self, Welcome), ConnectError> {
        let (reader, writer) = tokio::io::split(stream);
        let mut link =
            Self { reader, writer, decoder: Decoder::default(), buffer: vec![0; 64 << 10], out: Vec::new(), sent: 0 };
        match timeout(HELLO_PATIENCE, link.greet()).await {
            Ok(Ok(welcome)) if (OLDEST_VERSION..=VERSION).contains(&welcome.version) => Ok((link, welcome)),
            Ok(Ok(welcome)) => Err(ConnectError::Unsupported(format!(
                "its tether {} speaks version {} of the protocol, this daemon {OLDEST_VERSION} to {VERSION}",
                welcome.tether, welcome.version
            ))),
            Ok(Err(LinkError::Refused(why))) => Err(ConnectError::Unsupported(why)),
            Ok(Err(e)) => Err(ConnectError::Retry(e.to_string())),
            Err(_) => Err(ConnectError::Retry("tether does not answer".to_owned())),
        }
    }

    async fn greet(&mut self) -> Result<Welcome, LinkError> {
        let client = concat!("wharf ", env!("CARGO_PKG_VERSION")).to_owned();
        encode_json(&mut self.out, kind::HELLO, &Hello { version: VERSION, client })?;
        loop {
            if let Some(frame) = self.next_frame()? {
                return match frame.kind {
                    kind::WELCOME => Ok(frame.json()?),
                    kind::ERROR => {
                        let error: Error = frame.json()?;
                        let refused = error.code == ErrorCode::Unsupported;
                        Err(if refused {
                            LinkError::Refused(error.message)
                        } else {
                            LinkError::Protocol(error.message)
                        })
                    }
                    other => Err(LinkError::Protocol(format!("a frame of kind {other} before the welcome"))),
                };
            }
            self.turn().await?;
        }
    }

    /// Waits until bytes came (`true`) or went. Safe to drop at any time.
    pub(super) async fn turn(&mut self) -> io::Result<bool> {
        let waiting = self.sent < self.out.len();
        tokio::select! {
            n = self.reader.read(&mut self.buffer) => {
                let n = n?;
                if n == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed"));
                }
                self.decoder.push(&self.buffer[..n]);
                Ok(true)
            }
            n = self.writer.write(&self.out[self.sent..]), if waiting => {
                let n = n?;
                if n == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.sent += n;
                if self.sent == self.out.len() {
                    self.out.clear();
                    self.out.shrink_to(MARK);
                    self.sent = 0;
                }
                Ok(false)
            }
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next_frame()
    }

    pub(super) const fn has_room(&self) -> bool {
        self.out.len() - self.sent < MARK
    }

    /// Where frames to be sent go.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}
