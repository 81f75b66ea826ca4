//! What the container had to do with a process's end: the engine tells it by another way than tether, perhaps later.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::domain::WorkspaceStatus;
use crate::tether::client::ProcessEvent;
use crate::workspace::WorkspaceState;

/// How long the engine's word counts for what ends after it.
const FRESH: Duration = Duration::from_secs(2);
/// How long the engine's word is waited for when a process was killed.
const LATE: Duration = Duration::from_millis(500);
const KILL: i32 = 9;

/// What the engine has told of the container since the process began.
#[derive(Debug, Default)]
pub(super) struct Casualty {
    /// Something in it was killed for lack of memory.
    memory: Option<(Instant, String)>,
    /// It ended.
    ended: Option<String>,
}

impl Casualty {
    /// Takes what became of the container.
    pub(super) fn note(&mut self, state: &WorkspaceState) {
        match (state.status, &state.reason) {
            (WorkspaceStatus::Stopped | WorkspaceStatus::Absent, Some(reason)) => self.ended = Some(reason.clone()),
            (WorkspaceStatus::Running, Some(reason)) if state.is_out_of_memory() => {
                self.memory = Some((Instant::now(), reason.clone()));
            }
            _ => {}
        }
    }

    /// Gives the engine a moment to say why a process was killed.
    pub(super) async fn listen(&mut self, event: &ProcessEvent, workspace: &watch::Receiver<WorkspaceState>) {
        if !matches!(event, ProcessEvent::Exited { signal: Some(KILL), lost: false, .. }) || self.memory().is_some() {
            return;
        }
        // A receiver of its own: the session hears of it all the same.
        let mut workspace = workspace.clone();
        let told = async {
            while workspace.changed().await.is_ok() {
                let state = workspace.borrow_and_update().clone();
                if state.is_out_of_memory() {
                    return Some(state);
                }
            }
            None
        };
        if let Ok(Some(state)) = timeout(LATE, told).await {
            self.note(&state);
        }
    }

    fn memory(&self) -> Option<String> {
        self.memory.as_ref().filter(|(when, _)| when.elapsed() < FRESH).map(|(_, reason)| reason.clone())
    }

    /// What the container had to do with such an end.
    pub(super) fn why(&mut self, signal: Option<i32>, lost: bool) -> Option<String> {
        if lost { self.ended.take() } else { self.memory().filter(|_| signal == Some(KILL)) }
    }
}
