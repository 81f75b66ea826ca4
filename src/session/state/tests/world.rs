//! A session with its disk and all that is outside of it, and what may happen to them.

use std::collections::BTreeSet;

use super::agent::{Carries, Proc};
use super::disk::Disk;
use super::outside::Outcome;
use super::*;

pub(super) struct World {
    pub(super) state: State,
    pub(super) disk: Disk,
    pub(super) procs: BTreeMap<String, Proc>,
    /// Inputs made, by process and number.
    pub(super) made: BTreeMap<(String, u64), Carries>,
    /// What is to be carried out.
    pub(super) effects: Vec<Effect>,
    /// Times that are not up yet.
    timers: Vec<Effect>,
    /// What was carried out and is not told yet.
    pub(super) results: Vec<Outcome>,
    pub(super) container: bool,
    pub(super) attached: Option<String>,
    /// The prompts that an agent was given.
    pub(super) given: BTreeSet<PromptNumber>,
    /// Whether an agent ever said what makes no sense.
    pub(super) lied: bool,
    doom: Option<Death>,
}

impl World {
    pub(super) fn new() -> Self {
        let p = Progress::new(Timestamp::from_millis(0));
        let state = State::new(p, BTreeMap::new(), PermissionPolicy::Ask);
        Self {
            disk: Disk::new(&state),
            state,
            procs: BTreeMap::new(),
            made: BTreeMap::new(),
            effects: Vec::new(),
            timers: Vec::new(),
            results: Vec::new(),
            container: false,
            attached: None,
            given: BTreeSet::new(),
            lied: false,
            doom: None,
        }
    }

    pub(super) fn ended(&self) -> &BTreeMap<PromptNumber, PromptState> {
        &self.disk.log.ended
    }

    pub(super) fn closed(&self) -> bool {
        self.disk.log.closed
    }

    /// One commit of one input.
    pub(super) fn input(&mut self, input: Input) {
        let mut step = Step::default();
        self.apply(input, &mut step);
        self.commit(step);
    }

    /// Applies an input and the adapter's calls that follow, as the actor does.
    pub(super) fn apply(&mut self, input: Input, step: &mut Step) {
        let now = Timestamp::from_millis(0);
        self.state.apply(input, now, step);
        while let Some(call) = step.calls.pop_front() {
            let (carries, mark) = match call {
                Call::Start { .. } => (Carries::Handshake, false),
                Call::Prompt { n } => (Carries::Prompt(n), true),
                Call::Cancel => (Carries::Cancel, false),
                Call::Answer { id, .. } => (Carries::Answer(id), false),
            };
            let before = self.state.p.process.as_ref().map(|process| process.last_input);
            self.state.apply(Input::Send { text: String::new(), mark }, now, step);
            if let Some(process) = &self.state.p.process
                && Some(process.last_input) != before
            {
                self.made.insert((process.id.clone(), process.last_input), carries);
            }
        }
    }

    /// Makes a step durable and begins what follows from it, unless the daemon dies in it.
    pub(super) fn commit(&mut self, mut step: Step) {
        let doom = self.doom.take();
        if matches!(doom, Some(Death::Before)) {
            return self.restart(false);
        }
        self.prove(&step);
        if !step.is_clean() {
            self.disk.write(&self.state, &step);
            let current = self.state.p.process.as_ref();
            if let Some((process, known)) =
                current.and_then(|current| Some((current, self.procs.get_mut(&current.id)?)))
            {
                known.acked = known.acked.max(usize::try_from(process.stdout).expect("a count"));
            }
        }
        if matches!(doom, Some(Death::After)) {
            return self.restart(false);
        }
        self.effects.append(&mut step.effects);
        self.check();
    }

    /// The end of a cancelled turn is told only when nothing is left that was born in it; a close stands all the same.
    fn prove(&self, step: &Step) {
        if step.events.iter().any(|(_, event)| matches!(event, EventData::SessionClosed {})) {
            return;
        }
        for (_, event) in &step.events {
            if let EventData::TurnEnded { prompt, status: PromptState::Cancelled, .. } = event {
                let left = self.procs.iter().find(|(_, known)| known.born.contains(prompt));
                assert!(left.is_none(), "turn {prompt} ended, and something of it lives: {left:?}");
            }
        }
    }

    fn check(&self) {
        let (p, log) = (&self.state.p, &self.disk.log);
        assert!(p.turn.is_none() || p.process.is_some(), "a turn without a process");
        for n in 1..=log.accepted {
            let places = usize::from(p.queue.contains(&n))
                + usize::from(p.turn.as_ref().is_some_and(|t| t.prompt == n))
                + usize::from(log.ended.contains_key(&n));
            assert_eq!(places, 1, "prompt {n} must be in exactly one place");
        }
        if p.closed.is_some() {
            assert!(log.closed && log.ended.len() as u64 == log.accepted, "closed with prompts left");
        }
    }

    /// Another daemon takes over from what is durable; what was under way goes with the first.
    pub(super) fn restart(&mut self, unreadable: bool) {
        (self.effects, self.timers, self.results) = (Vec::new(), Vec::new(), Vec::new());
        self.attached = None;
        self.doom = None;
        self.state = self.disk.load();
        let process = self.state.p.process.is_some() && self.state.p.closed.is_none();
        self.input(if unreadable && process { Input::Unreadable } else { Input::Recover });
    }

    fn requested(&mut self, act: Act) {
        match act {
            Act::Prompt { front } if self.accepts() => {
                self.input(Input::Prompt { content: vec![json!({"type": "text", "text": "x"})], front, key: None });
            }
            Act::Interrupt if self.accepts() => {
                let mut step = Step::default();
                self.apply(Input::Prompt { content: Vec::new(), front: true, key: None }, &mut step);
                if self.state.p.turn.is_some() {
                    self.apply(Input::Cancel, &mut step);
                }
                self.commit(step);
            }
            Act::Withdraw { which } if !self.state.p.queue.is_empty() => {
                let n = self.state.p.queue[which % self.state.p.queue.len()];
                self.input(Input::Withdraw { n });
            }
            Act::Answer { which } if !self.state.pending.is_empty() => {
                let at = which % self.state.pending.len();
                let id = self.state.pending.keys().nth(at).expect("it is there").clone();
                self.input(Input::Answer { id, option_id: "yes".into() });
            }
            Act::Cancel => self.input(Input::Cancel),
            Act::Wake => self.input(Input::Wake),
            Act::Suspend { by_hand } => self.input(Input::Suspend { by_hand }),
            Act::Reset => self.input(Input::Reset),
            Act::Close => self.input(Input::Close),
            Act::Dirty => self.input(Input::Dirty { reason: None }),
            Act::Idle => self.input(Input::Idle),
            Act::Policy { policy } => self.input(Input::Changed { fields: serde_json::Map::new(), policy }),
            Act::Inactive => {
                if let Some(n) = self.state.is_working() {
                    self.input(Input::Inactive { n, silence: Default::default() });
                }
            }
            _ => {}
        }
    }

    /// Whether the actor would take a prompt.
    fn accepts(&self) -> bool {
        self.state.p.closed.is_none() && self.state.p.error.is_none() && self.state.ending != Some(Ending::Close)
    }

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Restart { unreadable } => self.restart(unreadable),
            Act::Doom { death } => self.doom = Some(death),
            Act::Poison => {
                (self.effects, self.timers, self.results) = (Vec::new(), Vec::new(), Vec::new());
                self.attached = None;
                self.state = self.disk.load();
                self.input(Input::Poisoned { message: "no".into() });
            }
            Act::ContainerDies => self.container_dies(),
            Act::AgentDies => {
                let current = self.state.p.process.as_ref().map(|process| process.id.clone());
                if let Some(known) = current.and_then(|id| self.procs.get_mut(&id)) {
                    known.die(false);
                }
            }
            Act::Panics { which } => self.panics(which),
            // Effects of one session run at the same time, except that inputs keep their order.
            Act::Resolve { which, fails } if !self.effects.is_empty() => {
                let effect = self.effects.remove(which % self.effects.len());
                self.resolve(effect, fails);
            }
            Act::Execute { which, fails } if !self.effects.is_empty() => {
                let effect = self.effects.remove(which % self.effects.len());
                let outcome = self.execute(effect, fails);
                self.results.extend(outcome);
            }
            Act::Deliver { which } if !self.results.is_empty() => {
                let outcome = self.results.remove(which % self.results.len());
                self.deliver(outcome);
            }
            Act::Taken => self.taken(),
            Act::Works { choice } => self.works(choice),
            Act::Hears { count } => self.hears(count),
            Act::Lies { lie } => {
                let current = self.state.p.process.as_ref().map(|process| process.id.clone());
                if let Some(known) = current.and_then(|id| self.procs.get_mut(&id)) {
                    known.lies(lie);
                    self.lied = true;
                }
            }
            Act::AgentActs { fails } => self.agent_acts(fails),
            Act::Resolve { .. } | Act::Execute { .. } | Act::Deliver { .. } => {}
            request => self.requested(request),
        }
    }

    fn panics(&mut self, which: usize) {
        let under_way = self.effects.len() + self.results.len();
        if under_way == 0 {
            return;
        }
        match which % under_way {
            at if at < self.effects.len() => drop(self.effects.remove(at)),
            at => drop(self.results.remove(at - self.effects.len())),
        }
        // Nothing of what else is under way goes on, but the clock.
        self.effects.retain(|effect| {
            matches!(effect, Effect::ArmCancel { .. } | Effect::ArmHandshake { .. } | Effect::ArmEnd { .. })
        });
        self.results.clear();
        self.attached = None;
        self.input(Input::Broken { message: "no".into() });
    }

    /// Lets everything come to its end without further faults; who is asked for a permission gives it. A time is up only
    /// where nothing else moves.
    pub(super) fn settle(&mut self) {
        self.doom = None;
        for _ in 0..2_000 {
            let before = self.place();
            if self.settle_once() {
                continue;
            }
            self.requested(Act::Answer { which: 0 });
            if self.place() == before && self.effects.is_empty() {
                match self.timers.pop() {
                    Some(timer) => self.resolve(timer, false),
                    None => return,
                }
            }
        }
        panic!("no end: {:?}", self.state);
    }

    /// How far everything is.
    fn place(&self) -> impl PartialEq + use<> {
        let current =
            self.state.p.process.as_ref().map(|process| (process.stdout, process.last_input, process.outbox.len()));
        let procs: Vec<_> = self
            .procs
            .values()
            .map(|known| (known.alive, known.taken, known.inbox.len(), known.said.len(), known.turn))
            .collect();
        (self.disk.log.events, self.state.link, self.state.ending, self.state.taken, current, procs)
    }

    /// The next result or effect; `false`: there was none, and the agent did its next thing.
    pub(super) fn settle_once(&mut self) -> bool {
        if !self.results.is_empty() {
            let outcome = self.results.remove(0);
            self.deliver(outcome);
            return true;
        }
        let Some(effect) = (!self.effects.is_empty()).then(|| self.effects.remove(0)) else {
            self.taken();
            self.agent_acts(false);
            return false;
        };
        match effect {
            Effect::ArmCancel { .. } | Effect::ArmHandshake { .. } | Effect::ArmEnd { .. } => self.timers.push(effect),
            effect => self.resolve(effect, false),
        }
        true
    }
}
