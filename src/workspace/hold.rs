//! Who needs a workspace to go on running, though no session of it does.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::WorkspaceId;

/// How many hold each workspace.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

impl Holds {
    pub(super) fn hold(&self, id: &WorkspaceId) -> Hold {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default() += 1;
        Hold { holds: self.clone(), id: id.clone() }
    }

    pub(super) fn is_held(&self, id: &WorkspaceId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }
}

/// As long as this is there, its workspace is in use: nobody who sweeps the idle ones may stop it.
pub struct Hold {
    holds: Holds,
    id: WorkspaceId,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.id).finish()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = holds.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_lets_go() {
        let (holds, id) = (Holds::default(), WorkspaceId::new());
        let (first, second) = (holds.hold(&id), holds.hold(&id));
        drop(first);
        assert!(holds.is_held(&id));
        drop(second);
        assert!(!holds.is_held(&id) && !holds.is_held(&WorkspaceId::new()));
    }
}
