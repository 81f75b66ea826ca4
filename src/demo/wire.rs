//! JSON-RPC over stdio: lines in, lines out.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

/// Requests and notifications of the client, cut out of the stream.
#[derive(Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
}

/// The longest line that is taken, in bytes.
const LONGEST: usize = 64 << 20;

impl Inbox {
    /// Takes what is there to read and gives the messages that are complete; `None` at the end of the stream.
    pub(super) fn read(&mut self, mut from: impl Read) -> io::Result<Option<Vec<Value>>> {
        let mut chunk = [0; 64 * 1024];
        let n = from.read(&mut chunk)?;
        if n == 0 {
            return Ok(None);
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        if self.buffer.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client's line is too long"));
        }
        let Some(end) = self.buffer.iter().rposition(|b| *b == b'\n') else { return Ok(Some(Vec::new())) };
        let rest = self.buffer.split_off(end + 1);
        let whole = std::mem::replace(&mut self.buffer, rest);
        let lines = whole.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        Ok(Some(lines.map(|line| serde_json::from_slice(line).unwrap_or(Value::Null)).collect()))
    }
}

/// Writes one message; without a client there is nobody left to work for.
pub(super) fn send(message: &Value) {
    let mut line = message.to_string();
    line.push('\n');
    let mut out = io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A successful answer.
pub(super) fn answer(id: &Value, result: &Value) {
    send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

/// An error as answer.
pub(super) fn refuse(id: &Value, code: i64, message: &str, data: &Value) {
    let mut error = json!({"code": code, "message": message});
    if !data.is_null() {
        error["data"] = data.clone();
    }
    send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
}

/// A `session/update`.
pub(super) fn update(session: &str, update: &Value) {
    let params = json!({"sessionId": session, "update": update});
    send(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}));
}

/// A chunk of text of a kind (`agent_message_chunk`, `agent_thought_chunk`, `user_message_chunk`).
pub(super) fn chunk(session: &str, kind: &str, text: &str) {
    update(session, &json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_at_lines() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.read(&br#"{"id":"#[..]).unwrap(), Some(vec![]));
        assert_eq!(inbox.read(&b"1}\n\n{\"id\":2}\n{\"i"[..]).unwrap(), Some(vec![json!({"id": 1}), json!({"id": 2})]));
        assert_eq!(inbox.read(&b"d\":3}\nno json\n"[..]).unwrap(), Some(vec![json!({"id": 3}), Value::Null]));
        assert_eq!(inbox.read(&b""[..]).unwrap(), None);
    }
}
