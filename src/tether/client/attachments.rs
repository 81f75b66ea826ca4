//! The attached processes: which byte each wants next, and how much its receiver has yet to take.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Attachment, ProcessEvent, TetherError, commands::ReplyTo, link::LinkError};
use crate::{
    domain::Timestamp,
    tether::{
        frames::{FRAME_COST, FrameError, Output, WINDOW, encode_json, kind},
        messages::{Attach, Attached, Credit, ErrorCode, Exit, OfProcess},
    },
};

/// Credit goes back in lumps of at least this: the rest of the window is enough to go on with.
const LUMP: u64 = WINDOW / 4;
/// Events on their way to a receiver: all the output frames that the window allows, and as many of the others.
const FEED: usize = 2 * (WINDOW / FRAME_COST) as usize;
/// Events that a receiver finds ready. Few: what is here is no longer counted against the window.
const READY: usize = 4;

/// What the task that feeds a receiver tells the actor.
#[derive(Debug, Default)]
struct Flow {
    /// Units that the receiver has taken and tether was not told of.
    taken: AtomicU64,
    /// The receiver was dropped.
    closed: AtomicBool,
}

struct State {
    req: u64,
    /// The byte that is wanted next, per stream.
    next: [u64; 2],
    /// Was asked for on this connection.
    sent: bool,
    /// Was answered on this connection: what came before that is of an older attachment.
    live: bool,
    /// Who waits for the first answer.
    reply: Option<(ReplyTo<Attachment>, mpsc::Receiver<ProcessEvent>)>,
    feed: mpsc::Sender<ProcessEvent>,
    flow: Arc<Flow>,
    /// Units that tether has sent and was not given back.
    outstanding: u64,
    /// The newest durable offsets, for the next connection.
    durable: Option<[u64; 2]>,
}

pub(super) struct Attachments {
    all: HashMap<String, State>,
    /// Woken when there is credit to give back, or a receiver was dropped.
    pub(super) wake: Arc<Notify>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Attachments {
    pub(super) fn new(tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self { all: HashMap::new(), wake: Arc::new(Notify::new()), tracker, stop }
    }

    /// Takes the place of an older attachment of the same process.
    pub(super) fn add(&mut self, req: u64, process: String, next: [u64; 2], reply: ReplyTo<Attachment>) {
        self.detach(&process, "the process was attached again");
        let (feed, fed) = mpsc::channel(FEED);
        let (ready, events) = mpsc::channel(READY);
        let flow = Arc::new(Flow::default());
        self.tracker.spawn(forward(fed, ready, Arc::clone(&flow), Arc::clone(&self.wake), self.stop.clone()));
        let reply = Some((reply, events));
        let state = State { req, next, sent: false, live: false, reply, feed, flow, outstanding: 0, durable: None };
        self.all.insert(process, state);
    }

    /// Appends what tether is to be told now: attachments, credit, receivers that are gone.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let closed = |state: &State| state.flow.closed.load(Ordering::Acquire);
        for (process, state) in &mut self.all {
            if closed(state) {
                if state.sent {
                    encode_json(out, kind::DETACH, &OfProcess { req: 0, process: process.clone() })?;
                }
                continue;
            }
            if !state.sent {
                state.outstanding -= state.flow.taken.swap(0, Ordering::AcqRel).min(state.outstanding);
                state.sent = true;
                let [stdout, stderr] = state.next;
                let credit = WINDOW - state.outstanding;
                encode_json(
                    out,
                    kind::ATTACH,
                    &Attach { req: state.req, process: process.clone(), stdout, stderr, credit },
                )?;
            } else if state.flow.taken.load(Ordering::Acquire) >= LUMP {
                let add = state.flow.taken.swap(0, Ordering::AcqRel).min(state.outstanding);
                state.outstanding -= add;
                encode_json(out, kind::CREDIT, &Credit { process: process.clone(), add })?;
            }
        }
        self.all.retain(|_, state| !closed(state));
        Ok(())
    }

    /// The answer to an attachment.
    pub(super) fn attached(&mut self, answer: &Attached) {
        let Some((_, state)) = self.all.iter_mut().find(|(_, state)| state.req == answer.req) else { return };
        state.live = true;
        if let Some((reply, events)) = state.reply.take() {
            let (last_input, running) = (answer.info.last_input, answer.info.running);
            let _ = reply.send(Ok(Attachment { last_input, running, events }));
        }
    }

    /// A refusal; `false` if `req` is not of an attachment.
    pub(super) fn refused(&mut self, req: u64, code: ErrorCode, error: TetherError) -> bool {
        let Some(process) = self.all.iter().find(|(_, state)| state.req == req).map(|(process, _)| process.clone())
        else {
            return false;
        };
        let Some(mut state) = self.all.remove(&process) else { return false };
        match state.reply.take() {
            Some((reply, _)) => drop(reply.send(Err(error))),
            // It was there before this connection, so it went with its tether and its journal.
            None if code == ErrorCode::NotFound => {
                drop(state.feed.try_send(Exit { lost: true, ..Exit::default() }.into()));
            }
            None => drop(state.feed.try_send(ProcessEvent::Detached { reason: error.to_string() })),
        }
        true
    }

    /// Hands on output; `bytes` are those of `output`.
    pub(super) fn output(&mut self, output: &Output<'_>, bytes: Bytes) -> Result<(), LinkError> {
        let Some(state) = self.all.get_mut(output.process).filter(|state| state.live) else { return Ok(()) };
        let next = &mut state.next[output.stream.index()];
        if output.offset != *next {
            let (process, offset) = (output.process, output.offset);
            return Err(LinkError::Protocol(format!("output of {process} at {offset} where {next} comes next")));
        }
        *next = next.saturating_add(bytes.len() as u64);
        state.outstanding += output.cost();
        if state.outstanding > WINDOW {
            return Err(LinkError::Protocol(format!("more output of {} than there is room for", output.process)));
        }
        let (stream, offset, time) = (output.stream, output.offset, Timestamp::from_millis(output.time));
        self.give(output.process, ProcessEvent::Output { stream, offset, time, bytes });
        Ok(())
    }

    /// Hands on the end of a process; nothing comes after it.
    pub(super) fn exited(&mut self, process: &str, exit: Exit) {
        if self.all.get(process).is_some_and(|state| state.live) {
            self.give(process, exit.into());
            self.all.remove(process);
        }
    }

    /// Hands on any other event.
    pub(super) fn give(&mut self, process: &str, event: ProcessEvent) {
        let Some(state) = self.all.get(process) else { return };
        if state.feed.try_send(event).is_err() {
            // Gone, or so far behind on events that cost no window: its channel ends.
            self.all.remove(process);
        }
    }

    /// Remembers what is durable, for the next connection.
    pub(super) fn durable(&mut self, process: &str, offsets: [u64; 2]) {
        if let Some(state) = self.all.get_mut(process) {
            state.durable = Some(offsets);
        }
    }

    /// What was durable before this connection.
    pub(super) fn all_durable(&self) -> Vec<(String, [u64; 2])> {
        self.all.iter().filter_map(|(process, state)| Some((process.clone(), state.durable?))).collect()
    }

    pub(super) fn disconnected(&mut self) {
        for state in self.all.values_mut() {
            (state.sent, state.live) = (false, false);
        }
    }

    fn detach(&mut self, process: &str, reason: &str) {
        let Some(state) = self.all.remove(process) else { return };
        match state.reply {
            Some((reply, _)) => drop(reply.send(Err(TetherError::Failed(reason.to_owned())))),
            None => drop(state.feed.try_send(ProcessEvent::Detached { reason: reason.to_owned() })),
        }
    }

    pub(super) fn fail_all(&mut self, error: &TetherError) {
        for (_, state) in self.all.drain() {
            match state.reply {
                Some((reply, _)) => drop(reply.send(Err(error.clone()))),
                None => drop(state.feed.try_send(ProcessEvent::Detached { reason: error.to_string() })),
            }
        }
    }
}

/// Feeds one receiver at its own pace, so that a slow one holds nobody else back.
async fn forward(
    mut fed: mpsc::Receiver<ProcessEvent>,
    ready: mpsc::Sender<ProcessEvent>,
    flow: Arc<Flow>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let feed = async {
        while let Some(event) = fed.recv().await {
            let cost = match &event {
                ProcessEvent::Output { bytes, .. } => bytes.len() as u64 + FRAME_COST,
                _ => 0,
            };
            if ready.send(event).await.is_err() {
                return;
            }
            if flow.taken.fetch_add(cost, Ordering::AcqRel) + cost >= LUMP {
                wake.notify_one();
            }
        }
    };
    tokio::select! {
        () = feed => {}
        () = ready.closed() => {}
        () = stop.cancelled() => {}
    }
    flow.closed.store(true, Ordering::Release);
    wake.notify_one();
}
