//! Reads server-sent events from chunks that may end anywhere.

/// Bytes of one event at most: a daemon's are smaller.
const MAX_EVENT: usize = 64 * 1024 * 1024;

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its id: in a session's stream its sequence number, in that of all a cursor.
    pub(super) id: String,
    /// Its JSON.
    pub(super) json: String,
}

impl Frame {
    /// The sequence number that its id is in a session's stream.
    pub(super) fn seq(&self) -> Result<u64, String> {
        self.id.parse().map_err(|_| format!("`{}` is no sequence number", self.id))
    }
}

/// What is not yet whole.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    /// Where to go on looking for the end of the first event in the buffer.
    looked: usize,
}

impl Parser {
    /// Takes a chunk; gives the events that are whole now. `Err`: this is no stream of wharf.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<Vec<Frame>, String> {
        self.buffer.extend_from_slice(chunk);
        let mut frames = Vec::new();
        let mut from = 0;
        while let Some(at) = find(&self.buffer[self.looked..]) {
            let end = self.looked + at;
            frames.extend(frame(&self.buffer[from..end])?);
            from = end + 2;
            self.looked = from;
        }
        self.buffer.drain(..from);
        // A line feed at the end may be the first half of a separator.
        self.looked = self.buffer.len().saturating_sub(1);
        if self.buffer.len() > MAX_EVENT {
            return Err("an event is larger than any event can be".to_owned());
        }
        Ok(frames)
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\n\n")
}

/// `None`: comments, hints, and ids that only move the place.
fn frame(bytes: &[u8]) -> Result<Option<Frame>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the stream is not UTF-8".to_owned())?;
    let (mut id, mut data) = (None, Vec::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let id = id.ok_or("an event has no id")?;
    Ok(Some(Frame { id, json: data.join("\n") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_may_end_anywhere() {
        let text = "retry: 1000\n\nid: 1\ndata: {\"a\":\"ü\"}\n\n: ping\n\nid: 2\ndata: {}\n\n: ping\nid: 9\n\nid:10\ndata:x\n\n";
        let whole = Parser::default().take(text.as_bytes()).unwrap();
        assert_eq!(whole.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["1", "2", "10"]);
        assert_eq!(whole[0].json, "{\"a\":\"ü\"}");
        for size in 1..7 {
            let mut parser = Parser::default();
            let pieces: Vec<Frame> = text.as_bytes().chunks(size).flat_map(|c| parser.take(c).unwrap()).collect();
            assert_eq!(pieces, whole, "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        assert!(Frame { id: "x".to_owned(), json: String::new() }.seq().is_err());
        assert!(Parser::default().take(b"data: {}\n\n").is_err());
        assert!(Parser::default().take(b"id: 1\ndata: \xff\n\n").is_err());
    }
}
