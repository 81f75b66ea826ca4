//! Follows the engine's events, looks at everything when the engine appears, and finishes what a crash broke off.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    WorkspaceError,
    place::Place,
    shared::{EngineState, Shared, Slot},
    work::Command,
};
use crate::{
    domain::WorkspaceId,
    engine::{Container, EngineError, EngineEvent, LABEL_INSTANCE, LABEL_WORKSPACE},
};

/// How long until a look that failed is taken again.
const AGAIN: Duration = Duration::from_millis(500);
/// Records read at a time.
const PAGE: usize = 256;

/// Until the daemon stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = follow(&shared) => {}
    }
}

async fn follow(shared: &Arc<Shared>) {
    let mut events = shared.engine.events(shared.store.instance());
    let mut unseen = false;
    loop {
        let event = if unseen {
            tokio::select! {
                event = events.next() => Some(event),
                () = tokio::time::sleep(AGAIN) => None,
            }
        } else {
            Some(events.next().await)
        };
        match event {
            Some(EngineEvent::Container { id, workspace, kind, .. }) => {
                if let Ok(workspace) = workspace.parse::<WorkspaceId>()
                    && let Some(slot) = shared.existing_slot(&workspace)
                {
                    slot.commands.send(Command::Happened { container: id, kind }).await.ok();
                }
            }
            Some(EngineEvent::Unreachable(error)) => down(shared, error.to_string()).await,
            Some(EngineEvent::Resync) | None => match look(shared).await {
                Ok(()) => {
                    unseen = false;
                    shared
                        .engine_state
                        .send_if_modified(|state| std::mem::replace(state, EngineState::Up) != EngineState::Up);
                }
                Err(error) => {
                    unseen = true;
                    down(shared, error.to_string()).await;
                }
            },
        }
    }
}

async fn down(shared: &Arc<Shared>, why: String) {
    let new = EngineState::Down(why.clone());
    let changed = shared.engine_state.send_if_modified(|state| std::mem::replace(state, new.clone()) != new);
    if changed {
        tracing::warn!(why, "the engine can't be reached");
        for (_, slot) in containers_of(shared) {
            slot.commands.send(Command::EngineGone(why.clone())).await.ok();
        }
    }
}

/// Compares what the engine has with what is known.
async fn look(shared: &Arc<Shared>) -> Result<(), WorkspaceError> {
    let instance = shared.store.instance().as_str();
    let found = shared.engine.list_containers(&[(LABEL_INSTANCE, instance)]).await?;
    shared.tether.look(&shared.engine).await?;
    let mut containers: HashMap<WorkspaceId, Container> = HashMap::new();
    for container in found {
        let id = container.labels.get(LABEL_WORKSPACE).and_then(|id| id.parse::<WorkspaceId>().ok());
        // What the registry does not know is left for `orphans`.
        if let Some(id) = id
            && shared.store.workspace(&id)?.is_some()
        {
            shared.slot(&id);
            containers.insert(id, container);
        } else if shared.tether.is_left_of_a_filling(&container) {
            // One of an earlier run of this daemon, which died in the middle: it was never started and holds nothing.
            match shared.engine.remove_container(&container.id).await {
                Ok(()) | Err(EngineError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(name = container.name, %error, "what filled tether's volume is left"),
            }
        }
    }
    for (id, slot) in containers_of(shared) {
        slot.commands.send(Command::Seen(containers.remove(&id))).await.ok();
    }
    finish_deletions(shared).await
}

/// What the engine has nothing to say of is left out.
fn containers_of(shared: &Shared) -> impl Iterator<Item = (WorkspaceId, Arc<Slot>)> {
    shared.all_slots().into_iter().filter(|(_, slot)| slot.place == Place::Container)
}

async fn finish_deletions(shared: &Arc<Shared>) -> Result<(), WorkspaceError> {
    let mut before: Option<WorkspaceId> = None;
    loop {
        let page = shared.store.workspaces(before.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        before = Some(last.id.clone());
        for record in page.into_iter().filter(|record| record.deleting && !record.host) {
            let slot = shared.slot(&record.id);
            slot.commands.send(Command::Delete { record: Box::new(record), reply: None }).await.ok();
        }
    }
}
