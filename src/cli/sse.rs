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
    /// Takes a chunk; adds the events that are whole now to `frames`. `Err`: what comes next is no stream of wharf.
    pub(super) fn take(&mut self, chunk: &[u8], frames: &mut impl Extend<Frame>) -> Result<(), String> {
        self.buffer.extend_from_slice(chunk);
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
        Ok(())
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
    use proptest::prelude::*;

    use super::*;
    use crate::{fuzz::fuzz, mutate::change};

    #[test]
    fn chunks_may_end_anywhere() {
        let text = "retry: 1000\n\nid: 1\ndata: {\"a\":\"ü\"}\n\n: ping\n\nid: 2\ndata: {}\n\n: ping\nid: 9\n\nid:10\ndata:x\n\n";
        let (whole, refused) = read(std::iter::once(text.as_bytes()));
        assert_eq!(refused, None);
        assert_eq!(whole.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["1", "2", "10"]);
        assert_eq!(whole[0].json, "{\"a\":\"ü\"}");
        for size in 1..7 {
            assert_eq!(read(text.as_bytes().chunks(size)).0, whole, "chunks of {size}");
        }
    }

    /// What comes of a stream in these chunks, up to where it is refused.
    fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for chunk in chunks {
            if let Err(e) = parser.take(chunk, &mut frames) {
                return (frames, Some(e));
            }
            assert!(parser.looked <= parser.buffer.len());
        }
        (frames, None)
    }

    /// A stream as the daemon writes it, with lines that it does not write, and what was done to it.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => any::<u64>().prop_map(|id| format!("id: {id}")),
            4 => Just("data: {\"seq\":1,\"data\":{\"text\":\"ü\"}}".to_owned()),
            2 => Just(String::new()),
            1 => Just(": ping".to_owned()),
            1 => "(id|data|event|retry)?:? ?[ -~é\r]{0,12}",
        ];
        let changes = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(change(), 1..4)];
        (prop::collection::vec(line, 0..40), changes).prop_map(|(lines, changes)| {
            let mut bytes = lines.join("\n").into_bytes();
            changes.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        })
    }

    #[test]
    fn fuzz_a_stream_is_the_same_however_it_is_cut() {
        fuzz("server-sent events", &(stream(), prop::collection::vec(1..40_usize, 1..9)), |(bytes, cuts)| {
            let whole = read(bytes.chunks(1));
            let (mut rest, mut chunks, mut cut) = (&bytes[..], Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cut.next().expect("it is a cycle")));
                chunks.push(now);
                rest = later;
            }
            assert_eq!(read(chunks.into_iter()), whole);
            assert_eq!(read(std::iter::once(&bytes[..])), whole);
        });
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        assert!(parser.take(b"id: 1\ndata: ", &mut frames).is_ok());
        let chunk = vec![b'x'; 1 << 20];
        let refused = (0..100).find(|_| parser.take(&chunk, &mut frames).is_err());
        assert_eq!((refused, frames), (Some(63), Vec::new()), "after 64 MiB");
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        assert!(Frame { id: "x".to_owned(), json: String::new() }.seq().is_err());
        for bad in [&b"data: {}\n\n"[..], b"id: 1\ndata: \xff\n\n"] {
            let after_good = [b"id: 1\ndata: {}\n\n", bad].concat();
            let (good, refused) = read(std::iter::once(&after_good[..]));
            assert!(good.len() == 1 && refused.is_some(), "what was good before it is lost: {good:?}");
        }
    }
}
