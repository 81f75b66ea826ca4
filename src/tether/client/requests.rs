//! The requests that wait for tether's answer, over as many connections as it takes.

use std::collections::BTreeMap;

use super::{
    TetherError,
    commands::{Reply, ReplyTo},
};

/// The most that may wait.
const MAX_WAITING: usize = 4096;

struct Waiting {
    frame: Vec<u8>,
    repeat: bool,
    sent: bool,
    reply: ReplyTo<Reply>,
}

#[derive(Default)]
pub(super) struct Requests(BTreeMap<u64, Waiting>);

impl Requests {
    pub(super) fn add(&mut self, req: u64, frame: Vec<u8>, repeat: bool, reply: ReplyTo<Reply>) {
        // Who gave up waiting does not count, and needs no answer.
        self.0.retain(|_, waiting| !(waiting.reply.is_closed() && (waiting.sent || !waiting.repeat)));
        if self.0.len() >= MAX_WAITING {
            let _ = reply.send(Err(TetherError::Full("too many requests wait for tether's answer".to_owned())));
            return;
        }
        self.0.insert(req, Waiting { frame, repeat, sent: false, reply });
    }

    /// The next frame to send, in the order of the requests.
    pub(super) fn next_unsent(&mut self) -> Option<&[u8]> {
        let waiting = self.0.values_mut().find(|waiting| !waiting.sent)?;
        waiting.sent = true;
        Some(&waiting.frame)
    }

    pub(super) fn answer(&mut self, req: u64, answer: Result<Reply, TetherError>) {
        if let Some(waiting) = self.0.remove(&req) {
            let _ = waiting.reply.send(answer);
        }
    }

    /// The connection broke: what may be repeated will be.
    pub(super) fn disconnected(&mut self) {
        for (req, mut waiting) in std::mem::take(&mut self.0) {
            if waiting.sent && !waiting.repeat {
                let _ = waiting.reply.send(Err(TetherError::Disconnected));
            } else {
                waiting.sent = false;
                self.0.insert(req, waiting);
            }
        }
    }

    pub(super) fn fail_all(&mut self, error: &TetherError) {
        for waiting in std::mem::take(&mut self.0).into_values() {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }
}
