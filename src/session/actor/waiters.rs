//! Replies that wait for the session to come to something.

use super::Actor;
use super::mailbox::Reply;
use crate::domain::PromptNumber;
use crate::session::{Cancelled, SessionError};

/// A reply that waits for the state to come to something.
pub(super) enum Waiter {
    /// For the turn of this prompt to end.
    Turn { n: PromptNumber, answer: Cancelled, reply: Reply<Cancelled> },
    /// For the agent to be ready.
    Ready { reply: Reply<()> },
    /// For the agent to be gone.
    Rest { reply: Reply<()> },
    /// For nothing to be on its way between rest and readiness.
    Settled { reply: Reply<()> },
    /// For the session to be closed, and its own workspace to be gone.
    Closed { reply: Reply<()> },
}

impl Waiter {
    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Turn { reply, .. } => reply.is_closed(),
            Self::Ready { reply } | Self::Rest { reply } | Self::Settled { reply } | Self::Closed { reply } => {
                reply.is_closed()
            }
        }
    }
}

impl Actor {
    /// Answers those whose wait is over.
    pub(super) fn wake_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            if let Some(waiter) = self.settle(waiter) {
                self.waiters.push(waiter);
            }
        }
    }

    /// Tells all that what they wait for could not be written.
    pub(super) fn refuse_waiters(&mut self, error: &SessionError) {
        for waiter in std::mem::take(&mut self.waiters) {
            // Whoever has stopped waiting needs no answer.
            match waiter {
                Waiter::Turn { reply, .. } => drop(reply.send(Err(error.clone()))),
                Waiter::Ready { reply }
                | Waiter::Rest { reply }
                | Waiter::Settled { reply }
                | Waiter::Closed { reply } => drop(reply.send(Err(error.clone()))),
            }
        }
    }

    /// Answers a waiter, or gives it back.
    fn settle(&mut self, waiter: Waiter) -> Option<Waiter> {
        if waiter.is_abandoned() {
            return None;
        }
        let failed = self
            .state
            .p
            .error
            .as_ref()
            .map(|e| SessionError::Failed { id: self.id.clone(), message: e.message.clone() });
        match waiter {
            Waiter::Turn { n, answer, reply } if self.state.turn_number() != Some(n) => {
                let _ = reply.send(Ok(answer));
            }
            Waiter::Turn { reply, .. } if failed.is_some() && self.state.ending.is_none() => {
                let _ = reply.send(failed.map_or(Err(SessionError::Stopping), Err));
            }
            Waiter::Turn { n, answer, reply } => return Some(Waiter::Turn { n, answer, reply }),
            Waiter::Ready { reply } if self.state.is_ready() => {
                let _ = reply.send(Ok(()));
            }
            Waiter::Ready { reply }
                if failed.is_some() || self.wake_error.is_some() || self.state.p.closed.is_some() =>
            {
                let closed = SessionError::Closed { id: self.id.clone() };
                let _ = reply.send(Err(self.wake_error.clone().map(SessionError::from).or(failed).unwrap_or(closed)));
            }
            Waiter::Rest { reply } if self.state.p.process.is_none() && self.state.ending.is_none() => {
                let _ = reply.send(Ok(()));
            }
            Waiter::Rest { reply } if failed.is_some() && self.state.ending.is_none() => {
                let _ = reply.send(failed.map_or(Ok(()), Err));
            }
            Waiter::Closed { reply }
                if self.state.p.closed.is_some() && !self.deleting && self.state.ending.is_none() =>
            {
                let _ = reply.send(Ok(()));
            }
            Waiter::Settled { reply } if self.state.is_settled() => {
                let _ = reply.send(Ok(()));
            }
            waiting @ (Waiter::Settled { .. } | Waiter::Ready { .. } | Waiter::Rest { .. } | Waiter::Closed { .. }) => {
                return Some(waiting);
            }
        }
        None
    }
}
