//! The actor of one live session: owns its state, its adapter and its queue, and is the only one that writes its log.

mod casualty;
mod change;
mod command;
mod commit;
mod effects;
mod feed;
mod launch;
mod mailbox;
mod pace;
mod refusal;
mod rest;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::casualty::Casualty;
use self::effects::Done;
use self::feed::Feed;
pub(super) use self::mailbox::{Command, Handle};
use super::log::SessionLog;
use super::redact::Redactor;
use super::shared::Shared;
use super::state::{Call, Input, State, Step};
use super::{SessionError, content, sealed};
use crate::agent::AgentEntry;
use crate::agent::adapter::{Adapter, Output, StartOptions};
use crate::domain::{EventData, PermissionState, Progress, SessionId, SessionRecord, Timestamp};
use crate::store::StoreError;
use crate::tether::client::TetherClient;
use crate::workspace::{Hold, WorkspaceError, WorkspaceState};

/// How many commands may wait for an actor.
const MAILBOX: usize = 64;

/// The actor of one live session.
pub(super) struct Actor {
    shared: Arc<Shared>,
    id: SessionId,
    record: SessionRecord,
    entry: AgentEntry,
    /// Why the agent can't be used: the configuration does not have it any more.
    absent: Option<SessionError>,
    state: State,
    adapter: Option<Box<dyn Adapter>>,
    log: Arc<SessionLog>,
    commands: mpsc::Receiver<Command>,
    /// What is under way outside of the actor.
    tasks: JoinSet<Done>,
    /// What is to be looked at after a while.
    timers: JoinSet<Done>,
    /// What the clock was last looked at for.
    watch: rest::Watch,
    /// The session's use of its workspace.
    hold: Option<Hold>,
    /// Whether the container is to be stopped once the agent is gone, if nobody else uses it.
    idled: bool,
    /// How the process that is being started was asked for: the launch and the adapter must agree.
    starting: Option<StartOptions>,
    /// The workspace's connection, once woken.
    client: Option<TetherClient>,
    /// What the engine has told of the container.
    casualty: Casualty,
    /// What happens to the workspace's container.
    workspace: watch::Receiver<WorkspaceState>,
    /// The process's output, while attached.
    feed: Option<Feed>,
    /// How fast it may be taken.
    pace: pace::Pace,
    /// Takes secrets out of what the agent says.
    redactor: Redactor,
    /// Up to which number the outbox was handed to the client.
    sent: u64,
    /// The last input that tether refused, as far as that was told.
    refused: u64,
    /// When it was last told that the agent's output waits.
    waited: Option<Duration>,
    /// Consecutive tries to reach an engine that is away.
    retries: u32,
    /// Cancelled once somebody has asked it for something: until then it was only taken up, and waits for its place.
    asked_for: CancellationToken,
    /// Its place among those that are taken up, until its agent is ready or has failed.
    place: Option<OwnedSemaphorePermit>,
    /// When it was last asked for something.
    asked: tokio::time::Instant,
    /// Who waits for what.
    waiters: Vec<waiters::Waiter>,
    /// Why the last wake failed, for who waits for it.
    wake_error: Option<WorkspaceError>,
    /// Whether an own workspace is still being deleted after the close.
    deleting: bool,
}

/// What is read of a session.
struct Loaded {
    record: SessionRecord,
    entry: AgentEntry,
    absent: Option<SessionError>,
    state: State,
    adapter: Option<Box<dyn Adapter>>,
    log: Arc<SessionLog>,
}

impl Actor {
    /// Loads a session and starts its actor as a task of the daemon; `previous` must have ended first.
    pub(super) fn spawn(shared: Arc<Shared>, id: SessionId, previous: Option<Handle>) -> Handle {
        let (sender, commands) = mpsc::channel(MAILBOX);
        let over = CancellationToken::new();
        let over_guard = over.clone().drop_guard();
        let tracker = shared.tracker.clone();
        let actor_id = id.clone();
        tracker.spawn(async move {
            if let Some(previous) = previous {
                previous.over().await;
            }
            Self::live(&shared, &actor_id, commands).await;
            drop(over_guard);
        });
        Handle::new(sender, over)
    }

    /// Lives until it may rest. A step that the store refuses has moved the state, but not the disk: then the session is
    /// taken up again from the disk, as a new daemon would, and whoever asked for the step is told.
    async fn live(shared: &Arc<Shared>, id: &SessionId, mut commands: mpsc::Receiver<Command>) {
        let mut refusals = refusal::Refusals::default();
        loop {
            let (error, left) = match Self::load(shared.clone(), id.clone(), commands) {
                Ok(actor) => match actor.run(refusals.poison()).await {
                    None => return,
                    Some((error, left)) => (SessionError::Store(error), left),
                },
                Err((e, left)) => return mailbox::refuse_all(left, &e).await,
            };
            commands = left;
            if !refusals.again(&error) || shared.store.health().is_err() {
                return mailbox::refuse_all(commands, &error).await;
            }
        }
    }

    fn load(
        shared: Arc<Shared>,
        id: SessionId,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, (SessionError, mpsc::Receiver<Command>)> {
        match Self::read(&shared, &id) {
            Ok(Loaded { record, entry, absent, state, adapter, log }) => Ok(Self {
                absent,
                casualty: Casualty::default(),
                workspace: shared.workspaces.watch(&record.workspace),
                watch: rest::Watch::default(),
                shared,
                id,
                record,
                entry,
                state,
                adapter,
                log,
                commands,
                tasks: JoinSet::new(),
                timers: JoinSet::new(),
                hold: None,
                idled: false,
                starting: None,
                client: None,
                feed: None,
                pace: pace::Pace::default(),
                redactor: Redactor::default(),
                sent: 0,
                refused: 0,
                waited: None,
                retries: 0,
                asked_for: CancellationToken::new(),
                place: None,
                asked: tokio::time::Instant::now(),
                waiters: Vec::new(),
                wake_error: None,
                deleting: false,
            }),
            Err(e) => Err((e, commands)),
        }
    }

    fn read(shared: &Shared, id: &SessionId) -> Result<Loaded, SessionError> {
        let not_found = || SessionError::NotFound { looked_up: id.to_string() };
        let record = shared.store.session(id)?.ok_or_else(not_found)?;
        // The log first: from here on, whoever subscribes sees what this actor writes.
        let log = shared.log(id)?;
        let progress = sealed::open(shared.store.progress(id)?.ok_or_else(not_found)?, &shared.sealer)
            .map_err(|e| SessionError::Failed { id: id.clone(), message: e.to_string() })?;
        let (entry, absent) = match shared.catalogue.get(&record.agent) {
            Some(entry) => (entry.clone(), None),
            None => {
                let message = format!(
                    "the configuration has no agent `{}` any more: add it and restart the daemon, or close the session",
                    record.agent
                );
                (AgentEntry::absent(&record.agent), Some(SessionError::Failed { id: id.clone(), message }))
            }
        };
        let mut pending = BTreeMap::new();
        for permission in shared.store.permissions(id)? {
            if permission.state == PermissionState::Pending {
                pending.insert(permission.id.clone(), permission);
            }
        }
        let adapter = restore(&entry, &progress, id);
        let state = State::new(progress, pending, record.permissions);
        Ok(Loaded { record, entry, absent, state, adapter, log })
    }

    /// What a session that was just loaded begins with.
    fn first(&self, poison: Option<String>) -> Option<Input> {
        let process = self.state.p.process.is_some() && self.state.p.closed.is_none();
        match poison {
            Some(message) => Some(Input::Poisoned { message }),
            // Its process is let work on: the agent may only be missing from the configuration by mistake.
            None if self.absent.is_some() && self.state.p.closed.is_none() => None,
            None if process && self.adapter.is_none() => Some(Input::Unreadable),
            None => Some(Input::Recover),
        }
    }

    /// Serves until the session may rest; else gives back what the store refused, with the commands that are left.
    async fn run(mut self, poison: Option<String>) -> Option<(StoreError, mpsc::Receiver<Command>)> {
        let served = match self.handle(self.first(poison)).await {
            Ok(()) => self.serve().await,
            Err(e) => Err(e),
        };
        let Err(error) = served else {
            self.log.rest();
            mailbox::drain(&mut self.commands).await;
            return None;
        };
        tracing::error!(session = %self.id, %error, "a step of the session could not be written");
        self.log.fail();
        self.refuse_waiters(&SessionError::Store(error.clone()));
        Some((error, self.commands))
    }

    async fn serve(&mut self) -> Result<(), StoreError> {
        let stop = self.shared.stop.clone();
        self.asked = tokio::time::Instant::now();
        loop {
            // Of a closed session nothing more is to come that would want what is in memory.
            let linger = if self.state.p.closed.is_some() { Duration::ZERO } else { self.shared.timeouts.linger };
            let linger_until = self.asked + linger;
            self.observe();
            self.let_go();
            if self.state.is_settled() {
                self.place = None;
            }
            let due = self.due();
            let waited_for = self.waiters.iter().any(|waiter| !waiter.is_abandoned());
            let may_go = self.state.rests() && self.tasks.is_empty() && !waited_for;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                heard = feed::heard(self.feed.as_mut(), self.pace.due()) => {
                    self.process_events(heard).await?;
                    self.between_bursts().await
                }
                Ok(()) = self.workspace.changed() => self.workspace_changed().await,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.done(done).await,
                Some(done) = self.timers.join_next(), if !self.timers.is_empty() => self.done(done).await,
                Some(command) = self.commands.recv() => self.serve_one(command).await,
                () = rest::until(&*self.shared.clock, due) => self.look_at_the_clock().await,
                () = tokio::time::sleep_until(linger_until), if may_go => return Ok(()),
            }?;
        }
    }

    /// Gives everybody else a turn: an agent that never stops talking must not keep a cancel out.
    async fn between_bursts(&mut self) -> Result<(), StoreError> {
        if self.workspace.has_changed().unwrap_or(false) {
            self.workspace_changed().await?;
        }
        if let Some(done) = self.tasks.try_join_next() {
            self.done(done).await?;
        }
        if let Some(done) = self.timers.try_join_next() {
            self.done(done).await?;
        }
        match self.commands.try_recv() {
            Ok(command) => self.serve_one(command).await,
            Err(_) => Ok(()),
        }
    }

    async fn serve_one(&mut self, command: Command) -> Result<(), StoreError> {
        if !matches!(command, Command::Settle { .. }) {
            self.asked_for.cancel();
        }
        self.asked = tokio::time::Instant::now();
        self.watch.active = self.shared.clock.now();
        self.command(command).await
    }

    /// Applies inputs, with the adapter calls that they lead to, as one commit; then does what follows.
    async fn handle(&mut self, inputs: impl IntoIterator<Item = Input>) -> Result<(), StoreError> {
        let mut step = Step::default();
        for input in inputs {
            self.apply(input, &mut step);
        }
        self.finish(step, |_, _| ()).await
    }

    /// Applies one input and, one after another, all adapter calls that follow from it.
    fn apply(&mut self, input: Input, step: &mut Step) {
        let now = Timestamp::now();
        self.state.apply(input, now, step);
        while let Some(call) = step.calls.pop_front() {
            let prompting = matches!(call, Call::Prompt { .. });
            let mut marked = false;
            for output in self.call(call, step) {
                let input = match output {
                    Output::Send(text) => {
                        let mark = prompting && !std::mem::replace(&mut marked, true);
                        Input::Send { text, mark }
                    }
                    other => Input::Agent(self.redactor.output(other)),
                };
                self.state.apply(input, now, step);
            }
        }
    }

    /// Makes one call on the adapter.
    fn call(&mut self, call: Call, step: &mut Step) -> Vec<Output> {
        match call {
            Call::Start { resume } => {
                let mut adapter = self.entry.adapter();
                (self.sent, self.refused) = (0, 0);
                let options = match self.start_options(resume) {
                    Ok(options) => options,
                    Err(e) => return vec![Output::Fatal { message: e.to_string() }],
                };
                let outputs = adapter.start(&self.entry.told(&options));
                self.adapter = Some(adapter);
                self.starting = Some(options);
                outputs
            }
            Call::Prompt { n } => match self.prompt_content(n, step) {
                Ok(content) => {
                    // Each turn is told of what it waits for.
                    self.waited = None;
                    for block in &content {
                        let update = serde_json::json!({ "sessionUpdate": "user_message_chunk", "content": block });
                        if let Ok(raw) = serde_json::value::RawValue::from_string(update.to_string()) {
                            step.events.push((Some(n), EventData::Update(raw)));
                        }
                    }
                    self.adapter.as_mut().map(|a| a.prompt(&content)).unwrap_or_default()
                }
                Err(e) => vec![Output::Fatal { message: e.to_string() }],
            },
            Call::Cancel => self.adapter.as_mut().map(|a| a.cancel()).unwrap_or_default(),
            Call::Answer { id, option_id } => {
                self.adapter.as_mut().map(|a| a.answer_permission(&id, &option_id)).unwrap_or_default()
            }
        }
    }
}

/// The adapter of a process that another daemon started; one that can't be read is as good as none: the process is then
/// ended, and the agent resumed.
fn restore(entry: &AgentEntry, progress: &Progress, id: &SessionId) -> Option<Box<dyn Adapter>> {
    let state = progress.adapter.as_ref()?;
    match entry.restore(state) {
        Ok(adapter) => Some(adapter),
        Err(e) => {
            tracing::error!(session = %id, error = %e, "the adapter's state can't be read");
            None
        }
    }
}

/// Checks a prompt's content; see [`content::blocks`].
pub(super) fn check_content(value: serde_json::Value) -> Result<Vec<serde_json::Value>, SessionError> {
    content::blocks(value)
}
