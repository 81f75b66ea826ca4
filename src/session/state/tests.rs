//! The state machine against a world of its own: any order of requests, faults and answers, with the books checked.

mod books;
mod rules;
mod stuck;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::agent::adapter::{Output, TurnEnd};
use crate::domain::PromptState;

/// What may happen next; the numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Act {
    Prompt {
        front: bool,
    },
    Cancel,
    Wake,
    Suspend,
    Close,
    Dirty,
    Idle,
    Inactive,
    /// The daemon dies and another takes over.
    Restart,
    ContainerDies,
    AgentDies,
    /// The daemon's task that carries out an effect panics.
    Panics {
        which: usize,
    },
    /// One of the effects comes to its result; `fails`: a bad one.
    Resolve {
        which: usize,
        fails: bool,
    },
    /// tether reports what it took.
    Taken,
    /// The agent does its next thing.
    AgentActs {
        fails: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => any::<bool>().prop_map(|front| Act::Prompt { front }),
        2 => Just(Act::Cancel),
        1 => Just(Act::Wake),
        1 => Just(Act::Suspend),
        1 => Just(Act::Close),
        1 => prop_oneof![Just(Act::Dirty), Just(Act::Idle), Just(Act::Inactive)],
        2 => Just(Act::Restart),
        1 => Just(Act::ContainerDies),
        1 => Just(Act::AgentDies),
        1 => any::<usize>().prop_map(|which| Act::Panics { which }),
        12 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Act::Resolve { which, fails }),
        6 => Just(Act::Taken),
        8 => prop::bool::weighted(0.1).prop_map(|fails| Act::AgentActs { fails }),
    ]
}

/// A process as tether has it.
#[derive(Clone, Debug, Default)]
struct Proc {
    alive: bool,
    lost: bool,
    taken: u64,
    /// Inputs that the agent has not worked on, by what they carry.
    inbox: Vec<(u64, Carries)>,
    ready: bool,
    turn: Option<PromptNumber>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Carries {
    Handshake,
    Prompt(PromptNumber),
    Cancel,
}

struct World {
    state: State,
    procs: BTreeMap<String, Proc>,
    /// Inputs made, by process and number.
    made: BTreeMap<(String, u64), Carries>,
    effects: Vec<Effect>,
    container: bool,
    attached: Option<String>,
    /// The books.
    accepted: BTreeSet<PromptNumber>,
    ended: BTreeMap<PromptNumber, PromptState>,
    running: Option<PromptNumber>,
    given: BTreeMap<PromptNumber, u32>,
    closed: bool,
}

impl World {
    fn new() -> Self {
        let p = Progress::new(Timestamp::from_millis(0));
        Self {
            state: State::new(p, BTreeMap::new(), PermissionPolicy::Ask),
            procs: BTreeMap::new(),
            made: BTreeMap::new(),
            effects: Vec::new(),
            container: false,
            attached: None,
            accepted: BTreeSet::new(),
            ended: BTreeMap::new(),
            running: None,
            given: BTreeMap::new(),
            closed: false,
        }
    }

    /// One commit: applies an input and the calls that follow, then keeps the books.
    fn input(&mut self, input: Input) {
        let now = Timestamp::from_millis(0);
        let mut step = Step::default();
        self.state.apply(input, now, &mut step);
        while let Some(call) = step.calls.pop_front() {
            let (carries, mark) = match call {
                Call::Start { .. } => (Carries::Handshake, false),
                Call::Prompt { n } => (Carries::Prompt(n), true),
                Call::Cancel => (Carries::Cancel, false),
                Call::Answer { .. } => continue,
            };
            self.state.apply(Input::Send { text: String::new(), mark }, now, &mut step);
            if let Some(process) = &self.state.p.process {
                self.made.insert((process.id.clone(), process.last_input), carries);
            }
        }
        for (_, event) in &step.events {
            self.book(event);
        }
        self.effects.append(&mut step.effects);
        self.check();
    }

    fn book(&mut self, event: &EventData) {
        assert!(!self.closed, "an event after session.closed: {event:?}");
        match event {
            EventData::PromptQueued { prompt, .. } => assert!(self.accepted.insert(*prompt)),
            EventData::TurnStarted { prompt } => {
                assert!(self.running.is_none() || self.running == Some(*prompt), "two turns at once");
                assert!(!self.ended.contains_key(prompt), "a turn of an ended prompt");
                self.running = Some(*prompt);
            }
            EventData::TurnEnded { prompt, status, .. } => {
                assert!(status.is_final() && self.accepted.contains(prompt));
                assert!(self.ended.insert(*prompt, *status).is_none(), "prompt {prompt} ended twice");
                if self.running == Some(*prompt) {
                    self.running = None;
                }
            }
            EventData::SessionClosed {} => self.closed = true,
            _ => {}
        }
    }

    fn check(&mut self) {
        let p = &self.state.p;
        assert!(p.turn.is_none() || p.process.is_some(), "a turn without a process");
        for n in &self.accepted {
            let places = usize::from(p.queue.contains(n))
                + usize::from(p.turn.as_ref().is_some_and(|t| t.prompt == *n))
                + usize::from(self.ended.contains_key(n));
            assert_eq!(places, 1, "prompt {n} must be in exactly one place");
        }
        if p.closed.is_some() {
            assert!(self.closed && self.ended.len() == self.accepted.len(), "closed with prompts left");
        }
        // A prompt that went back to the queue is no running turn.
        if self.running.is_some_and(|n| p.queue.contains(&n)) {
            self.running = None;
        }
    }

    fn resolve(&mut self, effect: Effect, fails: bool) {
        match effect {
            Effect::Wake { only_if_running } if only_if_running && !self.container => self.input(Input::WorkspaceDown),
            Effect::Wake { .. } if fails => self.input(Input::WakeFailed { message: "no".into(), retry: true }),
            Effect::Wake { .. } => {
                self.container = true;
                self.input(Input::WorkspaceUp);
            }
            Effect::RetryLater => self.input(Input::RetryWake),
            Effect::Start { .. } if !self.container => self.input(Input::Detached { reason: "gone".into() }),
            Effect::Start { .. } if fails => self.input(Input::StartFailed { message: "no".into() }),
            Effect::Start { process } => {
                self.procs.insert(process.clone(), Proc { alive: true, ..Proc::default() });
                self.attached = Some(process);
                self.input(Input::Started { resumed: false });
            }
            Effect::Attach { .. } if !self.container => self.input(Input::Detached { reason: "gone".into() }),
            Effect::Attach { process } => match self.procs.get(&process) {
                Some(found) => {
                    let last_input = found.taken;
                    self.attached = Some(process);
                    self.input(Input::Attached { last_input });
                }
                None => self.input(Input::ProcessUnknown),
            },
            Effect::Flush => {
                let Some(process) = &self.state.p.process else { return };
                let Some(known) = self.procs.get_mut(&process.id) else { return };
                for entry in &process.outbox {
                    if known.alive && entry.n == known.taken + 1 {
                        known.taken = entry.n;
                        known.inbox.push((entry.n, self.made[&(process.id.clone(), entry.n)]));
                    }
                }
            }
            Effect::Sweep { process } if fails && self.container => {
                self.input(Input::SweepFailed { process, message: "no".into() });
            }
            Effect::Sweep { .. } if !self.container => {}
            Effect::Sweep { process } => self.input(Input::Swept { process }),
            Effect::End { process, .. } if fails => self.input(Input::EndFailed { process, message: "no".into() }),
            Effect::End { process, .. } => {
                if let Some(known) = self.procs.get_mut(&process) {
                    known.alive = false;
                }
                self.input(Input::Ended { process });
            }
            Effect::ArmCancel { n } => self.input(Input::CancelTimeout { n }),
            Effect::ArmHandshake { process } => self.input(Input::HandshakeTimeout { process }),
            Effect::ArmEnd { process } => self.input(Input::EndFailed { process, message: "no".into() }),
            Effect::Forget { process } => {
                self.procs.remove(&process);
            }
            Effect::Closed => {}
        }
    }

    /// What tether tells of the attached process, next.
    fn agent_acts(&mut self, fails: bool) {
        let Some(id) = self.attached.clone().filter(|id| self.state.is_current(id)) else { return };
        let Some(known) = self.procs.get_mut(&id) else { return };
        if !known.alive {
            let lost = known.lost;
            // tether tells what was taken before it tells of the end.
            self.taken();
            self.attached = None;
            self.input(Input::Exited { code: Some(1), signal: None, lost, stderr: String::new(), why: None });
            return;
        }
        if known.turn.take().is_some() {
            let error = fails.then(|| TurnError { message: "no".into(), status: None });
            let stop_reason = (!fails).then(|| "end_turn".to_owned());
            self.input(Input::Agent(Output::TurnEnded(TurnEnd { stop_reason, usage: None, error })));
            return;
        }
        if known.inbox.is_empty() {
            return;
        }
        match known.inbox.remove(0).1 {
            Carries::Handshake => {
                known.ready = true;
                self.input(Input::Agent(Output::Linked { agent_session_id: "a".into() }));
                self.input(Input::Agent(Output::Ready));
            }
            Carries::Prompt(n) => {
                *self.given.entry(n).or_default() += 1;
                assert_eq!(self.given[&n], 1, "prompt {n} was given to the agent twice");
                known.turn = Some(n);
            }
            Carries::Cancel => {
                let end = TurnEnd { stop_reason: Some("cancelled".into()), usage: None, error: None };
                self.input(Input::Agent(Output::TurnEnded(end)));
            }
        }
    }

    fn taken(&mut self) {
        let Some(id) = self.attached.clone() else { return };
        if let Some(n) = self.procs.get(&id).map(|known| known.taken) {
            self.input(Input::Taken { n });
        }
    }

    fn container_dies(&mut self) {
        if !std::mem::replace(&mut self.container, false) {
            return;
        }
        for known in self.procs.values_mut().filter(|known| known.alive) {
            *known = Proc { alive: false, lost: true, taken: known.taken, ..Proc::default() };
        }
        if self.attached.take().is_some() {
            self.input(Input::Detached { reason: "died".into() });
        }
    }

    fn act(&mut self, act: Act) {
        let open = self.state.p.closed.is_none();
        match act {
            Act::Prompt { front }
                if open && self.state.p.error.is_none() && self.state.ending != Some(Ending::Close) =>
            {
                self.input(Input::Prompt { content: vec![json!({"type": "text", "text": "x"})], front, key: None });
            }
            Act::Cancel => self.input(Input::Cancel),
            Act::Wake if open => self.input(Input::Wake),
            Act::Suspend if open => self.input(Input::Suspend { by_hand: true }),
            Act::Close => self.input(Input::Close),
            Act::Dirty if open => self.input(Input::Dirty { reason: None }),
            Act::Idle => self.input(Input::Idle),
            Act::Inactive => {
                if let Some(n) = self.state.is_working() {
                    self.input(Input::Inactive { n, silence: Default::default() });
                }
            }
            Act::Restart => {
                self.effects.clear();
                self.attached = None;
                let kept: Progress = serde_json::from_value(serde_json::to_value(&self.state.p).unwrap()).unwrap();
                self.state = State::new(kept, BTreeMap::new(), PermissionPolicy::Ask);
                self.input(Input::Recover);
            }
            Act::ContainerDies => self.container_dies(),
            Act::AgentDies => {
                if let Some(known) = self.attached.clone().and_then(|id| self.procs.get_mut(&id)) {
                    *known = Proc { alive: false, taken: known.taken, ..Proc::default() };
                }
            }
            Act::Panics { which } if !self.effects.is_empty() && open => {
                self.effects.remove(which % self.effects.len());
                self.attached = None;
                self.input(Input::Broken { message: "no".into() });
            }
            Act::Resolve { which, fails } if !self.effects.is_empty() => {
                // Effects of one session run at the same time, except that inputs keep their order.
                let at = which % self.effects.len();
                let effect = self.effects.remove(at);
                self.resolve(effect, fails);
            }
            Act::Taken => self.taken(),
            Act::AgentActs { fails } => self.agent_acts(fails),
            Act::Prompt { .. } | Act::Wake | Act::Suspend | Act::Dirty | Act::Resolve { .. } | Act::Panics { .. } => {}
        }
    }

    /// Lets everything come to its end without further faults.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            let before = format!("{:?}{:?}", self.state, self.procs);
            if self.settle_once() {
                continue;
            }
            if format!("{:?}{:?}", self.state, self.procs) == before && self.effects.is_empty() {
                return;
            }
        }
        panic!("no end: {:?}", self.state);
    }

    /// The next effect; `false`: there was none, and the agent did its next thing.
    fn settle_once(&mut self) -> bool {
        let Some(effect) = (!self.effects.is_empty()).then(|| self.effects.remove(0)) else {
            self.taken();
            self.agent_acts(false);
            return false;
        };
        if !matches!(effect, Effect::ArmCancel { .. } | Effect::ArmHandshake { .. } | Effect::ArmEnd { .. }) {
            self.resolve(effect, false);
        }
        true
    }
}
