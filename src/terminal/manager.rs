//! The manager of terminals: started, found again after a restart of the daemon, looked at, ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use super::screen::{Ended, Screen};
use super::task::{Order, Task};
use super::{NewTerminal, TerminalError, Viewer, start};
use crate::domain::{Timestamp, WorkspaceId, WorkspaceRecord};
use crate::tether::client::{ProcessInfo, TetherClient, TetherError};
use crate::workspace::{Footing, Workspaces};

/// Terminals of a workspace at most.
const MOST_TERMINALS: usize = 32;
/// What begins the id of a terminal's process: agents' begin otherwise.
const PREFIX: &str = "term_";
/// Orders that wait for a terminal's task.
const ORDERS: usize = 16;
/// Between SIGTERM and SIGKILL when a terminal is ended; a shell at its prompt ignores the former.
const GRACE: Duration = Duration::from_millis(300);
/// How long the end of a terminal's output is waited for once nothing of it runs.
const DRAIN: Duration = Duration::from_secs(10);

/// A terminal as clients see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TerminalView {
    /// Its id.
    pub id: String,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Program and arguments; not known of one that an earlier daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// Whether it runs.
    pub running: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// How many look at it.
    pub viewers: usize,
    /// When it was started.
    pub created: Timestamp,
}

/// One terminal, as its task and its viewers share it.
pub(super) struct Terminal {
    pub(super) id: String,
    workspace: WorkspaceId,
    argv: Option<Vec<String>>,
    /// How it had ended before it was found; its screen says so once all its output is there.
    exit: Option<Ended>,
    pub(super) screen: Screen,
    pub(super) orders: mpsc::Sender<Order>,
    told: Notify,
}

impl Terminal {
    /// Somebody was told of its end.
    pub(super) fn told(&self) {
        self.told.notify_one();
    }

    /// Resolves when somebody was.
    pub(super) async fn was_told(&self) {
        self.told.notified().await;
    }

    fn view(&self) -> TerminalView {
        let ended = self.screen.ended().or(self.exit);
        TerminalView {
            id: self.id.clone(),
            workspace: self.workspace.clone(),
            argv: self.argv.clone(),
            running: ended.is_none(),
            ended,
            viewers: self.screen.viewers(),
            created: created(&self.id),
        }
    }
}

type All = HashMap<String, Arc<Terminal>>;

/// All terminals; cheap to clone.
#[derive(Clone)]
pub struct Terminals(Arc<Inner>);

struct Inner {
    workspaces: Workspaces,
    tracker: TaskTracker,
    stop: CancellationToken,
    all: Mutex<All>,
    /// One at a time looks for what an earlier daemon left: attaching twice would detach the first.
    finding: tokio::sync::Mutex<()>,
}

impl Terminals {
    /// None yet; those of an earlier daemon are found when they are asked for.
    #[must_use]
    pub fn new(workspaces: Workspaces, tracker: TaskTracker, stop: CancellationToken) -> Self {
        let (all, finding) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { workspaces, tracker, stop, all, finding }))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, workspace: &WorkspaceId) -> Vec<Arc<Terminal>> {
        let mut found: Vec<_> = self.all().values().filter(|t| t.workspace == *workspace).cloned().collect();
        // An id begins with its time.
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Starts one, and its workspace where that rests.
    ///
    /// # Errors
    /// `Invalid`, `Full`, `StartFailed`, `Workspace`.
    pub async fn create(&self, workspace: &str, new: NewTerminal) -> Result<TerminalView, TerminalError> {
        start::check(&new)?;
        let record = self.0.workspaces.resolve(workspace)?;
        // Nobody may stop it between its start and the first look.
        let _hold = self.0.workspaces.hold(&record.id);
        let client = self.0.workspaces.attach(&record.id).await?;
        let _one = self.0.finding.lock().await;
        self.find(&record.id, &client).await?;
        self.make_room(&record.id)?;
        let id = format!("{PREFIX}{}", uuid::Uuid::now_v7().simple());
        let argv = new.argv.clone();
        let env = self.0.workspaces.process_env(&record)?;
        client.start(start::process(id.clone(), &Footing::of(&client), env, new)).await?;
        let terminal = self.watch(&client, &record.id, id, Some(argv), None).await?;
        Ok(terminal.view())
    }

    /// Those of a workspace, oldest first.
    ///
    /// # Errors
    /// `Workspace`.
    pub async fn list(&self, workspace: &str) -> Result<Vec<TerminalView>, TerminalError> {
        let record = self.0.workspaces.resolve(workspace)?;
        self.look(&record).await?;
        Ok(self.of(&record.id).iter().map(|terminal| terminal.view()).collect())
    }

    /// Looks at one, from where the viewer was before: offsets of its output and of its standard error.
    ///
    /// # Errors
    /// `NotFound`, `Workspace`.
    pub async fn attach(&self, workspace: &str, id: &str, from: [Option<u64>; 2]) -> Result<Viewer, TerminalError> {
        // Before the look: what is held is not stopped while it is looked for.
        let hold = self.0.workspaces.hold(&self.0.workspaces.resolve(workspace)?.id);
        let terminal = self.get(workspace, id).await?;
        Ok(Viewer::new(terminal, from, Box::new(hold)))
    }

    /// Ends one with everything that it started, and proves that nothing of it is left.
    ///
    /// # Errors
    /// `NotFound`, `Workspace`.
    pub async fn end(&self, workspace: &str, id: &str) -> Result<TerminalView, TerminalError> {
        let terminal = self.get(workspace, id).await?;
        if terminal.screen.ended().is_none() {
            let client = self.0.workspaces.attach(&terminal.workspace).await?;
            match client.end(id, false, GRACE).await {
                Ok(_) | Err(TetherError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let mut viewer = Viewer::new(Arc::clone(&terminal), [Some(u64::MAX); 2], Box::new(()));
            let ended = async {
                while let Some(seen) = viewer.next().await
                    && !matches!(seen, super::Seen::Ended(_))
                {}
            };
            // What is gone is gone; only how it ended may be told late.
            let _ = tokio::time::timeout(DRAIN, ended).await;
        }
        terminal.told();
        self.all().remove(id);
        Ok(terminal.view())
    }

    async fn get(&self, workspace: &str, id: &str) -> Result<Arc<Terminal>, TerminalError> {
        let record = self.0.workspaces.resolve(workspace)?;
        let known = || self.all().get(id).filter(|terminal| terminal.workspace == record.id).cloned();
        if let Some(terminal) = known() {
            return Ok(terminal);
        }
        let not_found = || TerminalError::NotFound(id.chars().take(80).collect());
        if !is_id(id) {
            return Err(not_found());
        }
        self.look(&record).await?;
        known().ok_or_else(not_found)
    }

    /// Looks for what an earlier daemon left in a workspace, if that runs.
    async fn look(&self, record: &WorkspaceRecord) -> Result<(), TerminalError> {
        let client = match self.0.workspaces.attached(&record.id) {
            Some(client) => client,
            None if record.deleting || !self.0.workspaces.is_running(&record.id).await? => return Ok(()),
            None => self.0.workspaces.attach(&record.id).await?,
        };
        let _one = self.0.finding.lock().await;
        self.find(&record.id, &client).await
    }

    async fn find(&self, workspace: &WorkspaceId, client: &TetherClient) -> Result<(), TerminalError> {
        for info in client.list().await? {
            if is_id(&info.id) && !self.all().contains_key(&info.id) {
                match self.watch(client, workspace, info.id.clone(), None, Some(info)).await {
                    // It was ended and forgotten meanwhile.
                    Ok(_) | Err(TerminalError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Attaches to a process and gives it its task.
    async fn watch(
        &self,
        client: &TetherClient,
        workspace: &WorkspaceId,
        id: String,
        argv: Option<Vec<String>>,
        found: Option<ProcessInfo>,
    ) -> Result<Arc<Terminal>, TerminalError> {
        let starts = found.as_ref().map_or([0, 0], |info| [info.stdout.start, info.stderr.start]);
        let exit = found.and_then(|info| info.exit);
        let exit = exit.map(|exit| Ended { code: exit.code, signal: exit.signal, lost: exit.lost });
        let attachment = match client.attach(&id, starts[0], starts[1]).await {
            Err(TetherError::NotFound(_)) => return Err(TerminalError::NotFound(id)),
            attached => attached?,
        };
        let (orders, received) = mpsc::channel(ORDERS);
        let (workspace, screen) = (workspace.clone(), Screen::new(starts));
        let terminal =
            Arc::new(Terminal { id: id.clone(), workspace, argv, exit, screen, orders, told: Notify::new() });
        self.all().insert(id.clone(), Arc::clone(&terminal));
        let task = Task::new(client.clone(), Arc::clone(&terminal), received, attachment);
        let this = self.clone();
        self.0.tracker.spawn(async move {
            if task.run(this.0.stop.clone()).await {
                this.all().remove(&id);
            }
        });
        Ok(terminal)
    }

    /// The oldest that has ended goes where there would be too many: who wanted to know has had its time.
    fn make_room(&self, workspace: &WorkspaceId) -> Result<(), TerminalError> {
        let all = self.of(workspace);
        if all.len() < MOST_TERMINALS {
            return Ok(());
        }
        let old = all.iter().find(|terminal| terminal.screen.ended().is_some());
        let old = old.ok_or(TerminalError::Full(all.len()))?;
        old.told();
        self.all().remove(&old.id);
        Ok(())
    }
}

fn is_id(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 32 && uuid::Uuid::try_parse(rest).is_ok())
}

/// When a terminal was started: its id tells.
fn created(id: &str) -> Timestamp {
    let uuid = id.strip_prefix(PREFIX).and_then(|rest| uuid::Uuid::try_parse(rest).ok());
    let (seconds, nanos) = uuid.and_then(|uuid| uuid.get_timestamp()).map_or((0, 0), |time| time.to_unix());
    let millis = seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000));
    Timestamp::from_millis(i64::try_from(millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made() {
        let id = format!("{PREFIX}{}", uuid::Uuid::now_v7().simple());
        assert!(is_id(&id) && !is_id("term_x") && !is_id("agent_1"));
        let age = Timestamp::now().as_millis() - created(&id).as_millis();
        assert!((0..5000).contains(&age), "{age}");
    }
}
