//! Tells at start what an earlier daemon of this store left in the engine (guarantee 11).

use tokio_util::sync::CancellationToken;

use crate::workspace::{EngineState, Workspaces};

/// Looks once, when the engine is first there.
pub(super) async fn report(workspaces: Workspaces, stop: CancellationToken) {
    let mut engine = workspaces.engine_state();
    let look = async {
        engine.wait_for(|state| *state == EngineState::Up).await.ok()?;
        Some(workspaces.orphans().await)
    };
    let found = tokio::select! {
        () = stop.cancelled() => return,
        found = look => found,
    };
    match found {
        Some(Ok(orphans)) => {
            for orphan in orphans.iter().filter(|orphan| !orphan.shared) {
                tracing::warn!(name = orphan.name, kind = ?orphan.kind, "left over; `wharf doctor --fix` removes it");
            }
        }
        Some(Err(e)) => tracing::warn!(error = %e, "what was left over could not be looked for"),
        None => {}
    }
}
