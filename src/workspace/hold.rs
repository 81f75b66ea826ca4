//! Uses of a workspace that are no session's turn: a terminal, a transfer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Workspaces;
use crate::domain::WorkspaceId;

/// A use of a workspace, for as long as it lives.
#[derive(Debug)]
pub struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Workspaces {
    /// Says that it is being used, by something that is no session's turn (a terminal, a transfer): whoever stops idle
    /// containers looks at [`is_held`](Self::is_held) first.
    #[must_use]
    pub fn hold(&self, id: &WorkspaceId) -> Hold {
        let holds = Arc::clone(&self.shared.slot(id).holds);
        holds.fetch_add(1, Ordering::AcqRel);
        Hold(holds)
    }

    /// Whether somebody holds it.
    #[must_use]
    pub fn is_held(&self, id: &WorkspaceId) -> bool {
        self.shared.existing_slot(id).is_some_and(|slot| slot.holds.load(Ordering::Acquire) > 0)
    }
}
