//! The actor's mailbox: what it may be asked, and who holds it.

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::{PermissionRecord, PromptNumber, PromptRecord, WhenBusy};
use crate::session::{Accepted, Cancelled, PermissionAnswer, SessionChanges, SessionError};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// A request to an actor. Every reply comes after what it tells is durable.
pub(in crate::session) enum Command {
    /// Accept a prompt.
    Prompt { content: Vec<Value>, when_busy: WhenBusy, idempotency: Option<(String, [u8; 32])>, reply: Reply<Accepted> },
    /// Withdraw a pending prompt.
    Withdraw { n: PromptNumber, reply: Reply<PromptRecord> },
    /// End the running turn.
    Cancel { queue: bool, reply: Reply<Cancelled> },
    /// Answer a permission request.
    Answer { permission: String, answer: PermissionAnswer, reply: Reply<PermissionRecord> },
    /// Have the agent ready.
    Wake { reply: Reply<()> },
    /// End the agent and rest; `by_hand`: until the next request.
    Suspend { by_hand: bool, reply: Reply<()> },
    /// Close the session.
    Close { reply: Reply<()> },
    /// Forget the conversation.
    Reset { reply: Reply<()> },
    /// Change fields.
    Change { changes: Box<SessionChanges>, reply: Reply<()> },
    /// The session was asked for by its key: its model follows, and context that is new is kept.
    Known { model: Option<String>, project: Option<String>, channel: Option<String>, reply: Reply<()> },
    /// Have the agent started afresh before its next turn.
    Recreate { reason: Option<String>, reply: Reply<()> },
    /// Only tell when nothing is being woken or started any more.
    Settle { reply: Reply<()> },
}

impl Command {
    /// Whether it needs no agent: it brings one to rest, or only looks.
    pub(super) const fn is_of_rest(&self) -> bool {
        matches!(self, Self::Suspend { .. } | Self::Close { .. } | Self::Settle { .. })
    }
}

/// Who holds an actor's mailbox.
#[derive(Clone)]
pub(in crate::session) struct Handle {
    sender: mpsc::Sender<Command>,
    over: CancellationToken,
}

impl Handle {
    pub(super) fn new(sender: mpsc::Sender<Command>, over: CancellationToken) -> Self {
        Self { sender, over }
    }

    /// Whether the actor takes no more commands.
    pub(in crate::session) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the actor has ended.
    pub(in crate::session) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Hands a command over; `false`: the actor went to rest in the meantime.
    pub(in crate::session) async fn send(&self, command: Command) -> bool {
        self.sender.send(command).await.is_ok()
    }

    /// Returns when the actor has ended.
    pub(in crate::session) async fn over(&self) {
        self.over.cancelled().await;
    }
}

/// Answers everything that came to a session that can't be served.
pub(super) async fn refuse_all(mut commands: mpsc::Receiver<Command>, error: &SessionError) {
    commands.close();
    while let Some(command) = commands.recv().await {
        refuse(command, error.clone());
    }
}

/// Tells everyone whose command came too late to ask again.
pub(super) async fn drain(commands: &mut mpsc::Receiver<Command>) {
    commands.close();
    while let Some(command) = commands.recv().await {
        refuse(command, SessionError::Resting);
    }
}

/// Answers a command with an error.
pub(super) fn refuse(command: Command, error: SessionError) {
    // Whoever has stopped waiting needs no answer.
    match command {
        Command::Prompt { reply, .. } => drop(reply.send(Err(error))),
        Command::Withdraw { reply, .. } => drop(reply.send(Err(error))),
        Command::Cancel { reply, .. } => drop(reply.send(Err(error))),
        Command::Answer { reply, .. } => drop(reply.send(Err(error))),
        Command::Wake { reply }
        | Command::Suspend { reply, .. }
        | Command::Close { reply }
        | Command::Reset { reply }
        | Command::Known { reply, .. }
        | Command::Recreate { reply, .. }
        | Command::Settle { reply }
        | Command::Change { reply, .. } => drop(reply.send(Err(error))),
    }
}
