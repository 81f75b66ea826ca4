//! As much of HTTP/1.1 as agents speak to a model API: requests with a length or in chunks, JSON and event streams.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;

const MAX_HEAD: u64 = 64 * 1024;
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// A request, whole.
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// One client's connection.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { writer: stream.try_clone()?, reader: BufReader::new(stream) })
    }

    /// The next request; none when the client closed between two.
    pub(super) fn read(&mut self) -> io::Result<Option<Request>> {
        let mut budget = MAX_HEAD;
        let Some(first) = self.line(&mut budget)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(bad("no request line")) };
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let method = method.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line(&mut budget)?.ok_or_else(|| bad("the head ends early"))?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut request = Request { method, path, headers, body: Vec::new() };
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = self.body(&request)?;
        Ok(Some(request))
    }

    fn line(&mut self, budget: &mut u64) -> io::Result<Option<String>> {
        let mut line = String::new();
        let length = (&mut self.reader).take(*budget).read_line(&mut line)?;
        *budget -= length as u64;
        if length == 0 {
            return if *budget == 0 { Err(bad("the head is too long")) } else { Ok(None) };
        }
        let text = line.strip_suffix('\n').ok_or_else(|| bad("a line that does not end"))?;
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }

    fn body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            loop {
                let mut budget = 1024;
                let line = self.line(&mut budget)?.ok_or_else(|| bad("the body ends early"))?;
                let size = line.split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
                self.take_body(size, &mut body)?;
                self.line(&mut budget)?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        let size = request.header("content-length").map_or(Ok(0), str::parse).map_err(|_| bad("no content length"))?;
        self.take_body(size, &mut body)?;
        Ok(body)
    }

    fn take_body(&mut self, size: u64, body: &mut Vec<u8>) -> io::Result<()> {
        if size > MAX_BODY - (body.len() as u64).min(MAX_BODY) {
            return Err(bad("the body is too long"));
        }
        let read = (&mut self.reader).take(size).read_to_end(body)?;
        if read as u64 == size { Ok(()) } else { Err(bad("the body ends early")) }
    }

    /// Answers with one JSON document.
    pub(super) fn json(&mut self, status: u16, body: &Value) -> io::Result<()> {
        // Whoever tries again after an error need not wait: tests would wait with it.
        let more = if status < 400 { "" } else { "retry-after-ms: 1\r\n" };
        self.whole(status, more, &body.to_string())
    }

    /// Answers a HEAD request: nothing but the head.
    pub(super) fn head(&mut self) -> io::Result<()> {
        self.whole(200, "", "")
    }

    fn whole(&mut self, status: u16, more: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        // One write: the client sees head and body in one segment.
        let answer = format!(
            "HTTP/1.1 {status} {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        );
        self.writer.write_all(answer.as_bytes())
    }

    /// Begins an event stream.
    pub(super) fn stream(&mut self) -> io::Result<()> {
        self.writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )
    }

    /// Sends one event of the stream; the event's name is the `type` of its data, as Anthropic and OpenAI have it.
    pub(super) fn event(&mut self, data: &Value) -> io::Result<()> {
        let name = data["type"].as_str().map_or_else(String::new, |name| format!("event: {name}\n"));
        let event = format!("{name}data: {data}\n\n");
        self.writer.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
    }

    /// Sends the mark that ends a stream of chat completions.
    pub(super) fn done(&mut self) -> io::Result<()> {
        self.writer.write_all(b"e\r\ndata: [DONE]\n\n\r\n")
    }

    /// Ends the stream.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.writer.write_all(b"0\r\n\r\n")
    }

    /// Waits, and fails at once when the client goes away meanwhile.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.writer.set_read_timeout(None);
            }
            self.writer.set_read_timeout(Some(left))?;
            match self.writer.peek(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                // The next request is here already; it has to wait, and so do we.
                Ok(_) => std::thread::sleep(left),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
