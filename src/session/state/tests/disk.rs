//! What is durable: a session's progress, its records, and its log, of which the other two must be the sum.

use serde_json::Value;

use super::*;
use crate::domain::PermissionState;

/// What a daemon finds.
pub(super) struct Disk {
    progress: Progress,
    policy: PermissionPolicy,
    permissions: BTreeMap<String, PermissionRecord>,
    prompts: BTreeMap<PromptNumber, PromptState>,
    pub(super) log: Replay,
}

/// What the events alone tell of a session.
#[derive(Debug, Default)]
pub(super) struct Replay {
    status: Option<SessionStatus>,
    error: Option<TurnError>,
    linked: Option<String>,
    process: Option<String>,
    dirty: bool,
    pub(super) closed: bool,
    queue: Vec<PromptNumber>,
    pub(super) running: Option<PromptNumber>,
    turns: u64,
    pub(super) accepted: u64,
    pub(super) ended: BTreeMap<PromptNumber, PromptState>,
    permissions: BTreeMap<String, PermissionState>,
    processes: u64,
    pub(super) events: u64,
}

impl Disk {
    pub(super) fn new(state: &State) -> Self {
        Self {
            progress: state.p.clone(),
            policy: state.policy,
            permissions: BTreeMap::new(),
            prompts: BTreeMap::new(),
            log: Replay::default(),
        }
    }

    /// Writes one commit, as `actor/commit.rs` does, and checks that its parts say the same.
    pub(super) fn write(&mut self, state: &State, step: &Step) {
        for (n, change) in &step.prompts {
            match change {
                PromptChange::New(record) => {
                    assert!(self.prompts.insert(*n, record.state).is_none(), "prompt {n} twice");
                }
                PromptChange::Delivered => self.prompt(*n, PromptState::Delivered),
                PromptChange::Pending => self.prompt(*n, PromptState::Pending),
                PromptChange::Ended(outcome) => self.prompt(*n, outcome.status),
                PromptChange::Dropped => {
                    let was = self.prompts.remove(n);
                    assert!(was.is_some_and(PromptState::is_final), "{was:?} is dropped");
                }
            }
        }
        for record in &step.permissions {
            self.permissions.insert(record.id.clone(), record.clone());
        }
        self.policy = state.policy;
        for (_, event) in &step.events {
            self.log.take(event);
        }
        for (n, _) in step.prompts.iter().filter(|(_, change)| *change == PromptChange::Pending) {
            self.log.give_back(*n);
        }
        self.progress.clone_from(&state.p);
        self.check(state);
    }

    fn prompt(&mut self, n: PromptNumber, state: PromptState) {
        let before = self.prompts.insert(n, state).expect("a prompt that was accepted");
        assert!(!before.is_final(), "prompt {n} is {state:?} after {before:?}");
    }

    /// What a new daemon begins with.
    pub(super) fn load(&self) -> State {
        let text = serde_json::to_string(&self.progress).expect("progress is JSON");
        let pending = self.pending().map(|(id, record)| (id.clone(), record.clone())).collect();
        State::new(serde_json::from_str(&text).expect("progress"), pending, self.policy)
    }

    fn pending(&self) -> impl Iterator<Item = (&String, &PermissionRecord)> {
        self.permissions.iter().filter(|(_, record)| record.state == PermissionState::Pending)
    }

    /// Records, progress and log are of one mind.
    fn check(&self, state: &State) {
        let (p, log) = (&state.p, &self.log);
        assert!(self.pending().eq(&state.pending), "the pending permissions: {:?}", state.pending);
        for (n, record) in &self.prompts {
            let told = log.ended.get(n).copied();
            let expected = if p.queue.contains(n) { PromptState::Pending } else { PromptState::Delivered };
            assert_eq!(*record, told.unwrap_or(expected), "prompt {n}");
            let running = p.turn.as_ref().is_some_and(|turn| turn.prompt == *n);
            assert_eq!((*record == PromptState::Delivered), running, "prompt {n}: {record:?}");
        }
        for (id, record) in &self.permissions {
            assert_eq!(log.permissions.get(id), Some(&record.state), "permission {id}");
            let over = record.prompt.is_some_and(|n| log.ended.contains_key(&n));
            assert!(!over || record.state != PermissionState::Pending, "permission {id} outlives its turn: {p:?}");
        }
        assert!(p.process.is_some() || state.pending.is_empty(), "nobody waits for {:?}", state.pending);
        assert_eq!(log.queue, p.queue, "the queue");
        assert_eq!(log.running, p.turn.as_ref().map(|turn| turn.prompt), "the turn");
        assert_eq!(log.turns, p.spent.turns, "the turns");
        assert_eq!((log.accepted, log.processes <= p.runs), (p.last_prompt, true), "numbers");
        assert_eq!((&log.linked, log.dirty, log.closed), (&p.agent_session_id, p.dirty.is_some(), p.closed.is_some()));
        assert_eq!(log.status.unwrap_or(SessionStatus::Suspended), p.status, "the status");
        if p.status == SessionStatus::Error {
            assert_eq!(log.error, p.error, "why it is in error");
        }
        if !log.closed {
            let told = p.process.as_ref().filter(|process| process.told).map(|process| &process.id);
            assert_eq!(log.process.as_ref(), told, "the process");
        }
        assert!(
            p.process.as_ref().is_none_or(|process| process.told || process.stdout == 0),
            "heard, and never told of"
        );
    }
}

impl Replay {
    fn take(&mut self, event: &EventData) {
        assert!(!self.closed, "an event after session.closed: {event:?}");
        self.events += 1;
        match event {
            EventData::SessionStatus { status, error } => {
                (self.status, self.error) = (Some(*status), error.clone());
            }
            EventData::SessionLinked { agent_session_id } => self.linked = Some(agent_session_id.clone()),
            EventData::SessionReset {} => self.linked = None,
            EventData::SessionChanged { fields } => {
                self.dirty = fields.get("dirty").and_then(Value::as_bool).unwrap_or(self.dirty);
            }
            EventData::SessionClosed {} => self.closed = true,
            EventData::PromptQueued { prompt, position } => {
                self.accepted += 1;
                assert_eq!(*prompt, self.accepted, "numbers have no gap");
                self.queue.insert(position - usize::from(self.running.is_some()), *prompt);
            }
            EventData::TurnStarted { prompt } => {
                assert_eq!(self.running, None, "two turns at once");
                assert_eq!(self.queue.remove(0), *prompt, "out of order");
                self.running = Some(*prompt);
            }
            EventData::TurnEnded { prompt, status, .. } => {
                assert!(status.is_final() && *prompt <= self.accepted);
                assert!(self.ended.insert(*prompt, *status).is_none(), "prompt {prompt} ended twice");
                let ran = self.running.take_if(|running| running == prompt).is_some();
                self.turns += u64::from(ran);
                self.queue.retain(|queued| queued != prompt);
            }
            EventData::PermissionRequested { id, .. } => {
                let before = self.permissions.insert(id.clone(), PermissionState::Pending);
                assert_eq!(before, None, "permission {id} was asked for twice");
            }
            EventData::PermissionResolved { id, option_id, .. } => {
                let state = if option_id.is_some() { PermissionState::Answered } else { PermissionState::Withdrawn };
                let before = self.permissions.insert(id.clone(), state);
                assert_eq!(before, Some(PermissionState::Pending), "permission {id} was resolved before");
            }
            EventData::AgentStarted { process, .. } => {
                assert_eq!(self.process.replace(process.clone()), None, "two agents");
                self.processes += 1;
            }
            EventData::AgentExited { process, .. } => {
                let told = self.process.take();
                assert!(told.as_ref().is_none_or(|told| told == process), "{process} ended, not {told:?}");
            }
            _ => {}
        }
    }

    /// A prompt that its agent did not take waits again: that alone is no event of its own.
    fn give_back(&mut self, n: PromptNumber) {
        if self.running.take_if(|running| *running == n).is_some() {
            self.queue.insert(0, n);
        }
    }
}
