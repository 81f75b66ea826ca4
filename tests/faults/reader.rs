//! A subscriber of a session's events that comes and goes, and keeps what it saw.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::api::Api;

/// How a subscriber behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads on; connects again at once.
    Steady,
    /// Drops its connection again and again, stalls, and asks for what can't be.
    Fickle,
}

/// What a subscriber saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// A digest of each event, from sequence number 1.
    pub digests: Vec<u64>,
    /// What no subscriber may see.
    pub wrong: Vec<String>,
    /// Prompts whose turn has ended.
    pub ended: BTreeSet<u64>,
}

/// The digest of an event's JSON, whatever its spelling.
pub fn digest(event: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.to_string().hash(&mut hasher);
    hasher.finish()
}

/// A subscriber and what it saw so far.
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
    last: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Reader {
    /// Subscribes from the first event on; permission requests are told to `asked`.
    pub fn start(
        api: Api,
        session: String,
        manner: Manner,
        seed: u64,
        asked: Option<mpsc::UnboundedSender<Value>>,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (told, last) = watch::channel(0);
        let run = Run { api, session, manner, rng: fastrand::Rng::with_seed(seed), seen: seen.clone(), told, asked };
        Self { seen, last, task: tokio::spawn(run.forever()) }
    }

    /// Waits until it has seen up to `seq`.
    pub async fn reaches(&mut self, seq: u64, patience: Duration) -> Result<(), String> {
        let reached = tokio::time::timeout(patience, self.last.wait_for(|last| *last >= seq)).await;
        if matches!(reached, Ok(Ok(_))) {
            return Ok(());
        }
        drop(reached);
        Err(format!("a subscriber is at {} of {seq}", *self.last.borrow()))
    }

    /// Waits until there is more than the given count of ended turns, or a while has passed.
    pub async fn more(&mut self, while_: Duration) {
        let _ = tokio::time::timeout(while_, self.last.changed()).await;
    }

    /// Looks at what it saw.
    pub fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Run {
    api: Api,
    session: String,
    manner: Manner,
    rng: fastrand::Rng,
    seen: Arc<Mutex<Seen>>,
    told: watch::Sender<u64>,
    asked: Option<mpsc::UnboundedSender<Value>>,
}

impl Run {
    async fn forever(mut self) {
        loop {
            if self.manner == Manner::Fickle && self.rng.u8(..8) == 0 {
                self.nonsense().await;
            }
            self.connection().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn at(&self) -> u64 {
        *self.told.borrow()
    }

    fn wrong(&self, what: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(what);
    }

    /// What is no sequence number is refused in words, and one of the future is not answered with the past.
    async fn nonsense(&mut self) {
        let garbage = ["-1", "x", "1.5", "", "99999999999999999999999", "0x1", "1 2"];
        let id = garbage[self.rng.usize(..garbage.len())];
        let request = self.api.request("GET", &format!("/v1/sessions/{}/events", self.session));
        let request = request.header("Accept", "text/event-stream").header("Last-Event-ID", id);
        if let Ok(response) = request.send().await
            && !(400..500).contains(&response.status().as_u16())
            && response.status().as_u16() < 500
            && !id.is_empty()
        {
            self.wrong(format!("`Last-Event-ID: {id}` is answered with {}", response.status()));
        }
    }

    async fn connection(&mut self) {
        let request = self.api.request("GET", &format!("/v1/sessions/{}/events", self.session));
        let request = request
            .header("Accept", "text/event-stream")
            .header("Last-Event-ID", self.at().to_string())
            .timeout(Duration::from_secs(3600));
        let Ok(mut response) = request.send().await else { return };
        if response.status() != 200 {
            return;
        }
        let mut left = if self.manner == Manner::Fickle { self.rng.u64(1..400) } else { u64::MAX };
        let mut buffer = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            buffer.extend_from_slice(&bytes);
            let mut at = 0;
            while let Some(end) = buffer[at..].windows(2).position(|w| w == b"\n\n") {
                self.frame(&buffer[at..at + end]);
                at += end + 2;
                left = left.saturating_sub(1);
                if left == 0 {
                    return;
                }
            }
            buffer.drain(..at);
            if self.manner == Manner::Fickle && self.rng.u8(..50) == 0 {
                // It reads nothing for a while: the fault itself, not a wait for something.
                tokio::time::sleep(Duration::from_millis(self.rng.u64(10..400))).await;
            }
        }
    }

    fn frame(&mut self, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame);
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        let (Some(id), Some(data)) = (fields.get("id"), fields.get("data")) else { return };
        let (Ok(seq), Ok(event)) = (id.parse::<u64>(), serde_json::from_str::<Value>(data)) else {
            return self.wrong(format!("no event: {text}"));
        };
        let at = self.at();
        if seq != at + 1 || event["seq"] != json!(seq) {
            return self.wrong(format!("after {at} comes {seq}"));
        }
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.digests.push(digest(&event));
            if event["type"] == "turn.ended" {
                seen.ended.extend(event["data"]["prompt"].as_u64());
            }
        }
        if event["type"] == "permission.requested"
            && let Some(asked) = &self.asked
        {
            let _ = asked.send(event["data"].clone());
        }
        self.told.send_replace(seq);
    }
}
