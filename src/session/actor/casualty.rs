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
/// The same when its container is gone: it is then sure that there is a word to come.
const LATE_OF_AN_END: Duration = Duration::from_millis(1500);
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
            (_, Some(reason)) if ends(state) => self.ended = Some(reason.clone()),
            (WorkspaceStatus::Running, Some(reason)) if state.is_out_of_memory() => {
                self.memory = Some((Instant::now(), reason.clone()));
            }
            _ => {}
        }
    }

    /// Gives the engine a moment to say why a process was killed, or its container ended.
    pub(super) async fn listen(&mut self, event: &ProcessEvent, workspace: &watch::Receiver<WorkspaceState>) {
        let ProcessEvent::Exited { signal, lost, .. } = event else { return };
        let known = if *lost { self.ended.is_some() } else { *signal != Some(KILL) || self.memory().is_some() };
        if known {
            return;
        }
        // A receiver of its own: the session hears of it all the same.
        let mut workspace = workspace.clone();
        let told = async {
            while workspace.changed().await.is_ok() {
                let state = workspace.borrow_and_update().clone();
                if if *lost { ends(&state) } else { state.is_out_of_memory() } {
                    return Some(state);
                }
            }
            None
        };
        let patience = if *lost { LATE_OF_AN_END } else { LATE };
        if let Ok(Some(state)) = timeout(patience, told).await {
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

/// Whether the container ended, with a word why.
fn ends(state: &WorkspaceState) -> bool {
    matches!(state.status, WorkspaceStatus::Stopped | WorkspaceStatus::Absent) && state.reason.is_some()
}
