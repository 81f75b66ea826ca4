//! What clients ask of a session.

use serde_json::Value;

use super::turn::cancelled;
use super::{Effect, Ending, Link, PromptChange, State, Step};
use crate::domain::{EventData, PromptNumber, PromptRecord, PromptState, Timestamp};

/// How long a summary may be, in characters.
const SUMMARY_MAX: usize = 120;

impl State {
    /// Accepts a prompt.
    pub(super) fn prompt(
        &mut self,
        content: Vec<Value>,
        front: bool,
        key: Option<String>,
        now: Timestamp,
        step: &mut Step,
    ) {
        self.p.last_prompt += 1;
        let n = self.p.last_prompt;
        let running = usize::from(self.p.turn.is_some());
        let position = running + if front { 0 } else { self.p.queue.len() };
        if self.p.summary.is_none() {
            self.p.summary =
                content.iter().find_map(|b| b.get("text")?.as_str()).map(summarise).filter(|s| !s.is_empty());
        }
        step.events.push((Some(n), EventData::PromptQueued { prompt: n, position }));
        let record = PromptRecord {
            id: n,
            turn: PromptRecord::turn_name(n),
            time: now,
            content,
            state: PromptState::Pending,
            attempts: 0,
            idempotency_key: key,
            started: None,
            ended: None,
            stop_reason: None,
            error: None,
            usage: None,
        };
        step.prompts.push((n, PromptChange::New(Box::new(record))));
        self.p.queue.insert(if front { 0 } else { self.p.queue.len() }, n);
        (self.paused, self.p.held) = (false, false);
        self.recovering = false;
        self.advance(step);
    }

    /// Takes a pending prompt out of the queue.
    pub(super) fn withdraw(&mut self, n: PromptNumber, step: &mut Step) {
        let before = self.p.queue.len();
        self.p.queue.retain(|queued| *queued != n);
        if self.p.queue.len() < before {
            self.end_prompt(n, cancelled(), step);
        }
    }

    /// Wants a ready agent.
    pub(super) fn wake(&mut self, step: &mut Step) {
        self.paused = false;
        step.dirty |= std::mem::take(&mut self.p.held);
        self.wanted = !self.is_ready();
        if self.p.error.is_some() {
            self.deaths.clear();
            self.go_on(step);
        } else {
            self.advance(step);
        }
    }

    /// Leaves `error`, and does again what had failed.
    pub(super) fn go_on(&mut self, step: &mut Step) {
        self.clear_error();
        step.dirty = true;
        if self.link == Link::Up {
            self.catch_up(step);
        } else {
            self.advance(step);
        }
    }

    /// Ends the agent and rests; a running turn is cancelled, the queue waits for the next request. What was done by hand
    /// stays so when the daemon starts again.
    pub(super) fn suspend(&mut self, by_hand: bool, step: &mut Step) {
        self.paused = true;
        step.dirty |= by_hand && !self.p.held;
        self.p.held |= by_hand;
        self.wanted = false;
        self.stop_process(Ending::Suspend, step);
    }

    /// Forgets the conversation; session, key, log and subscribers stay.
    pub(super) fn reset(&mut self, step: &mut Step) {
        for n in self.p.queue.clone() {
            self.withdraw(n, step);
        }
        self.clear_error();
        self.p.summary = None;
        self.p.held = false;
        self.wanted = false;
        self.deaths.clear();
        self.stop_process(Ending::Reset, step);
        if self.ending.is_none() {
            self.forget(step);
        }
    }

    /// The conversation is over, and so is its last turn.
    pub(super) fn forget(&mut self, step: &mut Step) {
        self.p.agent_session_id = None;
        self.p.turns = 0;
        self.p.spent.settle();
        step.events.push((None, EventData::SessionReset {}));
    }

    /// Closes the session once nothing of it runs.
    pub(super) fn close(&mut self, now: Timestamp, step: &mut Step) {
        if self.p.closed.is_some() || self.ending == Some(Ending::Close) {
            return;
        }
        for n in self.p.queue.clone() {
            self.withdraw(n, step);
        }
        self.wanted = false;
        if self.p.process.is_some() {
            self.stop_process(Ending::Close, step);
        } else {
            self.finish_close(now, step);
        }
    }

    fn stop_process(&mut self, ending: Ending, step: &mut Step) {
        if let Some(turn) = &mut self.p.turn {
            turn.cancelling = true;
        }
        if self.p.process.is_none() {
            // A workspace that is being woken is let go of: `WorkspaceUp` finds the link down.
            self.link = Link::Down;
        }
        match self.ending {
            // A close stands, whatever is asked after it.
            Some(Ending::Close) => {}
            // One end is on its way; only what follows it changes.
            Some(_) => self.ending = Some(ending),
            None => self.end(ending, step),
        }
    }

    /// Writes the session's end.
    pub(super) fn finish_close(&mut self, now: Timestamp, step: &mut Step) {
        self.link = Link::Down;
        // Whatever may still run: there is nothing more to find out that would be told.
        self.recovering = false;
        self.withdraw_permissions(step);
        self.p.error = None;
        self.p.closed = Some(now);
        step.effects.push(Effect::Closed);
        // The status comes first: `session.closed` is the last event of a log.
        self.announce_status(None, step);
        step.events.push((None, EventData::SessionClosed {}));
    }
}

fn summarise(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SUMMARY_MAX { line } else { line.chars().take(SUMMARY_MAX - 1).chain(['…']).collect() }
}
