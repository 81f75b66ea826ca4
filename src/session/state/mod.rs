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
mod ending;
mod io;
mod pieces;
mod process;
mod requests;
mod rest;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, VecDeque};

pub(super) use self::io::{Call, Effect, Input, PromptChange, Step};
use self::pieces::in_pieces;
use self::process::Exit;
use crate::domain::{
    EventData, PermissionPolicy, PermissionRecord, Progress, PromptNumber, SessionStatus, Timestamp, TurnError,
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
    /// It is to be started afresh.
    Restart,
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
    /// Whether the queue rests until this daemon wakes the session again, because its workspace is made anew.
    pub(super) paused: bool,
    /// Whether a new daemon is still finding out what runs; until then the status stays as it was.
    pub(super) recovering: bool,
    /// How often in a row the container or the process went away before the agent was ready.
    pub(super) stumbles: usize,
    /// When agent processes ended without being asked to, within the last minute.
    pub(super) deaths: VecDeque<Timestamp>,
    /// The last input that tether is known to have taken.
    pub(super) taken: u64,
}

/// How long a crash is remembered, and how many make a loop.
const DEATH_WINDOW_MS: i64 = 60_000;
const DEATHS_MAX: usize = 3;
/// How often in a row a container may go away before its agent is ready.
const STUMBLES_MAX: usize = 5;
/// How often a prompt is handed to an agent that dies before taking it.
const ATTEMPTS_MAX: u32 = 3;
/// How many finished prompts of a session are kept.
const PROMPTS_KEPT: u64 = 100;

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
            paused: false,
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
        let error = self.p.error.clone();
        self.dispatch(input, now, step);
        self.announce_status(error.as_ref(), step);
        if !step.is_clean() {
            self.p.updated = now;
        }
    }

    fn dispatch(&mut self, input: Input, now: Timestamp, step: &mut Step) {
        match input {
            Input::Recover => self.recover(step),
            Input::Unreadable => self.unreadable(step),
            Input::Poisoned { message } => self.fail(message, step),
            Input::Broken { message } => self.broken(message, now, step),
            Input::Prompt { content, front, key } => self.prompt(content, front, key, now, step),
            Input::Withdraw { n } => self.withdraw(n, step),
            Input::Cancel => self.cancel(step),
            Input::CancelTimeout { n } => self.cancel_timeout(n, step),
            Input::Answer { id, option_id } => self.answer(&id, &option_id, "client", step),
            Input::Wake => self.wake(step),
            Input::Suspend { by_hand } => self.suspend(by_hand, step),
            Input::Idle => self.idle(step),
            Input::Inactive { n, silence } => self.inactive(n, silence, step),
            Input::Dirty { reason } => self.mark_dirty(reason, step),
            Input::Touched => step.dirty = true,
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
            Input::Stderr { text } => {
                let turn = self.turn_number();
                let pieces = in_pieces(text).map(|text| (turn, EventData::AgentStderr { text }));
                step.events.extend(pieces);
            }
            Input::Taken { n } => self.taken(n),
            Input::Exited { code, signal, lost, stderr, why } => {
                let exit = Exit { code, signal, lost, stderr, why, journal: true };
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

    /// Whether the queue waits for a request.
    pub(super) fn is_held(&self) -> bool {
        self.paused || self.p.held
    }

    /// Whether nothing is in hand and nothing is to come: the actor may go.
    pub(super) fn rests(&self) -> bool {
        let quiet = self.link == Link::Down && self.ending.is_none() && self.p.turn.is_none() && !self.wanted;
        quiet && (self.p.queue.is_empty() || self.is_held() || self.p.error.is_some() || self.p.closed.is_some())
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
            && (self.link != Link::Down || self.wanted || (!self.p.queue.is_empty() && !self.is_held()))
        {
            SessionStatus::Starting
        } else {
            SessionStatus::Suspended
        }
    }

    /// Tells a new status, or a new reason for the old one; `told`: the last that was told.
    fn announce_status(&mut self, told: Option<&TurnError>, step: &mut Step) {
        if self.recovering {
            return;
        }
        let status = self.status();
        let is_news = status == SessionStatus::Error && self.p.error.as_ref() != told;
        if status != self.p.status || is_news {
            self.p.status = status;
            let error = self.p.error.clone();
            step.events.push((self.turn_number(), EventData::SessionStatus { status, error }));
        }
    }

    /// Sets the session into `error`; the queue waits.
    pub(super) fn fail(&mut self, message: String, step: &mut Step) {
        self.p.error = Some(TurnError { message, status: None });
        self.recovering = false;
        self.wanted = false;
        step.dirty = true;
    }

    /// Leaves `error`; a status that said so is not kept until it is found out what runs.
    pub(super) fn clear_error(&mut self) {
        if self.p.error.take().is_some() {
            self.recovering = false;
        }
    }
}
