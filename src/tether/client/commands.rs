//! What the handle tells the actor.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::{Attachment, ProcessInfo, TetherError};

/// An answer of tether's.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Ended(usize),
    Processes(Vec<ProcessInfo>),
    Resolved(String),
}

pub(super) type ReplyTo<T> = oneshot::Sender<Result<T, TetherError>>;

pub(super) enum Command {
    /// A whole frame, and whether it may be sent a second time.
    Request {
        req: u64,
        frame: Vec<u8>,
        repeat: bool,
        reply: ReplyTo<Reply>,
    },
    Attach {
        process: String,
        offsets: [u64; 2],
        reply: ReplyTo<Attachment>,
    },
    Input {
        process: String,
        n: u64,
        mark: bool,
        bytes: Bytes,
        reply: ReplyTo<()>,
    },
}

/// The offsets that tether is to be told of: the newest of each process, however many were given since the last telling.
#[derive(Debug, Default)]
pub(super) struct Acks {
    durable: Mutex<HashMap<String, [u64; 2]>>,
    pub(super) changed: Notify,
}

impl Acks {
    pub(super) fn set(&self, process: &str, offsets: [u64; 2]) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        merge(&mut durable, process.to_owned(), offsets);
        drop(durable);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> HashMap<String, [u64; 2]> {
        std::mem::take(&mut *self.durable.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn merge(all: &mut HashMap<String, [u64; 2]>, process: String, offsets: [u64; 2]) {
    let known = all.entry(process).or_default();
    *known = [known[0].max(offsets[0]), known[1].max(offsets[1])];
}
