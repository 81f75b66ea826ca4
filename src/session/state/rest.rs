//! What happens without a client's asking for it now: rest, a silent turn's end, and a start afresh.

use std::time::Duration;

use super::{Call, Effect, Ending, Link, State, Step};
use crate::domain::{Dirty, EventData, PromptNumber, TurnError};

impl State {
    /// Whether the agent runs and nobody needs it: no turn, no queue, no start under way.
    pub(in crate::session) fn is_idle(&self) -> bool {
        self.is_ready() && !self.is_busy() && !self.wanted
    }

    /// Whether nothing is on its way between rest and readiness.
    pub(in crate::session) fn is_settled(&self) -> bool {
        self.ending.is_none() && (self.link == Link::Down || self.is_ready() || self.p.error.is_some())
    }

    /// Whether the actor has anything to do with the workspace.
    pub(in crate::session) fn needs_workspace(&self) -> bool {
        self.link != Link::Down || self.ending.is_some()
    }

    /// Ends an agent that nobody needs; the next request wakes it.
    pub(super) fn idle(&mut self, step: &mut Step) {
        if self.is_idle() {
            self.end(Ending::Suspend, step);
        }
    }

    /// Whether the agent works on a turn, and nothing but its output is waited for.
    pub(in crate::session) fn is_working(&self) -> Option<PromptNumber> {
        let turn = self.p.turn.as_ref().filter(|turn| turn.outcome.is_none() && !turn.cancelling)?;
        (self.link == Link::Up && self.ending.is_none() && self.pending.is_empty()).then_some(turn.prompt)
    }

    /// Ends a turn that has said nothing for too long: as a cancel does, but it has failed.
    pub(super) fn inactive(&mut self, n: PromptNumber, silence: Duration, step: &mut Step) {
        if self.is_working() != Some(n) {
            return;
        }
        let Some(turn) = &mut self.p.turn else { return };
        turn.cancelling = true;
        turn.failure = Some(TurnError {
            message: format!("the agent gave no output for {}, which is the limit: the turn was ended", words(silence)),
            status: None,
        });
        step.dirty = true;
        step.calls.push_back(Call::Cancel);
        step.effects.push(Effect::ArmCancel { n });
    }

    /// The agent is to be started afresh before its next turn.
    pub(super) fn mark_dirty(&mut self, reason: Option<String>, step: &mut Step) {
        let mut fields = serde_json::Map::new();
        fields.insert("dirty".into(), true.into());
        if let Some(reason) = &reason {
            fields.insert("reason".into(), reason.clone().into());
        }
        self.p.dirty = Some(Dirty { reason, runs: self.p.runs });
        step.events.push((self.turn_number(), EventData::SessionChanged { fields }));
    }

    /// Whether the process that runs is the one that was marked.
    pub(super) fn is_dirty(&self) -> bool {
        self.p.dirty.as_ref().is_some_and(|dirty| dirty.runs >= self.p.runs)
    }

    /// The agent is ready: if it was started after the mark, the mark has done its work.
    pub(super) fn settle_dirty(&mut self, step: &mut Step) {
        if self.p.dirty.is_some() && !self.is_dirty() {
            self.p.dirty = None;
            let mut fields = serde_json::Map::new();
            fields.insert("dirty".into(), false.into());
            step.events.push((None, EventData::SessionChanged { fields }));
        }
    }
}

/// A length of time in words.
fn words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
