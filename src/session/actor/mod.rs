//! The actor of one live session: owns its state, its adapter and its queue, and is the only one that writes its log.

mod change;
mod command;
mod commit;
mod effects;
mod feed;
mod launch;
mod mailbox;
mod rest;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
use crate::tether::client::{ProcessEvent, TetherClient};
use crate::workspace::{Hold, WorkspaceError, WorkspaceState};

/// How many commands may wait for an actor.
const MAILBOX: usize = 64;

/// The actor of one live session.
pub(super) struct Actor {
    shared: Arc<Shared>,
    id: SessionId,
    record: SessionRecord,
    entry: AgentEntry,
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
    /// What happens to the workspace's container.
    workspace: watch::Receiver<WorkspaceState>,
    /// The process's output, while attached.
    feed: Option<Feed>,
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
    /// Who waits for what.
    waiters: Vec<waiters::Waiter>,
    /// Why the last wake failed, for who waits for it.
    wake_error: Option<WorkspaceError>,
    /// Whether an own workspace is still being deleted after the close.
    deleting: bool,
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
            match Self::load(shared, actor_id.clone(), commands) {
                Ok(actor) => actor.run().await,
                Err((e, commands)) => mailbox::refuse_all(commands, &e).await,
            }
            drop(over_guard);
        });
        Handle::new(sender, over)
    }

    fn load(
        shared: Arc<Shared>,
        id: SessionId,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, (SessionError, mpsc::Receiver<Command>)> {
        match Self::read(&shared, &id) {
            Ok((record, entry, state, adapter, log)) => Ok(Self {
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
                redactor: Redactor::default(),
                sent: 0,
                refused: 0,
                waited: None,
                retries: 0,
                waiters: Vec::new(),
                wake_error: None,
                deleting: false,
            }),
            Err(e) => Err((e, commands)),
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of an actor, named by the only caller")]
    fn read(
        shared: &Shared,
        id: &SessionId,
    ) -> Result<(SessionRecord, AgentEntry, State, Option<Box<dyn Adapter>>, Arc<SessionLog>), SessionError> {
        let not_found = || SessionError::NotFound { looked_up: id.to_string() };
        let record = shared.store.session(id)?.ok_or_else(not_found)?;
        // The log first: from here on, whoever subscribes sees what this actor writes.
        let log = shared.log(id)?;
        let progress = sealed::open(shared.store.progress(id)?.ok_or_else(not_found)?, &shared.sealer)?;
        let entry = shared.catalogue.get(&record.agent).cloned().ok_or_else(|| SessionError::UnknownAgent {
            name: record.agent.clone(),
            known: shared.catalogue.names().map(str::to_owned).collect(),
        })?;
        let mut pending = BTreeMap::new();
        for permission in shared.store.permissions(id)? {
            if permission.state == PermissionState::Pending {
                pending.insert(permission.id.clone(), permission);
            }
        }
        let adapter = restore(&entry, &progress, id);
        let state = State::new(progress, pending, record.permissions);
        Ok((record, entry, state, adapter, log))
    }

    async fn run(mut self) {
        let stop = self.shared.stop.clone();
        if self.handle([Input::Recover]).await.is_err() {
            return;
        }
        let mut last = tokio::time::Instant::now();
        loop {
            // Of a closed session nothing more is to come that would want what is in memory.
            let linger = if self.state.p.closed.is_some() { Duration::ZERO } else { self.shared.timeouts.linger };
            let linger_until = last + linger;
            self.observe();
            self.let_go();
            let due = self.due();
            let may_go = self.state.rests() && self.tasks.is_empty() && self.waiters.is_empty();
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = next_event(&mut self.feed) => self.process_events(event).await,
                Ok(()) = self.workspace.changed() => self.workspace_changed().await,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.done(done).await,
                Some(done) = self.timers.join_next(), if !self.timers.is_empty() => self.done(done).await,
                Some(command) = self.commands.recv() => {
                    last = tokio::time::Instant::now();
                    self.watch.active = self.shared.clock.now();
                    self.command(command).await
                }
                () = rest::until(&*self.shared.clock, due) => self.look_at_the_clock().await,
                () = tokio::time::sleep_until(linger_until), if may_go => break,
            };
            if let Err(e) = turn {
                // The store has failed: nothing more can be acknowledged, and the daemon says so on /readyz.
                tracing::error!(session = %self.id, error = %e, "the session stops, because its log can't be written");
                break;
            }
        }
        self.log.rest();
        mailbox::drain(&mut self.commands).await;
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

async fn next_event(feed: &mut Option<Feed>) -> Option<ProcessEvent> {
    match feed {
        Some(feed) => feed.events.recv().await,
        None => std::future::pending().await,
    }
}

/// Checks a prompt's content; see [`content::blocks`].
pub(super) fn check_content(value: serde_json::Value) -> Result<Vec<serde_json::Value>, SessionError> {
    content::blocks(value)
}
