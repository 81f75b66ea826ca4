//! What is outside of the session: the container, tether with its processes, and what an effect does to them.

use super::agent::{Carries, Proc, Said};
use super::*;

/// What an effect came to, not yet told.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) input: Input,
    /// The process of which this is the attachment.
    pub(super) attaches: Option<String>,
}

impl From<Input> for Outcome {
    fn from(input: Input) -> Self {
        Self { input, attaches: None }
    }
}

impl World {
    /// Carries an effect out; what is to be told of it.
    pub(super) fn execute(&mut self, effect: Effect, fails: bool) -> Option<Outcome> {
        let message = || "no".to_owned();
        let input = match effect {
            Effect::Wake { only_if_running } if only_if_running && !self.container => Input::WorkspaceDown,
            Effect::Wake { .. } if fails => Input::WakeFailed { message: message(), retry: true },
            Effect::Wake { .. } => {
                self.container = true;
                Input::WorkspaceUp
            }
            Effect::RetryLater => Input::RetryWake,
            Effect::Start { .. } | Effect::Attach { .. } if !self.container => {
                Input::Detached { reason: "gone".into() }
            }
            Effect::Start { .. } if fails => Input::StartFailed { message: message() },
            Effect::Start { process } => {
                let others: Vec<_> = self.procs.iter().filter(|(_, known)| known.alive).map(|(id, _)| id).collect();
                assert!(others.is_empty(), "{process} is started beside {others:?}");
                let known = self.procs.insert(process.clone(), Proc::begun());
                assert!(known.is_none(), "{process} is started twice");
                return Some(Outcome { input: Input::Started { resumed: false }, attaches: Some(process) });
            }
            Effect::Attach { process } => return Some(self.attach(process)),
            Effect::Flush => {
                self.flush(fails);
                return None;
            }
            Effect::Sweep { .. } if !self.container => return None,
            Effect::Sweep { process } if fails => Input::SweepFailed { process, message: message() },
            Effect::Sweep { process } => {
                if let Some(known) = self.procs.get_mut(&process) {
                    let marked = known.marked;
                    known.born.retain(|n| *n < marked);
                }
                Input::Swept { process }
            }
            Effect::End { process, .. } if fails => Input::EndFailed { process, message: message() },
            Effect::End { process, .. } => {
                if let Some(known) = self.procs.get_mut(&process) {
                    known.die(false);
                }
                Input::Ended { process }
            }
            Effect::ArmCancel { n } => Input::CancelTimeout { n },
            Effect::ArmHandshake { process } => Input::HandshakeTimeout { process },
            Effect::ArmEnd { process } => Input::EndFailed { process, message: message() },
            Effect::Forget { process } => {
                let alive = self.procs.get(&process).is_some_and(|known| known.alive);
                if !alive {
                    self.procs.remove(&process);
                }
                return None;
            }
            Effect::Closed => return None,
        };
        Some(input.into())
    }

    /// tether's answer to an attachment, and what must be so at that moment: it still holds all that is not durable, and
    /// the session still holds all that tether has not taken.
    fn attach(&mut self, process: String) -> Outcome {
        let Some(known) = self.procs.get(&process) else { return Input::ProcessUnknown.into() };
        if let Some(current) = self.state.p.process.as_ref().filter(|current| current.id == process) {
            assert!(usize::try_from(current.stdout).is_ok_and(|from| from >= known.acked), "output is lost");
            let held: Vec<u64> = current.outbox.iter().map(|entry| entry.n).collect();
            let missing = (known.taken + 1..=current.last_input).find(|n| !held.contains(n));
            assert_eq!(missing, None, "an input is lost: {current:?}, taken {}", known.taken);
        }
        Outcome { input: Input::Attached { last_input: known.taken }, attaches: Some(process) }
    }

    /// tether takes what the outbox holds; `fails`: only the first, the rest is given again.
    fn flush(&mut self, fails: bool) {
        let Some(process) = &self.state.p.process else { return };
        let Some(known) = self.procs.get_mut(&process.id).filter(|known| known.alive) else { return };
        let most = if fails { 1 } else { usize::MAX };
        let waiting = process.outbox.iter().filter(|entry| entry.n > known.taken);
        for entry in waiting.take(most).cloned().collect::<Vec<_>>() {
            assert_eq!(entry.n, known.taken + 1, "a gap in the inputs of {}", process.id);
            known.taken = entry.n;
            if let Some(carries) = self.made.get(&(process.id.clone(), entry.n)) {
                assert_eq!(entry.mark, matches!(carries, Carries::Prompt(_)), "the mark is before the prompt");
                if let Carries::Prompt(n) = carries {
                    known.marked = *n;
                }
                known.inbox.push(carries.clone());
            }
        }
        if fails {
            self.effects.push(Effect::Flush);
        }
    }

    /// Tells the session what an effect came to.
    pub(super) fn deliver(&mut self, outcome: Outcome) {
        if let Some(process) = outcome.attaches {
            if self.state.link != Link::Starting {
                // Nobody waits for it any more.
                return;
            }
            self.attached = Some(process);
        }
        self.input(outcome.input);
    }

    pub(super) fn resolve(&mut self, effect: Effect, fails: bool) {
        if let Some(outcome) = self.execute(effect, fails) {
            self.deliver(outcome);
        }
    }

    /// The agent of the newest process does its next thing.
    pub(super) fn works(&mut self, choice: u8) {
        let Some(id) = self.state.p.process.as_ref().map(|process| process.id.clone()) else { return };
        let Some(known) = self.procs.get_mut(&id) else { return };
        if let Some(n) = known.works(choice) {
            assert!(self.given.insert(n), "prompt {n} was given to the agent twice");
        }
    }

    /// What tether has to tell of the attached process, some of it as one commit; its end comes last.
    pub(super) fn hears(&mut self, count: usize) {
        let Some(id) = self.attached.clone().filter(|id| self.state.is_current(id)) else { return };
        let Some(known) = self.procs.get(&id).cloned() else { return };
        let from = self.state.p.process.as_ref().map_or(0, |process| process.stdout);
        let from = usize::try_from(from).expect("a count");
        let mut step = Step::default();
        let said: Vec<Said> = known.said.iter().skip(from).take(count).copied().collect();
        for said in &said {
            self.apply(Input::Agent(said.output()), &mut step);
            if let Some(process) = &mut self.state.p.process {
                process.stdout += 1;
                step.dirty = true;
            }
        }
        if !known.alive && from + said.len() == known.said.len() {
            // tether tells what was taken before it tells of the end.
            self.apply(Input::Taken { n: known.taken }, &mut step);
            self.attached = None;
            let (code, stderr) = (Some(1), String::new());
            self.apply(Input::Exited { code, signal: None, lost: known.lost, stderr, why: None }, &mut step);
        }
        self.commit(step);
    }

    pub(super) fn taken(&mut self) {
        let Some(id) = self.attached.clone().filter(|id| self.state.is_current(id)) else { return };
        if let Some(n) = self.procs.get(&id).map(|known| known.taken) {
            self.input(Input::Taken { n });
        }
    }

    /// The agent does its next thing, and all that it said is heard.
    pub(super) fn agent_acts(&mut self, fails: bool) {
        if self.attached.is_some() {
            self.works(u8::from(fails));
            self.hears(usize::MAX);
        }
    }

    pub(super) fn container_dies(&mut self) {
        if !std::mem::replace(&mut self.container, false) {
            return;
        }
        for known in self.procs.values_mut() {
            known.die(true);
        }
        if self.attached.take().is_some() {
            self.input(Input::Detached { reason: "died".into() });
        }
    }
}
