//! How the agent process is ended, what is proven of it, and what follows.

use super::process::Exit;
use super::{Effect, Ending, Input, Link, State, Step};
use crate::domain::{PromptState, Timestamp, TurnError, TurnOutcome};

impl State {
    /// A new daemon takes the session over, but not its process: what its adapter knew can't be read. The process is
    /// ended, and the agent resumed by another.
    pub(super) fn unreadable(&mut self, step: &mut Step) {
        if let Some(turn) = self.p.turn.as_mut().filter(|turn| turn.outcome.is_none() && !turn.cancelling) {
            let message = "wharf can't read what it knew of the agent's process: what became of the turn is not known";
            let error = Some(TurnError { message: message.to_owned(), status: None });
            let status = PromptState::Unknown;
            turn.outcome = Some(TurnOutcome { status, stop_reason: None, usage: None, error });
        }
        self.end(Ending::Useless, step);
    }

    /// A task panicked: everything is let go of, so that whoever restores the session finds it as a new daemon would.
    pub(super) fn broken(&mut self, message: String, now: Timestamp, step: &mut Step) {
        self.recovering = false;
        self.link = Link::Down;
        if self.ending.is_some() {
            self.end_failed(message, now, step);
        } else {
            self.fail(message, step);
        }
    }

    /// What a closed session still has to do: prove that its process is gone. `session.closed` was its last event.
    pub(super) fn after_close(&mut self, input: &Input, step: &mut Step) {
        let Some(process) = self.p.process.as_ref().map(|process| process.id.clone()) else { return };
        match input {
            // A close that could not prove the end before the daemon died: prove it now.
            Input::Recover => {
                self.ending = Some(Ending::Close);
                step.effects.push(Effect::End { process, force: false });
            }
            Input::Exited { .. } | Input::ProcessUnknown | Input::Ended { .. } => {
                self.ending = None;
                self.link = Link::Down;
                self.process_gone();
                step.dirty = true;
                step.effects.push(Effect::Forget { process });
            }
            // The next daemon tries again.
            Input::EndFailed { .. } | Input::Broken { .. } => self.ending = None,
            _ => {}
        }
    }

    /// Ends the process with its tree.
    pub(super) fn end(&mut self, ending: Ending, step: &mut Step) {
        let Some(process) = &self.p.process else { return };
        self.ending = Some(ending);
        step.dirty = true;
        let process = process.id.clone();
        if self.link == Link::Starting {
            // `catch_up` ends it as soon as it is in hand.
            step.effects.push(Effect::ArmEnd { process });
        } else {
            step.effects.push(Effect::End { process, force: self.link == Link::Up });
        }
    }

    /// The process and its tree are gone. While it is attached, its `Exited` comes by itself, after its last output.
    pub(super) fn ended(&mut self, now: Timestamp, step: &mut Step) {
        if self.link == Link::Up || self.ending.is_none() {
            return;
        }
        let exit = Exit { code: None, signal: None, lost: true, stderr: String::new(), why: None, journal: true };
        self.exited(exit, now, step);
    }

    /// The process could not be ended: nobody is left waiting, and what is left is told.
    pub(super) fn end_failed(&mut self, message: String, now: Timestamp, step: &mut Step) {
        let Some(ending) = self.ending.take() else { return };
        match ending {
            Ending::Close => {
                // The close stands; the next daemon, or the workspace's deletion, ends what may be left.
                if self.p.turn.is_some() {
                    self.turn_lost(None, true, &format!("the session was closed, and {message}"), step);
                }
                self.finish_close(now, step);
            }
            Ending::Suspend | Ending::Cancel | Ending::Useless | Ending::Reset | Ending::Restart => {
                self.fail(format!("the agent could not be ended: {message}: restore the session to try again"), step);
            }
        }
    }

    pub(super) fn after_end(&mut self, ending: Ending, now: Timestamp, step: &mut Step) {
        match ending {
            Ending::Close => self.finish_close(now, step),
            Ending::Reset => {
                self.forget(step);
                self.advance(step);
            }
            // A request that came while the process was being ended goes on now; a suspended session holds its queue.
            Ending::Suspend | Ending::Cancel | Ending::Useless | Ending::Restart => self.advance(step),
        }
    }
}
