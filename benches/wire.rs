//! A subscriber that costs as little as can be: server-sent events cut out of a raw TCP stream, checked for order.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// Opens the live stream of a session after event `after`. `buffer`: how much the kernel holds for a client that does
/// not read; `None`: what it likes.
pub async fn subscribe(
    address: SocketAddr,
    token: &str,
    session: &str,
    after: u64,
    buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let mut stream = socket.connect(address).await?;
    let request = format!(
        "GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\nLast-Event-ID: {after}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The answer's head.
    Head,
    /// The size of a chunk.
    Size(usize),
    /// A chunk.
    Data(usize),
    /// The line feed after a chunk.
    End,
}

/// Checks that every event comes once and in order.
#[derive(Debug)]
pub struct Checker {
    at: At,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The last event that came whole.
    pub last: u64,
    id: Option<u64>,
    /// Bytes of the stream after its head.
    pub bytes: u64,
}

impl Checker {
    /// One that has seen everything up to `after`, before the answer's head.
    pub fn new(after: u64) -> Self {
        Self { at: At::Head, line: Vec::new(), last: after, id: None, bytes: 0 }
    }

    /// One that begins behind the head.
    pub fn behind_head(after: u64) -> Self {
        Self { at: At::Size(0), ..Self::new(after) }
    }

    /// Takes what came.
    pub fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.at == At::Head {
                bytes = self.head(bytes)?;
                continue;
            }
            let before = bytes.len();
            bytes = self.chunked(bytes)?;
            self.bytes += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let old = self.line.len();
        self.line.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&self.line, b"\r\n\r\n") else { return Ok(&[]) };
        if !self.line.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&self.line).into_owned()));
        }
        self.line.clear();
        self.at = At::Size(0);
        Ok(&bytes[end + 4 - old..])
    }

    fn chunked<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        match self.at {
            At::Head => Ok(bytes),
            At::Size(size) => {
                match bytes[0] {
                    b'\n' if size == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    b'\n' => self.at = At::Data(size),
                    b'\r' => {}
                    digit => {
                        let digit = char::from(digit).to_digit(16).ok_or(io::ErrorKind::InvalidData)?;
                        self.at = At::Size(size * 16 + digit as usize);
                    }
                }
                Ok(&bytes[1..])
            }
            At::Data(left) => {
                let (data, rest) = bytes.split_at(left.min(bytes.len()));
                self.lines(data)?;
                self.at = if data.len() == left { At::End } else { At::Data(left - data.len()) };
                Ok(rest)
            }
            At::End => {
                if bytes[0] == b'\n' {
                    self.at = At::Size(0);
                }
                Ok(&bytes[1..])
            }
        }
    }

    fn lines(&mut self, mut data: &[u8]) -> io::Result<()> {
        while let Some(end) = memchr::memchr(b'\n', data) {
            if self.line.is_empty() {
                self.whole(&data[..end])?;
            } else {
                self.line.extend_from_slice(&data[..end]);
                let line = std::mem::take(&mut self.line);
                self.whole(&line)?;
            }
            data = &data[end + 1..];
        }
        self.line.extend_from_slice(data);
        Ok(())
    }

    fn whole(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(id) = line.strip_prefix(b"id: ") {
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            self.id = Some(id.ok_or(io::ErrorKind::InvalidData)?);
        } else if line.starts_with(b"data: ") {
            let id = self.id.take().ok_or(io::ErrorKind::InvalidData)?;
            if id != self.last + 1 {
                return Err(io::Error::other(format!("event {id} came after event {}", self.last)));
            }
            self.last = id;
        }
        Ok(())
    }
}

/// Reads until event `until` has come.
pub async fn read_until(stream: &mut TcpStream, checker: &mut Checker, until: u64) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    while checker.last < until {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => checker.feed(&buffer[..n])?,
        }
    }
    Ok(())
}
