//! A subscriber of server-sent events that checks what every subscriber may rely on.

use serde_json::Value;

use super::{Client, PATIENCE};

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its sequence number, from the frame's `id:`.
    pub seq: u64,
    /// Its JSON.
    pub json: Value,
}

impl Event {
    /// Its type.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().expect("a type")
    }

    /// The text of an agent's message chunk.
    pub fn chunk(&self) -> Option<&str> {
        let update = &self.json["data"];
        (self.kind() == "update" && update["sessionUpdate"] == "agent_message_chunk")
            .then(|| update["content"]["text"].as_str())
            .flatten()
    }
}

/// A subscriber. Every event must come once, in order, without a gap; it panics otherwise.
pub struct Events {
    response: reqwest::Response,
    buffer: Vec<u8>,
    last: u64,
}

impl Events {
    pub(super) async fn open(client: &Client, session: &str, after: u64) -> Self {
        let request = client
            .request("GET", &format!("/v1/sessions/{session}/events"))
            .header("Accept", "text/event-stream")
            .header("Last-Event-ID", after.to_string());
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: Vec::new(), last: after }
    }

    /// The sequence number of the last event that came.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The next event; `None` when the stream ended.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event in time")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&frame) {
                    assert_eq!(event.seq, self.last + 1, "a gap or a duplicate");
                    assert_eq!(event.json["seq"], event.seq);
                    self.last = event.seq;
                    return Some(event);
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Reads until an event that fits.
    pub async fn until(&mut self, mut fits: impl FnMut(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if fits(&event) {
                return event;
            }
        }
    }

    /// Reads until an event of a type.
    pub async fn until_kind(&mut self, kind: &str) -> Event {
        self.until(|e| e.kind() == kind).await
    }

    /// Reads to the end of a turn: the agent's text, and the data of its end.
    pub async fn turn(&mut self, prompt: u64) -> (String, Value) {
        let mut text = String::new();
        let turn = format!("turn_{prompt}");
        let end = self
            .until(|e| {
                if e.json["turn"] == turn.as_str() {
                    text.push_str(e.chunk().unwrap_or_default());
                }
                e.kind() == "turn.ended" && e.json["data"]["prompt"] == prompt
            })
            .await;
        (text, end.json["data"].clone())
    }

    /// Reads everything to the stream's end.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

fn parse(frame: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(frame).expect("UTF-8");
    let (mut seq, mut data) = (None, None);
    for line in text.lines() {
        if let Some(id) = line.strip_prefix("id: ") {
            seq = id.parse().ok();
        } else if let Some(json) = line.strip_prefix("data: ") {
            data = serde_json::from_str(json).ok();
        }
    }
    Some(Event { seq: seq?, json: data? })
}
