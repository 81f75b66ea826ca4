//! Turns: how one begins, is cancelled and ends.

use super::{ATTEMPTS_MAX, Call, Effect, Ending, Link, PROMPTS_KEPT, PromptChange, State, Step};
use crate::agent::adapter::TurnEnd;
use crate::domain::{EventData, PromptNumber, PromptState, TurnError, TurnOutcome, TurnProgress};

impl State {
    /// Goes on as far as possible: gives the next prompt to a ready agent, or wakes what is needed for it.
    pub(super) fn advance(&mut self, step: &mut Step) {
        if self.p.closed.is_some() || self.ending.is_some() || self.p.error.is_some() {
            return;
        }
        if self.link == Link::Down {
            let work = self.p.turn.is_some() || self.wanted || (!self.p.queue.is_empty() && !self.is_held());
            if work {
                self.link = Link::Waking;
                step.effects.push(Effect::Wake { only_if_running: false });
            }
            return;
        }
        if self.p.turn.is_none() && self.is_ready() && !self.p.queue.is_empty() {
            if self.is_dirty() {
                // What waits goes to the agent that comes after it.
                self.end(Ending::Restart, step);
                return;
            }
            let n = self.p.queue.remove(0);
            self.p.turn =
                Some(TurnProgress { prompt: n, input: None, cancelling: false, outcome: None, failure: None });
            step.prompts.push((n, PromptChange::Delivered));
            step.events.push((Some(n), EventData::TurnStarted { prompt: n }));
            step.calls.push_back(Call::Prompt { n });
        }
    }

    /// Ends the running turn on a client's word; without one, the prompt that waits for the agent to start.
    pub(super) fn cancel(&mut self, step: &mut Step) {
        match &mut self.p.turn {
            Some(turn) if !turn.cancelling => {
                turn.cancelling = true;
                step.dirty = true;
                step.calls.push_back(Call::Cancel);
                step.effects.push(Effect::ArmCancel { n: turn.prompt });
                if self.ending.is_none() {
                    // Whatever it had failed with, it is being ended now.
                    self.clear_error();
                }
            }
            // It could not be ended before: it is tried again.
            Some(_) if self.p.error.is_some() && self.ending.is_none() => self.go_on(step),
            Some(_) => {}
            None => {
                if let Some(n) = self.p.queue.first().copied() {
                    self.withdraw(n, step);
                }
            }
        }
    }

    /// The agent did not end the turn by itself: it is ended with its tree.
    pub(super) fn cancel_timeout(&mut self, n: PromptNumber, step: &mut Step) {
        let stuck = self.p.turn.as_ref().is_some_and(|turn| turn.prompt == n && turn.cancelling);
        if stuck && self.ending.is_none() {
            self.end(Ending::Cancel, step);
        }
    }

    /// The agent says that the turn is over.
    pub(super) fn turn_ended(&mut self, end: TurnEnd, step: &mut Step) {
        self.withdraw_permissions(step);
        let Some(turn) = &mut self.p.turn else { return };
        let cancelled = end.stop_reason.as_deref() == Some("cancelled") || (turn.cancelling && end.error.is_some());
        let outcome = if let Some(failure) = turn.failure.take() {
            TurnOutcome { error: Some(failure), stop_reason: None, ..outcome(PromptState::Failed, end) }
        } else if cancelled {
            TurnOutcome { stop_reason: Some("cancelled".to_owned()), ..outcome(PromptState::Cancelled, end) }
        } else if end.error.is_some() {
            outcome(PromptState::Failed, end)
        } else {
            outcome(PromptState::Done, end)
        };
        turn.outcome = Some(outcome);
        match &self.p.process {
            // Stopping is proven: the turn's end is told only after what was born in it is gone.
            Some(process) if turn.cancelling || cancelled => {
                step.dirty = true;
                step.effects.push(Effect::Sweep { process: process.id.clone() });
            }
            _ => self.finish_turn(step),
        }
    }

    /// What was born in a cancelled turn resists: the whole tree goes.
    pub(super) fn sweep_failed(&mut self, message: &str, step: &mut Step) {
        if self.p.turn.is_some() && self.ending.is_none() {
            let text =
                format!("wharf: ending the agent, because what was born in the turn could not be ended: {message}");
            step.events.push((self.turn_number(), EventData::AgentStderr { text }));
            self.end(Ending::Cancel, step);
        }
    }

    /// Writes the turn's end and goes on to the next.
    pub(super) fn finish_turn(&mut self, step: &mut Step) {
        let Some(turn) = self.p.turn.as_ref() else { return };
        let (n, Some(outcome)) = (turn.prompt, turn.outcome.clone()) else { return };
        self.p.turn = None;
        self.p.turns += 1;
        self.p.spent.turns += 1;
        self.p.attempts = 0;
        self.interrupted = false;
        self.end_prompt(n, outcome, step);
        self.advance(step);
    }

    /// Writes the end of prompt `n`, whether it had a turn or not.
    pub(super) fn end_prompt(&mut self, n: PromptNumber, outcome: TurnOutcome, step: &mut Step) {
        step.events.push((
            Some(n),
            EventData::TurnEnded {
                prompt: n,
                status: outcome.status,
                stop_reason: outcome.stop_reason.clone(),
                usage: outcome.usage.clone(),
                error: outcome.error.clone(),
            },
        ));
        step.prompts.push((n, PromptChange::Ended(outcome)));
        self.drop_old_prompts(step);
    }

    /// Lets go of the oldest finished prompts beyond those that are kept. One that still waits is not passed over, so
    /// that all that is kept lies in one range.
    fn drop_old_prompts(&mut self, step: &mut Step) {
        let waits = |n: &PromptNumber| self.p.queue.contains(n) || self.turn_number() == Some(*n);
        let unfinished = self.p.queue.len() as u64 + u64::from(self.p.turn.is_some());
        let mut first = self.p.first_prompt;
        while (self.p.last_prompt + 1).saturating_sub(first + unfinished) > PROMPTS_KEPT && !waits(&first) {
            step.prompts.push((first, PromptChange::Dropped));
            first += 1;
        }
        self.p.first_prompt = first;
    }

    /// The agent process is gone: decides what that means for the running turn (guarantee 2). `taken`: the last input
    /// that it took; `None` where nothing can tell any more.
    pub(super) fn turn_lost(&mut self, taken: Option<u64>, lost: bool, how: &str, step: &mut Step) {
        let attempts = self.p.attempts;
        let Some(turn) = &mut self.p.turn else { return };
        if turn.outcome.is_none() {
            let delivered = turn.input.is_some_and(|input| taken.is_none_or(|taken| input <= taken));
            if let Some(failure) = turn.failure.take() {
                turn.outcome = Some(failed(failure));
            } else if turn.cancelling {
                turn.outcome = Some(cancelled());
            } else if !delivered && attempts + 1 < ATTEMPTS_MAX {
                let n = turn.prompt;
                self.p.turn = None;
                self.p.attempts += 1;
                self.interrupted = false;
                self.p.queue.insert(0, n);
                step.prompts.push((n, PromptChange::Pending));
                return;
            } else {
                let outcome = failed(TurnError { message: how.to_owned(), status: None });
                let status = if lost && delivered { PromptState::Unknown } else { PromptState::Failed };
                turn.outcome = Some(TurnOutcome { status, ..outcome });
            }
        }
        self.finish_turn(step);
    }

    /// No answer is waited for any more.
    pub(super) fn withdraw_permissions(&mut self, step: &mut Step) {
        let ids: Vec<String> = self.pending.keys().cloned().collect();
        for id in ids {
            self.resolve_permission(&id, None, "withdrawn", step);
        }
    }
}

fn outcome(status: PromptState, end: TurnEnd) -> TurnOutcome {
    TurnOutcome { status, stop_reason: end.stop_reason, usage: end.usage, error: end.error }
}

/// The outcome of a prompt that failed.
fn failed(error: TurnError) -> TurnOutcome {
    TurnOutcome { status: PromptState::Failed, stop_reason: None, usage: None, error: Some(error) }
}

/// The outcome of a cancelled prompt.
pub(super) fn cancelled() -> TurnOutcome {
    TurnOutcome { status: PromptState::Cancelled, stop_reason: Some("cancelled".to_owned()), usage: None, error: None }
}
