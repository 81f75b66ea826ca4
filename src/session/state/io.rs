//! What goes into the state machine and what comes out of it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::agent::adapter::Output;
use crate::domain::{
    EventData, PermissionPolicy, PermissionRecord, PromptNumber, PromptRecord, TurnOutcome, WorkspaceId,
    WorkspaceStatus,
};

/// What can happen to a session.
#[derive(Debug)]
pub(in crate::session) enum Input {
    /// A new daemon has loaded the session.
    Recover,
    /// A new daemon has loaded the session, and can't read what its adapter knew of the process.
    Unreadable,
    /// What comes next could not be written, however often it was tried.
    Poisoned { message: String },
    /// A task of the session's panicked: nobody knows what of it is missing.
    Broken { message: String },
    /// A prompt was given; `front`: it runs next; `key`: the `Idempotency-Key` that it came with.
    Prompt { content: Vec<Value>, front: bool, key: Option<String> },
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
    /// The agent is to be ended, and the session to rest; `by_hand`: until the next request, whoever serves it.
    Suspend { by_hand: bool },
    /// Nothing happened for a while: the agent is to be ended, unless something came up in between.
    Idle,
    /// The running turn gave no output for so long.
    Inactive { n: PromptNumber, silence: Duration },
    /// The agent is to be started afresh before its next turn.
    Dirty { reason: Option<String> },
    /// A client named the session again: that is all, but it counts as activity.
    Touched,
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
    /// The process ended and all its output was given; `why`: what is known of its container's part in it.
    Exited { code: Option<i32>, signal: Option<i32>, lost: bool, stderr: String, why: Option<String> },
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
pub(in crate::session) enum Call {
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
pub(in crate::session) enum Effect {
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
    /// Send `EndFailed` after a while: a start that never comes to its end can't be waited for.
    ArmEnd { process: String },
    /// The session is closed: end the subscribers, and the workspace where it is the session's own.
    Closed,
}

/// A change of a prompt's record.
#[derive(Debug, PartialEq)]
pub(in crate::session) enum PromptChange {
    /// It was accepted.
    New(Box<PromptRecord>),
    /// It goes to the agent.
    Delivered,
    /// It did not reach the agent and waits again.
    Pending,
    /// It came to its end.
    Ended(TurnOutcome),
    /// It is no longer kept.
    Dropped,
}

/// What one or more inputs led to, all of one commit.
#[derive(Debug, Default)]
pub(in crate::session) struct Step {
    /// Events with the turn that they belong to.
    pub(in crate::session) events: Vec<(Option<PromptNumber>, EventData)>,
    /// Changes of prompt records, in order.
    pub(in crate::session) prompts: Vec<(PromptNumber, PromptChange)>,
    /// Permission requests, new or changed.
    pub(in crate::session) permissions: Vec<PermissionRecord>,
    /// Calls on the adapter, to be made before the commit.
    pub(in crate::session) calls: VecDeque<Call>,
    /// Effects, after the commit.
    pub(in crate::session) effects: Vec<Effect>,
    /// Whether anything of `Progress` changed that is worth a commit of its own.
    pub(in crate::session) dirty: bool,
}

impl Step {
    /// Whether there is nothing to write.
    pub(in crate::session) fn is_clean(&self) -> bool {
        !self.dirty && self.events.is_empty() && self.prompts.is_empty() && self.permissions.is_empty()
    }
}
