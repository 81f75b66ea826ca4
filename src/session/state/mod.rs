//! A session as a pure state machine: inputs in; events, record changes, adapter calls and effects out.
//!
//! ```text
//!            Prompt, Wake                WorkspaceUp              Started            Ready
//!  Down ─────────────────────▶ Waking ─────────────────▶ Starting ───────▶ Up ──────────────▶ Up, ready
//!   ▲  ▲                          │ process known: Attach ──────────────────▲                    │ queue not empty
//!   │  └──── WakeFailed, ─────────┘                                         │                    ▼
//!   │        WorkspaceDown                                                  └──── TurnEnded ── a turn runs
//!   └────────────── Exited, Detached (from anywhere), Ended ────────────────────────────────────┘
//! ```
//! Everything that must survive a crash is in `Progress`; `Link` and the flags beside it say only what this daemon has
//! in its hands right now, and start from nothing.

mod agent;
mod process;
mod requests;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use self::process::Exit;
use crate::agent::adapter::Output;
use crate::domain::{
    EventData, PermissionPolicy, PermissionRecord, Progress, PromptNumber, PromptRecord, SessionStatus, Timestamp,
    TurnError, TurnOutcome, WorkspaceId, WorkspaceStatus,
};

/// What this daemon has in its hands of the agent process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing.
    Down,
    /// The workspace is being started or connected.
    Waking,
    /// The agent process is being started or attached.
    Starting,
    /// Attached: output comes in, input goes out.
    Up,
}

/// Why the agent process is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The session is closed.
    Close,
    /// The session is to rest.
    Suspend,
    /// It did not end its turn when asked.
    Cancel,
    /// It is of no more use.
    Useless,
    /// The conversation is to be forgotten.
    Reset,
}

/// A session's state.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Everything that is written with the log.
    pub(super) p: Progress,
    /// Permission requests that wait for an answer.
    pub(super) pending: BTreeMap<String, PermissionRecord>,
    /// What happens on a permission request.
    pub(super) policy: PermissionPolicy,
    /// What is in hand of the process.
    pub(super) link: Link,
    /// Whether and why the process is being ended.
    pub(super) ending: Option<Ending>,
    /// Whether someone asked for a ready agent.
    pub(super) wanted: bool,
    /// Whether the turn's container died and what it left is being collected.
    pub(super) interrupted: bool,
    /// Whether the queue rests until the next request, because someone suspended the session.
    pub(super) held: bool,
    /// Whether a new daemon is still finding out what runs; until then the status stays as it was.
    pub(super) recovering: bool,
    /// How often in a row the container or the process went away before the agent was ready.
    pub(super) stumbles: usize,
    /// When agent processes ended without being asked to, within the last minute.
    pub(super) deaths: VecDeque<Timestamp>,
    /// The last input that tether is known to have taken.
    pub(super) taken: u64,
}

/// What can happen to a session.
#[derive(Debug)]
pub(super) enum Input {
    /// A new daemon has loaded the session.
    Recover,
    /// A prompt was given; `front`: it runs next.
    Prompt { content: Vec<Value>, front: bool },
    /// A pending prompt is withdrawn.
    Withdraw { n: PromptNumber },
    /// The running turn is to be ended.
    Cancel,
    /// The agent had its time to end the turn by itself.
    CancelTimeout { n: PromptNumber },
    /// A client answered a permission request.
    Answer { id: String, option_id: String },
    /// A ready agent is wanted.
    Wake,
    /// The agent is to be ended, and the session to rest.
    Suspend,
    /// The session is to be closed.
    Close,
    /// The conversation is to be forgotten.
    Reset,
    /// Fields of the record were changed by a client.
    Changed { fields: serde_json::Map<String, Value>, policy: PermissionPolicy },
    /// The workspace runs and is connected.
    WorkspaceUp,
    /// The workspace does not run, and was not to be started.
    WorkspaceDown,
    /// The workspace can't be had; `retry`: the engine may come back.
    WakeFailed { message: String, retry: bool },
    /// The time to try again has come.
    RetryWake,
    /// The process was started and is attached.
    Started { resumed: bool },
    /// The process could not be started.
    StartFailed { message: String },
    /// A known process is attached again.
    Attached { last_input: u64 },
    /// tether knows no such process.
    ProcessUnknown,
    /// The process had its time for the handshake.
    HandshakeTimeout { process: String },
    /// The workspace's container changed.
    WorkspaceChanged { workspace: WorkspaceId, status: WorkspaceStatus, reason: Option<String> },
    /// The adapter wants this written to the agent's stdin; `mark`: it carries the turn's prompt.
    Send { text: String, mark: bool },
    /// The adapter has learned something.
    Agent(Output),
    /// The agent wrote to stderr.
    Stderr { text: String },
    /// tether took inputs up to `n`.
    Taken { n: u64 },
    /// The process ended and all its output was given.
    Exited { code: Option<i32>, signal: Option<i32>, lost: bool, stderr: String },
    /// The container is gone from under the process.
    Detached { reason: String },
    /// What was born in the turn is gone.
    Swept { process: String },
    /// What was born in the turn can't be ended.
    SweepFailed { process: String, message: String },
    /// The process and all its tree are gone, seen or not.
    Ended { process: String },
    /// The process could not be ended.
    EndFailed { process: String, message: String },
}

/// A call on the adapter; its outputs are inputs of the same commit.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    /// Make a new adapter and start it, resuming this conversation.
    Start { resume: Option<String> },
    /// Give it this prompt.
    Prompt { n: PromptNumber },
    /// End the turn.
    Cancel,
    /// Answer a permission request.
    Answer { id: String, option_id: String },
}

/// What to do once the commit is durable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start and connect the workspace; `only_if_running`: connect only.
    Wake { only_if_running: bool },
    /// Send `RetryWake` after a while.
    RetryLater,
    /// Start the process.
    Start { process: String },
    /// Attach to the process from the offsets in the progress.
    Attach { process: String },
    /// Write what the outbox holds.
    Flush,
    /// End what was born in the turn.
    Sweep { process: String },
    /// End the process with its tree.
    End { process: String, force: bool },
    /// Let go of the process's journal.
    Forget { process: String },
    /// Send `HandshakeTimeout` after a while.
    ArmHandshake { process: String },
    /// Send `CancelTimeout` after the grace.
    ArmCancel { n: PromptNumber },
    /// The session is closed: end the subscribers, and the workspace where it is the session's own.
    Closed,
}

/// A change of a prompt's record.
#[derive(Debug, PartialEq)]
pub(super) enum PromptChange {
    /// It was accepted.
    New(Box<PromptRecord>),
    /// It goes to the agent.
    Delivered,
    /// It did not reach the agent and waits again.
    Pending,
    /// It came to its end.
    Ended(TurnOutcome),
}

/// What one or more inputs led to, all of one commit.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Events with the turn that they belong to.
    pub(super) events: Vec<(Option<PromptNumber>, EventData)>,
    /// Changes of prompt records, in order.
    pub(super) prompts: Vec<(PromptNumber, PromptChange)>,
    /// Permission requests, new or changed.
    pub(super) permissions: Vec<PermissionRecord>,
    /// Calls on the adapter, to be made before the commit.
    pub(super) calls: VecDeque<Call>,
    /// Effects, after the commit.
    pub(super) effects: Vec<Effect>,
    /// Whether anything of `Progress` changed that is worth a commit of its own.
    pub(super) dirty: bool,
}

impl Step {
    /// Whether there is nothing to write.
    pub(super) fn is_clean(&self) -> bool {
        !self.dirty && self.events.is_empty() && self.prompts.is_empty() && self.permissions.is_empty()
    }
}

/// How long a crash is remembered, and how many make a loop.
const DEATH_WINDOW_MS: i64 = 60_000;
const DEATHS_MAX: usize = 3;
/// How often in a row a container may go away before its agent is ready.
const STUMBLES_MAX: usize = 5;
/// How often a prompt is handed to an agent that dies before taking it.
const ATTEMPTS_MAX: u32 = 3;

impl State {
    /// The state of a session that a new daemon has just loaded.
    pub(super) fn new(p: Progress, pending: BTreeMap<String, PermissionRecord>, policy: PermissionPolicy) -> Self {
        Self {
            p,
            pending,
            policy,
            link: Link::Down,
            ending: None,
            wanted: false,
            interrupted: false,
            held: false,
            recovering: false,
            stumbles: 0,
            deaths: VecDeque::new(),
            taken: 0,
        }
    }

    /// Applies one input; what it leads to is added to `step`.
    pub(super) fn apply(&mut self, input: Input, now: Timestamp, step: &mut Step) {
        if self.p.closed.is_some() {
            self.after_close(&input, step);
            return;
        }
        self.dispatch(input, now, step);
        self.announce_status(step);
        if !step.is_clean() {
            self.p.updated = now;
        }
    }

    fn dispatch(&mut self, input: Input, now: Timestamp, step: &mut Step) {
        match input {
            Input::Recover => self.recover(step),
            Input::Prompt { content, front } => self.prompt(content, front, now, step),
            Input::Withdraw { n } => self.withdraw(n, step),
            Input::Cancel => self.cancel(step),
            Input::CancelTimeout { n } => self.cancel_timeout(n, step),
            Input::Answer { id, option_id } => self.answer(&id, &option_id, "client", step),
            Input::Wake => self.wake(step),
            Input::Suspend => self.suspend(step),
            Input::Close => self.close(now, step),
            Input::Reset => self.reset(step),
            Input::Changed { fields, policy } => {
                self.policy = policy;
                step.events.push((self.turn_number(), EventData::SessionChanged { fields }));
            }
            Input::WorkspaceUp => self.workspace_up(step),
            Input::WorkspaceDown => self.workspace_down(step),
            Input::WakeFailed { message, retry } => self.wake_failed(message, retry, step),
            Input::RetryWake => self.advance(step),
            Input::HandshakeTimeout { process } => self.handshake_timeout(&process, step),
            Input::WorkspaceChanged { workspace, status, reason } => {
                let data = EventData::WorkspaceStatus { workspace, status, reason };
                step.events.push((self.turn_number(), data));
            }
            Input::Started { resumed } => self.started(resumed, step),
            Input::StartFailed { message } => self.start_failed(message, now, step),
            Input::Attached { last_input } => self.attached(last_input, step),
            Input::ProcessUnknown => self.process_unknown(now, step),
            Input::Send { text, mark } => self.send(text, mark, step),
            Input::Agent(output) => self.agent(output, now, step),
            Input::Stderr { text } => step.events.push((self.turn_number(), EventData::AgentStderr { text })),
            Input::Taken { n } => self.taken(n),
            Input::Exited { code, signal, lost, stderr } => {
                let exit = Exit { code, signal, lost, stderr, journal: true };
                self.exited(exit, now, step);
            }
            Input::Detached { reason } => self.detached(&reason, now, step),
            Input::Swept { process } if self.is_current(&process) => self.finish_turn(step),
            Input::SweepFailed { process, message } if self.is_current(&process) => self.sweep_failed(&message, step),
            Input::Ended { process } if self.is_current(&process) => self.ended(now, step),
            Input::EndFailed { process, message } if self.is_current(&process) => self.end_failed(message, now, step),
            // An answer that came after its process had gone by other means.
            Input::Swept { .. } | Input::SweepFailed { .. } | Input::Ended { .. } | Input::EndFailed { .. } => {}
        }
    }

    fn is_current(&self, process: &str) -> bool {
        self.p.process.as_ref().is_some_and(|current| current.id == process)
    }

    /// The number of the running turn's prompt.
    pub(super) fn turn_number(&self) -> Option<PromptNumber> {
        self.p.turn.as_ref().map(|t| t.prompt)
    }

    /// Whether a turn runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.p.turn.is_some() || !self.p.queue.is_empty()
    }

    /// Whether nothing is in hand and nothing is to come: the actor may go.
    pub(super) fn rests(&self) -> bool {
        let quiet = self.link == Link::Down && self.ending.is_none() && self.p.turn.is_none() && !self.wanted;
        quiet && (self.p.queue.is_empty() || self.held || self.p.error.is_some() || self.p.closed.is_some())
    }

    /// Whether the agent can be given a prompt.
    pub(super) fn is_ready(&self) -> bool {
        self.link == Link::Up && self.ending.is_none() && self.p.process.as_ref().is_some_and(|process| process.ready)
    }

    fn status(&self) -> SessionStatus {
        if self.p.closed.is_some() {
            SessionStatus::Closed
        } else if self.p.error.is_some() {
            SessionStatus::Error
        } else if self.p.turn.is_some() {
            if self.interrupted {
                SessionStatus::Interrupted
            } else if self.pending.is_empty() {
                SessionStatus::Running
            } else {
                SessionStatus::Waiting
            }
        } else if self.is_ready() {
            SessionStatus::Idle
        } else if self.ending.is_none()
            && (self.link != Link::Down || self.wanted || (!self.p.queue.is_empty() && !self.held))
        {
            SessionStatus::Starting
        } else {
            SessionStatus::Suspended
        }
    }

    fn announce_status(&mut self, step: &mut Step) {
        if self.recovering {
            return;
        }
        let status = self.status();
        if status != self.p.status {
            self.p.status = status;
            let error = self.p.error.clone();
            step.events.push((self.turn_number(), EventData::SessionStatus { status, error }));
        }
    }

    /// Sets the session into `error`; the queue waits.
    pub(super) fn fail(&mut self, message: String, step: &mut Step) {
        self.p.error = Some(TurnError { message, status: None });
        self.wanted = false;
        step.dirty = true;
    }
}
