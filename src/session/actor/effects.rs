//! What follows a durable commit: calls on the workspace and on tether, each a task of the actor.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;

use super::Actor;
use super::casualty::Casualty;
use super::feed::Feed;
use crate::agent::Secrets;
use crate::crash::point;
use crate::domain::{PromptNumber, SessionId, SessionRecord, WorkspaceStatus};
use crate::session::SessionError;
use crate::session::state::{Effect, Input, Link};
use crate::store::StoreError;
use crate::tether::client::{Attachment, TetherClient, TetherError};
use crate::workspace::{EngineState, Footing, WorkspaceError, WorkspaceState};

/// The shortest and the longest wait between two tries to reach an engine that is away.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What a task came back with.
pub(super) enum Done {
    /// Something for the state machine.
    Input(Input),
    /// The workspace was asked for.
    Woken(Result<Option<TetherClient>, WorkspaceError>, Option<OwnedSemaphorePermit>),
    /// The process was asked for; the flag tells whether it was started by this; and what nobody is to see of it.
    Attached(Result<Attachment, TetherError>, Option<bool>, Secrets),
    /// The own workspace was deleted.
    Deleted(Result<(), WorkspaceError>),
    /// What tether refused is to be given again.
    Again,
    /// Nothing to tell.
    Nothing,
}

impl Actor {
    /// Starts what the effects ask for.
    pub(super) async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Wake { only_if_running } => self.wake_workspace(only_if_running),
                Effect::RetryLater => {
                    self.retries = (self.retries + 1).min(10);
                    let wait = Duration::from_millis(250 << self.retries.min(6)).min(RETRY_MAX);
                    self.when_the_engine_is_back(wait);
                }
                Effect::Start { process } => self.start_process(process),
                Effect::Attach { process } => self.attach_process(process),
                Effect::Flush => self.flush().await,
                Effect::Sweep { process } => self.sweep(process),
                Effect::End { process, force } => self.end_process(process, force),
                Effect::Forget { process } => self.forget(process),
                Effect::ArmCancel { n } => self.arm_cancel(n),
                Effect::ArmEnd { process } => {
                    let message = "its start did not come to an end".to_owned();
                    self.after(self.shared.timeouts.patience, Input::EndFailed { process, message });
                }
                Effect::ArmHandshake { process } => {
                    self.after(self.shared.timeouts.handshake, Input::HandshakeTimeout { process });
                }
                Effect::Closed => self.closed(),
            }
        }
    }

    /// Takes a task's result.
    pub(super) async fn done(&mut self, done: Result<Done, JoinError>) -> Result<(), StoreError> {
        let done = match done {
            Ok(done) => done,
            Err(e) if e.is_cancelled() => Done::Nothing,
            Err(e) => {
                tracing::error!(session = %self.id, error = %e, "a task of the session panicked");
                (self.feed, self.client) = (None, None);
                if !self.deleting {
                    // A start that is under way must not come after the end that the next request asks for: its process
                    // would be nobody's, beside its successor.
                    self.tasks.abort_all();
                }
                let message = "an internal error, see the daemon's log: restore the session to try again";
                Done::Input(Input::Broken { message: message.to_owned() })
            }
        };
        match done {
            Done::Nothing => Ok(()),
            Done::Again => {
                self.flush().await;
                Ok(())
            }
            Done::Input(input) => self.handle([input]).await,
            Done::Woken(Ok(Some(client)), place) => {
                self.place = place;
                self.retries = 0;
                self.client = Some(client);
                self.handle([Input::WorkspaceUp]).await
            }
            Done::Woken(Ok(None), _) => self.handle([Input::WorkspaceDown]).await,
            Done::Woken(Err(e), _) => {
                let retry = matches!(e, WorkspaceError::EngineUnreachable { .. } | WorkspaceError::HostAway { .. });
                let message = e.to_string();
                self.wake_error = Some(e);
                self.handle([Input::WakeFailed { message, retry }]).await
            }
            Done::Attached(result, started, secrets) => {
                self.redactor.add(&secrets);
                self.attached(result, started).await
            }
            Done::Deleted(result) => {
                self.deleting = false;
                if let Err(e) = result {
                    tracing::warn!(session = %self.id, error = %e, "the session's own workspace is left; it is deleted at the next start");
                }
                self.wake_waiters();
                Ok(())
            }
        }
    }

    async fn attached(
        &mut self,
        result: Result<Attachment, TetherError>,
        started: Option<bool>,
    ) -> Result<(), StoreError> {
        match (result, started, self.state.p.process.as_ref()) {
            // Nobody waits for it any more.
            (Ok(_), ..) if self.state.link != Link::Starting => Ok(()),
            (Ok(attachment), started, Some(process)) => {
                self.feed = Some(Feed::new(process, attachment.events));
                let input = match started {
                    Some(resumed) => Input::Started { resumed },
                    None => {
                        (self.sent, self.refused) = (attachment.last_input, 0);
                        Input::Attached { last_input: attachment.last_input }
                    }
                };
                self.handle([input]).await
            }
            (Err(TetherError::NotFound(_)), None, _) => self.handle([Input::ProcessUnknown]).await,
            (Err(TetherError::Gone(reason)), ..) => {
                self.client = None;
                self.handle([Input::Detached { reason }]).await
            }
            (Err(e), None, _) => {
                self.client = None;
                self.handle([Input::Detached { reason: e.to_string() }]).await
            }
            (Err(e), Some(_), _) => self.handle([Input::StartFailed { message: e.to_string() }]).await,
            (Ok(_), _, None) => Ok(()),
        }
    }

    /// Tells the session's subscribers what became of the container.
    pub(super) async fn workspace_changed(&mut self) -> Result<(), StoreError> {
        let state = self.workspace.borrow_and_update().clone();
        self.casualty.note(&state);
        let WorkspaceState { status, reason } = state;
        let workspace = self.record.workspace.clone();
        self.handle([Input::WorkspaceChanged { workspace, status, reason }]).await
    }

    /// Tries again after `wait`, or as soon as the engine is seen again; never at once, as what is seen may be old.
    fn when_the_engine_is_back(&mut self, wait: Duration) {
        let mut engine = self.shared.workspaces.engine_state();
        // Nobody tells when the host's tether comes.
        let on_host = self.shared.workspaces.is_host(&self.record.workspace);
        self.tasks.spawn(async move {
            tokio::time::sleep(RETRY_MIN.min(wait)).await;
            let back = engine.wait_for(|state| *state == EngineState::Up && !on_host);
            let _ = tokio::time::timeout(wait.saturating_sub(RETRY_MIN), back).await;
            Done::Input(Input::RetryWake)
        });
    }

    fn after(&mut self, wait: Duration, input: Input) {
        self.timers.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::Input(input)
        });
    }

    fn wake_workspace(&mut self, only_if_running: bool) {
        let (workspaces, id) = (self.shared.workspaces.clone(), self.record.workspace.clone());
        self.wake_error = None;
        self.use_workspace();
        let (shared, asked) = (self.shared.clone(), self.asked_for.clone());
        self.tasks.spawn(async move {
            let place = tokio::select! {
                biased;
                () = asked.cancelled() => None,
                place = shared.recoveries.clone().acquire_owned() => place.ok(),
            };
            // A start of the daemon wakes its sessions in turn, not all at once.
            // The host waits for no engine, and so not for those that do.
            let _permit = if workspaces.is_host(&id) { None } else { shared.wakes.acquire().await.ok() };
            point("workspace-asked");
            if only_if_running && !workspaces.is_running(&id).await.unwrap_or(false) {
                return Done::Woken(Ok(None), None);
            }
            Done::Woken(workspaces.attach(&id).await.map(Some), place)
        });
    }

    /// A process's name in tether: unique among all sessions of a workspace.
    pub(super) fn tether_id(&self, process: &str) -> String {
        format!("{}-{process}", self.id)
    }

    fn start_process(&mut self, process: String) {
        self.casualty = Casualty::default();
        let Some(client) = self.client.clone() else { return };
        let resumed = self.state.p.agent_session_id.is_some();
        let options = self.starting.clone().ok_or(SessionError::Stopping);
        let start = match options.and_then(|options| self.start(&process, options)) {
            Ok(start) => start,
            Err(e) => {
                let message = e.to_string();
                self.tasks.spawn(async move { Done::Input(Input::StartFailed { message }) });
                return;
            }
        };
        self.forget_left(client.clone(), self.tether_id(&process));
        self.tasks.spawn(async move {
            let failed = |message| Done::Input(Input::StartFailed { message });
            let footing = Footing::of(&client);
            let (request, secrets) = match tokio::task::spawn_blocking(move || start.finish(&footing)).await {
                Ok(Ok(ready)) => ready,
                Ok(Err(why)) => return failed(format!("{why}; then restore the session")),
                Err(e) => return failed(format!("an internal error: {e}")),
            };
            let id = request.id.clone();
            let attached = match client.start(request).await {
                Ok(()) => {
                    point("process-started");
                    client.attach(&id, 0, 0).await
                }
                Err(e) => Err(e),
            };
            Done::Attached(attached, Some(resumed), secrets)
        });
    }

    fn attach_process(&mut self, process: String) {
        let (Some(client), Some(progress)) = (self.client.clone(), &self.state.p.process) else { return };
        let (id, stdout, stderr) = (self.tether_id(&process), progress.stdout, progress.stderr);
        let start = self.start_options(None).and_then(|options| self.start(&process, options));
        self.tasks.spawn(async move {
            let secrets = match start {
                Ok(start) => tokio::task::spawn_blocking(move || start.secrets()).await.unwrap_or_default(),
                // What the process was started with can't be known any more; its next start tells why.
                Err(_) => Secrets::default(),
            };
            Done::Attached(client.attach(&id, stdout, stderr).await, None, secrets)
        });
    }

    /// Nothing that is frozen takes an input: whoever froze it has it thawed by being used.
    fn thaw_workspace(&mut self) {
        if self.workspace.borrow().status != WorkspaceStatus::Paused {
            return;
        }
        let (workspaces, id) = (self.shared.workspaces.clone(), self.record.workspace.clone());
        self.tasks.spawn(async move {
            if let Err(error) = workspaces.attach(&id).await {
                tracing::warn!(workspace = %id, %error, "a paused container could not be thawed");
            }
            Done::Nothing
        });
    }

    /// Hands what the outbox holds to the client, which resends it until tether has taken it.
    async fn flush(&mut self) {
        let Some(client) = self.client.clone() else { return };
        let Some(process) = &self.state.p.process else { return };
        let id = self.tether_id(&process.id);
        for entry in process.outbox.clone() {
            if entry.n <= self.sent {
                continue;
            }
            self.thaw_workspace();
            self.sent = entry.n;
            let sent = client.input(&id, entry.n, entry.mark, bytes::Bytes::from(entry.text));
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                sent = sent => if let Err(e) = sent {
                    // The attachment tells what became of the process; the outbox keeps the input.
                    tracing::warn!(session = %self.id, n = entry.n, error = %e, "an input could not be sent");
                },
            }
            point("input-handed-over");
        }
    }

    fn sweep(&mut self, process: String) {
        let Some(client) = self.client.clone() else { return };
        let (id, grace, patience) =
            (self.tether_id(&process), self.shared.timeouts.kill_grace, self.shared.timeouts.patience);
        self.tasks.spawn(async move {
            match tokio::time::timeout(patience, client.end(&id, true, grace)).await {
                Ok(Ok(_) | Err(TetherError::NotFound(_))) => Done::Input(Input::Swept { process }),
                // The attachment tells the same, and what follows from it.
                Ok(Err(TetherError::Gone(_) | TetherError::Unsupported(_))) => Done::Nothing,
                Ok(Err(e)) => Done::Input(Input::SweepFailed { process, message: e.to_string() }),
                Err(_) => Done::Input(Input::SweepFailed { process, message: "tether did not answer".into() }),
            }
        });
    }

    fn end_process(&mut self, process: String, attached: bool) {
        let id = self.tether_id(&process);
        if !attached {
            self.use_workspace();
        }
        let (grace, patience) = (self.shared.timeouts.kill_grace, self.shared.timeouts.patience);
        let (workspaces, workspace) = (self.shared.workspaces.clone(), self.record.workspace.clone());
        let client = self.client.clone().filter(|_| attached);
        self.tasks.spawn(async move {
            let end = async {
                let client = match client {
                    Some(client) => client,
                    None if workspaces.is_running(&workspace).await? => workspaces.attach(&workspace).await?,
                    None => return Ok(()),
                };
                match client.end(&id, false, grace).await {
                    Ok(_) | Err(TetherError::NotFound(_) | TetherError::Gone(_)) => Ok(()),
                    Err(e) => Err(WorkspaceError::Tether { message: e.to_string() }),
                }
            };
            Done::Input(match tokio::time::timeout(patience, end).await {
                Ok(Ok(()) | Err(WorkspaceError::NotFound { .. } | WorkspaceError::Deleting { .. })) => {
                    Input::Ended { process }
                }
                Ok(Err(e)) => Input::EndFailed { process, message: e.to_string() },
                Err(_) => Input::EndFailed { process, message: "the workspace did not answer".into() },
            })
        });
    }

    fn forget(&mut self, process: String) {
        let Some(client) = self.client.clone() else { return };
        let id = self.tether_id(&process);
        self.tasks.spawn(async move {
            // What can't be forgotten now costs disk until the next start of a process.
            if let Err(e) = client.forget(&id).await {
                tracing::debug!(process = id, error = %e, "a journal is left");
            }
            Done::Nothing
        });
    }

    /// Lets go of the journals of processes that ended with their container, when nobody was there to forget them:
    /// earlier ones of this session, and those of closed sessions.
    fn forget_left(&mut self, client: TetherClient, current: String) {
        let (store, own) = (self.shared.store.clone(), self.id.clone());
        self.tasks.spawn(async move {
            let is_left = |id: &str| {
                let Some(session) = id.rsplit_once("-r").and_then(|(session, _)| session.parse::<SessionId>().ok())
                else {
                    return false;
                };
                let over = || matches!(store.session(&session), Ok(None | Some(SessionRecord { closed: Some(_), .. })));
                id != current && (session == own || over())
            };
            for process in client.list().await.unwrap_or_default() {
                if !process.running && is_left(&process.id) {
                    // What can't be forgotten now is found again at the next start.
                    client.forget(&process.id).await.ok();
                }
            }
            Done::Nothing
        });
    }

    fn arm_cancel(&mut self, n: PromptNumber) {
        self.after(self.shared.timeouts.cancel_grace, Input::CancelTimeout { n });
    }

    fn closed(&mut self) {
        let (workspaces, id, own) = (self.shared.workspaces.clone(), self.record.workspace.clone(), self.id.clone());
        let ephemeral = matches!(self.shared.store.workspace(&id), Ok(Some(w)) if w.ephemeral_of == Some(own));
        if ephemeral {
            self.deleting = true;
            self.tasks.spawn(async move { Done::Deleted(workspaces.delete(&id).await) });
        }
    }
}
