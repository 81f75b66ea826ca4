//! How the actor serves what the manager asks.

use serde_json::Value;

use super::Actor;
use super::mailbox::{Command, Reply, refuse};
use super::waiters::Waiter;
use crate::agent::adapter::Unsupported;
use crate::domain::{Caps, PermissionRecord, PermissionState, PromptNumber, PromptRecord, Timestamp, WhenBusy};
use crate::session::state::{Input, Step};
use crate::session::{Accepted, Cancelled, PermissionAnswer, SessionError};
use crate::store::{IdempotencyRecord, StoreError};

/// How many prompts may wait in a session.
const QUEUE_MAX: usize = 100;

impl Actor {
    /// Serves one command, if its agent is there for it: without it, it can be brought to rest and closed, and no more.
    pub(super) async fn command(&mut self, command: Command) -> Result<(), StoreError> {
        match self.absent.clone() {
            Some(error) if !command.is_of_rest() => {
                refuse(command, error);
                Ok(())
            }
            _ => self.serve_command(command).await,
        }
    }

    /// Serves one command. A reply that nobody waits for any more is no error.
    async fn serve_command(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Prompt { content, when_busy, idempotency, reply } => {
                let accepted = self.accept(content, when_busy, idempotency).await;
                reply_or_fail(reply, accepted)
            }
            Command::Withdraw { n, reply } => {
                let withdrawn = self.withdraw(n).await;
                reply_or_fail(reply, withdrawn)
            }
            Command::Cancel { queue, reply } => self.cancel(queue, reply).await,
            Command::Answer { permission, answer, reply } => {
                let answered = self.answer(&permission, &answer).await;
                reply_or_fail(reply, answered)
            }
            Command::Wake { reply } if self.state.p.closed.is_some() => {
                let _ = reply.send(Err(SessionError::Closed { id: self.id.clone() }));
                Ok(())
            }
            Command::Wake { reply } => {
                self.waiters.push(Waiter::Ready { reply });
                self.wake_error = None;
                self.handle([Input::Wake]).await
            }
            Command::Suspend { by_hand, reply } => {
                self.waiters.push(Waiter::Rest { reply });
                self.handle([Input::Suspend { by_hand }]).await
            }
            Command::Close { reply } => {
                self.waiters.push(Waiter::Closed { reply });
                self.handle([Input::Close]).await
            }
            Command::Reset { reply } => {
                self.waiters.push(Waiter::Rest { reply });
                self.handle([Input::Reset]).await
            }
            Command::Change { changes, reply } => {
                let changed = self.change(*changes).await;
                reply_or_fail(reply, changed)
            }
            Command::Known { model, project, channel, reply } => {
                let known = self.known(model, project, channel).await;
                reply_or_fail(reply, known)
            }
            Command::Recreate { reply, .. } if self.state.p.closed.is_some() => {
                let _ = reply.send(Err(SessionError::Closed { id: self.id.clone() }));
                Ok(())
            }
            Command::Recreate { reason, reply } => {
                let marked = self.handle([Input::Dirty { reason }]).await.map_err(SessionError::from);
                reply_or_fail(reply, marked)
            }
            Command::Settle { reply } => {
                self.waiters.push(Waiter::Settled { reply });
                self.wake_waiters();
                Ok(())
            }
        }
    }

    async fn accept(
        &mut self,
        content: Vec<Value>,
        when_busy: WhenBusy,
        idempotency: Option<(String, [u8; 32])>,
    ) -> Result<Accepted, SessionError> {
        if let Some((key, hash)) = &idempotency
            && let Some(known) = self.shared.store.idempotency(&self.id, key)?
        {
            if known.request_hash != *hash {
                return Err(SessionError::IdempotencyReused { key: key.clone() });
            }
            return Ok(self.accepted(known.prompt));
        }
        self.check_accepting(when_busy)?;
        self.check_content(&content)?;
        let interrupt = when_busy == WhenBusy::Interrupt && self.state.is_busy();
        let mut step = Step::default();
        let key = idempotency.as_ref().map(|(key, _)| key.clone());
        self.apply(Input::Prompt { content, front: interrupt, key }, &mut step);
        let n = self.state.p.last_prompt;
        if interrupt && self.state.p.turn.is_some() {
            self.apply(Input::Cancel, &mut step);
        }
        let accepted = self.accepted(n);
        self.finish(step, |batch, actor| {
            if let Some((key, request_hash)) = idempotency {
                let record = IdempotencyRecord { request_hash, prompt: n, time: Timestamp::now() };
                batch.put_idempotency(actor.id.clone(), key, &record);
            }
        })
        .await?;
        Ok(accepted)
    }

    fn check_accepting(&self, when_busy: WhenBusy) -> Result<(), SessionError> {
        let id = || self.id.clone();
        if self.state.p.closed.is_some() {
            return Err(SessionError::Closed { id: id() });
        }
        if let Some(error) = &self.state.p.error {
            return Err(SessionError::Failed { id: id(), message: error.message.clone() });
        }
        if when_busy == WhenBusy::Reject && self.state.is_busy() {
            return Err(SessionError::Busy { id: id() });
        }
        if self.state.p.queue.len() >= QUEUE_MAX {
            return Err(SessionError::QueueFull { id: id(), limit: QUEUE_MAX });
        }
        self.check_caps()
    }

    /// Refuses what is beyond the session's caps; what runs or waits counts as a turn.
    fn check_caps(&self) -> Result<(), SessionError> {
        let (caps, p) = (self.record.caps, &self.state.p);
        let turns = p.spent.turns + p.queue.len() as u64 + u64::from(p.turn.is_some());
        let reached =
            |field, what, used, limit| Err(SessionError::CapReached { id: self.id.clone(), field, what, used, limit });
        match caps {
            Caps { max_turns: Some(most), .. } if turns >= most => {
                reached("max_turns", "turns", turns as f64, most as f64)
            }
            Caps { max_cost: Some(most), .. } if p.spent.cost() >= most => {
                reached("max_cost", "of cost", p.spent.cost(), most)
            }
            _ => Ok(()),
        }
    }

    /// Refuses what the agent has said that it can't take. One that has not said anything yet may refuse it in the turn.
    fn check_content(&self, content: &[Value]) -> Result<(), SessionError> {
        let adapter = self.adapter.as_ref().filter(|_| self.state.is_ready());
        let checked = adapter.map_or(Ok(()), |adapter| adapter.check_prompt(content));
        checked.map_err(|Unsupported(why)| SessionError::Unsupported(why))
    }

    fn accepted(&self, n: PromptNumber) -> Accepted {
        let running = usize::from(self.state.p.turn.is_some());
        let position = self.state.p.queue.iter().position(|queued| *queued == n).map_or(0, |at| at + running);
        Accepted { id: n, turn: PromptRecord::turn_name(n), position }
    }

    async fn withdraw(&mut self, n: PromptNumber) -> Result<PromptRecord, SessionError> {
        let record = self.shared.store.prompt(&self.id, n)?;
        let record = record.ok_or_else(|| SessionError::PromptNotFound { id: self.id.clone(), n })?;
        if !self.state.p.queue.contains(&n) {
            return Err(SessionError::PromptNotPending { n, state: record.state });
        }
        self.handle([Input::Withdraw { n }]).await?;
        Ok(self.shared.store.prompt(&self.id, n)?.unwrap_or(record))
    }

    async fn cancel(&mut self, queue: bool, reply: Reply<Cancelled>) -> Result<(), StoreError> {
        let running = self.state.turn_number();
        let head = self.state.p.queue.first().copied();
        let withdrawn = if queue { self.state.p.queue.clone() } else { Vec::new() };
        let mut inputs: Vec<Input> = withdrawn.iter().map(|n| Input::Withdraw { n: *n }).collect();
        if running.is_some() || !queue {
            inputs.push(Input::Cancel);
        }
        self.handle(inputs).await?;
        let turn = running.or(head).map(PromptRecord::turn_name);
        let answer = Cancelled { turn, withdrawn };
        match running {
            Some(n) => self.waiters.push(Waiter::Turn { n, answer, reply }),
            None => {
                let _ = reply.send(Ok(answer));
            }
        }
        self.wake_waiters();
        Ok(())
    }

    async fn answer(&mut self, permission: &str, answer: &PermissionAnswer) -> Result<PermissionRecord, SessionError> {
        let Some(record) = self.state.pending.get(permission) else {
            return Err(match self.shared.store.permission(&self.id, permission)? {
                Some(record) => SessionError::PermissionStale { permission: permission.to_owned(), why: fate(&record) },
                None => SessionError::PermissionNotFound { id: self.id.clone(), permission: permission.to_owned() },
            });
        };
        let chosen = record.options.iter().find(|o| match (&answer.option_id, answer.kind) {
            (Some(id), _) => o.option_id == *id,
            (None, Some(kind)) => o.kind == kind,
            (None, None) => false,
        });
        let Some(option) = chosen else {
            let known: Vec<String> = record.options.iter().map(|o| format!("{} ({:?})", o.option_id, o.kind)).collect();
            return Err(SessionError::Invalid {
                field: "option_id",
                message: format!("name one of the request's options by `option_id` or `kind`: {}", known.join(", ")),
            });
        };
        let input = Input::Answer { id: permission.to_owned(), option_id: option.option_id.clone() };
        let fallback = record.clone();
        self.handle([input]).await?;
        Ok(self.shared.store.permission(&self.id, permission)?.unwrap_or(fallback))
    }
}

fn fate(record: &PermissionRecord) -> String {
    match record.state {
        PermissionState::Answered => {
            format!("it was answered with `{}`", record.option_id.as_deref().unwrap_or_default())
        }
        PermissionState::Withdrawn => "its turn or its agent ended before an answer came".to_owned(),
        PermissionState::Pending => "the agent no longer waits for it".to_owned(),
    }
}

/// Replies; only a failed store ends the actor.
fn reply_or_fail<T>(reply: Reply<T>, result: Result<T, SessionError>) -> Result<(), StoreError> {
    let failed = match &result {
        Err(SessionError::Store(e)) => Err(e.clone()),
        _ => Ok(()),
    };
    let _ = reply.send(result);
    failed
}
