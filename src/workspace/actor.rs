//! A workspace's actor: the one place where calls of ours and what the engine reports of the container meet.
//!
//! At most one piece of work (bring up, stop, delete) is under way; commands are taken at any time. A stop or a delete
//! breaks a bring-up off; everything else waits for its turn.

mod observed;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{
    WorkspaceError, WorkspaceState,
    lifecycle::{self, BringUp, Run, Up},
    names,
    place::Place,
    reasons,
    shared::{Shared, Slot},
    work::{Command, Done, Reply, Work, answer, error_of, ready},
};
use crate::{
    domain::{WorkspaceId, WorkspaceRecord, WorkspaceStatus},
    engine::{Container, ContainerState, EngineError, EventKind, LABEL_TETHER},
    tether::client::TetherClient,
};

/// How many commands may wait behind a piece of work; those beyond are refused.
const MOST_WAITING: usize = 1024;

/// A look at a container that is said to have died.
struct Look {
    answer: BoxFuture<'static, Result<Container, EngineError>>,
    exit_code: Option<i64>,
}

pub(super) struct Actor {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    id: WorkspaceId,
    commands: mpsc::Receiver<Command>,
    work: Work,
    later: VecDeque<Command>,
    run: Run,
    /// Ready when the connection ended for good.
    closed: Option<BoxFuture<'static, ()>>,
    look: Option<Look>,
    /// The engine's id of the container, where known: what is reported of an earlier one is not of this one.
    container: Option<String>,
    outdated: bool,
    /// The memory limit, for words.
    memory: u64,
}

impl Actor {
    pub(super) fn new(
        shared: Arc<Shared>,
        slot: Arc<Slot>,
        id: WorkspaceId,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let memory = shared.config.memory;
        Self {
            shared,
            slot,
            id,
            commands,
            work: Work::Idle,
            later: VecDeque::new(),
            run: Run::default(),
            closed: None,
            look: None,
            container: None,
            outdated: false,
            memory,
        }
    }

    /// Until the daemon stops or the workspace is deleted.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                done = self.work.done() => {
                    if self.finished(done) {
                        break;
                    }
                    for command in std::mem::take(&mut self.later) {
                        self.take(command);
                    }
                }
                found = ready(self.look.as_mut().map(|look| &mut look.answer)) => self.looked(found),
                () = ready(self.closed.as_mut()) => self.disconnected(),
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
            }
        }
        self.run.lost.cancel();
        self.slot.set_client(None);
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Attach { record, reply } => self.attach(record, reply),
            Command::Stop { only_unused: true, reply } => self.stop_unused(reply),
            Command::Stop { only_unused: false, reply } => self.stop(reply),
            Command::Recreate { record, reply } => self.recreate(record, reply),
            Command::Delete { record, reply } => self.delete(record, reply),
            Command::Happened { container, kind } => self.happened(container, kind),
            Command::Seen(container) => self.seen(container),
            Command::EngineGone(why) => self.set(WorkspaceStatus::Unknown, Some(why)),
        }
    }

    fn wait(&mut self, command: Command) {
        if self.later.len() < MOST_WAITING {
            self.later.push_back(command);
        }
    }

    fn attach(&mut self, record: Box<WorkspaceRecord>, reply: Reply<TetherClient>) {
        match &mut self.work {
            Work::BringUp(_, waiting) => return waiting.push(reply),
            Work::Stop(..) | Work::Recreate(..) | Work::Delete(..) => {
                return self.wait(Command::Attach { record, reply });
            }
            Work::Idle => {}
        }
        let status = self.slot.status();
        self.memory = self.shared.memory(&record);
        let work: BoxFuture<'static, _> = match self.slot.client() {
            Some(client) if status == WorkspaceStatus::Paused => {
                Box::pin(lifecycle::thaw(Arc::clone(&self.shared), self.id.clone(), client, self.outdated))
            }
            Some(client) => {
                reply.send(Ok(client)).ok();
                return;
            }
            None => {
                // What it would find is of the run before.
                self.look = None;
                self.run = Run { disconnect: self.shared.stop.child_token(), ..Run::default() };
                let bring_up = BringUp {
                    shared: Arc::clone(&self.shared),
                    record: *record,
                    run: self.run.clone(),
                    // A setup that failed says nothing of the container.
                    status: if status == WorkspaceStatus::Error { WorkspaceStatus::Unknown } else { status },
                    outdated: self.outdated,
                    log: self.slot.log.clone(),
                };
                self.slot.place.bring_up(bring_up)
            }
        };
        self.work = Work::BringUp(work, vec![reply]);
    }

    fn stop(&mut self, reply: Reply<()>) {
        match &mut self.work {
            Work::Stop(_, waiting) => return waiting.push(reply),
            Work::Recreate(..) | Work::Delete(..) => {
                return self.wait(Command::Stop { only_unused: false, reply });
            }
            Work::BringUp(..) | Work::Idle => {}
        }
        let broken_off = self.break_off("stopped");
        let (shared, id, place) = (Arc::clone(&self.shared), self.id.clone(), self.slot.place);
        if place == Place::Host {
            // A tether has one connection: the stop's own would be taken back by this one.
            self.disconnect();
        }
        let work = Box::pin(async move {
            broken_off.await;
            place.stop(shared, id).await
        });
        self.work = Work::Stop(work, vec![reply]);
    }

    /// Whoever comes from here on waits for the stop, and then brings it up again.
    fn stop_unused(&mut self, reply: Reply<()>) {
        if matches!(self.work, Work::Idle) && self.slot.give_up_if_unused() {
            self.disconnect();
            self.stop(reply);
        } else {
            reply.send(Ok(())).ok();
        }
    }

    fn delete(&mut self, record: Box<WorkspaceRecord>, reply: Option<Reply<()>>) {
        match &mut self.work {
            Work::Delete(_, waiting) => return waiting.extend(reply),
            Work::Stop(..) | Work::Recreate(..) => return self.wait(Command::Delete { record, reply }),
            Work::BringUp(..) | Work::Idle => {}
        }
        let broken_off = self.break_off("deleted");
        let (shared, place) = (Arc::clone(&self.shared), self.slot.place);
        if place == Place::Host {
            self.disconnect();
        }
        let work = Box::pin(async move {
            broken_off.await;
            place.delete(shared, *record).await
        });
        self.work = Work::Delete(work, reply.into_iter().collect());
    }

    fn recreate(&mut self, record: Box<WorkspaceRecord>, reply: Reply<()>) {
        if matches!(self.work, Work::Stop(..) | Work::Recreate(..) | Work::Delete(..)) {
            return self.wait(Command::Recreate { record, reply });
        }
        let broken_off = self.break_off("made anew");
        self.disconnect();
        let shared = Arc::clone(&self.shared);
        let work = Box::pin(async move {
            broken_off.await;
            lifecycle::recreate(shared, *record).await
        });
        self.work = Work::Recreate(work, reply);
    }

    /// Breaks a bring-up off. What follows waits for the call that it has with the engine: one that is dropped is
    /// carried out all the same, and would start the container behind the back of a stop.
    fn break_off(&mut self, what: &str) -> BoxFuture<'static, ()> {
        self.look = None;
        let Work::BringUp(work, waiting) = std::mem::replace(&mut self.work, Work::Idle) else {
            return Box::pin(std::future::ready(()));
        };
        self.run.lost.cancel();
        let error = WorkspaceError::Engine { message: format!("the workspace was {what} while it was starting") };
        answer(waiting, &Err(error));
        Box::pin(async move { drop(work.await) })
    }

    /// Whether the actor is at its end.
    fn finished(&mut self, done: Done) -> bool {
        match (done, std::mem::replace(&mut self.work, Work::Idle)) {
            (Done::Up(result), Work::BringUp(_, waiting)) => {
                let result = self.brought_up(result);
                answer(waiting, &result);
            }
            (Done::Stopped(result), Work::Stop(_, waiting)) => {
                if let Ok(exists) = result {
                    self.disconnect();
                    let status = if exists { WorkspaceStatus::Stopped } else { WorkspaceStatus::Absent };
                    // Why it ended by itself stays told when that was looked after.
                    if self.slot.place == Place::Container || self.slot.status() != status {
                        self.set(status, None);
                    }
                }
                answer(waiting, &result.map(drop));
            }
            (Done::Recreated(result), Work::Recreate(_, reply)) => {
                if result.is_ok() {
                    (self.container, self.outdated) = (None, false);
                    self.set(WorkspaceStatus::Absent, Some(reasons::ANEW.to_owned()));
                } else {
                    self.set(WorkspaceStatus::Unknown, None);
                }
                answer(vec![reply], &result);
            }
            (Done::Deleted(result), Work::Delete(_, waiting)) => {
                let gone = result.is_ok();
                if gone {
                    self.disconnect();
                    self.shared.forget(&self.id);
                    self.set(WorkspaceStatus::Absent, Some("the workspace was deleted".to_owned()));
                } else if waiting.is_empty() {
                    tracing::warn!(workspace = %self.id, error = %error_of(&result), "deleting it is not finished");
                }
                answer(waiting, &result);
                return gone;
            }
            // `done` is made by the work that is replaced here.
            _ => {}
        }
        false
    }

    fn brought_up(&mut self, result: Result<Up, WorkspaceError>) -> Result<TetherClient, WorkspaceError> {
        match result {
            Ok(up) => {
                self.container = up.made.or(self.container.take());
                self.outdated = up.outdated;
                let client = up.client;
                self.closed = Some(Box::pin(client.closed()));
                self.slot.set_client(Some(client.clone()));
                self.set(WorkspaceStatus::Running, None);
                Ok(client)
            }
            Err(error) => {
                if matches!(error, WorkspaceError::Setup { .. }) {
                    self.set(WorkspaceStatus::Error, Some(error.to_string()));
                }
                Err(error)
            }
        }
    }

    /// The run is over, and not by a call of ours.
    fn ended(&mut self, status: WorkspaceStatus, reason: String) {
        tracing::info!(workspace = %self.id, reason, "it ended");
        self.note(reason.clone());
        self.set(status, Some(reason));
        self.run.lost.cancel();
        self.slot.set_client(None);
        self.closed = None;
    }

    /// The connection is over; what became of the container is told by the engine.
    fn disconnected(&mut self) {
        self.closed = None;
        self.slot.set_client(None);
        if self.slot.status() != WorkspaceStatus::Running {
            return;
        }
        match self.slot.place {
            Place::Container => self.look_at_it(None),
            Place::Host => {
                self.ended(WorkspaceStatus::Stopped, reasons::HOST_ENDED.to_owned());
                // Nobody tells what it has left.
                let (reply, _unheard) = oneshot::channel();
                self.stop(reply);
            }
        }
    }

    fn disconnect(&mut self) {
        self.run.lost.cancel();
        self.run.disconnect.cancel();
        self.slot.set_client(None);
        self.closed = None;
    }

    /// Tells it in the workspace's log.
    fn note(&self, what: String) {
        let log = self.slot.log.clone();
        self.shared.tracker.spawn(async move { log.line("wharf", &what).await });
    }

    fn set(&self, status: WorkspaceStatus, reason: Option<String>) {
        let new = WorkspaceState { status, reason };
        self.slot.state.send_if_modified(|state| {
            let changed = *state != new;
            *state = new;
            changed
        });
    }
}
