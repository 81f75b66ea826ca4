//! What this daemon made in the engine and the registry no longer knows (guarantee 11).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    WorkspaceError, host_socket, names,
    shared::{Shared, Slot},
};
use crate::{
    domain::{SessionId, WorkspaceId, WorkspaceStatus},
    engine::{LABEL_INSTANCE, LABEL_TETHER, LABEL_WORKSPACE, LabelSet},
    tether::client::{TetherClient, TetherError},
};

/// How long a workspace's tether has to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// What kind of thing an orphan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrphanKind {
    /// A container.
    Container,
    /// A volume.
    Volume,
    /// A directory for a host socket.
    Directory,
    /// A process in a workspace's container, that no session knows.
    Process,
}

/// Something that nothing belongs to any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// What it is.
    pub kind: OrphanKind,
    /// Its name or path.
    pub name: String,
    /// The workspace that it says it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Whether other daemons of this engine may want it: it is told, and left for the operator to remove.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// Containers first: they hold the volumes.
pub(super) async fn find(shared: &Shared) -> Result<Vec<Orphan>, WorkspaceError> {
    let label = [(LABEL_INSTANCE, shared.store.instance().as_str())];
    let mut orphans = Vec::new();
    for container in shared.engine.list_containers(&label).await? {
        let filling = !container.labels.contains_key(LABEL_WORKSPACE) && shared.tether.is_filling();
        if !filling && !is_known(shared, &container.labels)? {
            orphans.push(orphan(OrphanKind::Container, container.name, &container.labels));
        }
    }
    for volume in shared.engine.list_volumes(&label, false).await? {
        if !is_known(shared, &volume.labels)? {
            orphans.push(orphan(OrphanKind::Volume, volume.name, &volume.labels));
        }
    }
    // Other versions' tether, that no container runs: a daemon that needs it fills it again.
    for volume in shared.engine.list_volumes(&[(LABEL_TETHER, "")], true).await? {
        if volume.name != shared.tether.name() {
            orphans.push(Orphan { shared: true, ..orphan(OrphanKind::Volume, volume.name, &volume.labels) });
        }
    }
    orphans.extend(directories(shared)?);
    for (id, client) in attached(shared) {
        let processes = tokio::time::timeout(PATIENCE, client.list()).await;
        for process in processes.map(Result::unwrap_or_default).unwrap_or_default() {
            if process.running && is_unknown(shared, &id, &process.id)? {
                let workspace = Some(id.to_string());
                orphans.push(Orphan { kind: OrphanKind::Process, name: process.id, workspace, shared: false });
            }
        }
    }
    Ok(orphans)
}

/// The workspaces that there is a connection to, which are all whose sessions are awake.
fn attached(shared: &Shared) -> Vec<(WorkspaceId, TetherClient)> {
    // What is frozen does not answer.
    let thawed = |slot: &Slot| slot.status() != WorkspaceStatus::Paused;
    let slots = shared.all_slots().into_iter().filter(|(_, slot)| thawed(slot));
    slots.filter_map(|(id, slot)| Some((id, slot.client()?))).collect()
}

/// Whether a process has a session's name, and the session does not know it: it is closed, purged, in another workspace,
/// or at its next process. What is recorded is durable before its process is started.
fn is_unknown(shared: &Shared, workspace: &WorkspaceId, process: &str) -> Result<bool, WorkspaceError> {
    let Some((session, number)) = process.rsplit_once("-r") else { return Ok(false) };
    let Ok(id) = session.parse::<SessionId>() else { return Ok(false) };
    match shared.store.session(&id)? {
        Some(record) if record.closed.is_none() && record.workspace == *workspace => {
            let current = shared.store.progress(&id)?.and_then(|progress| progress.process);
            Ok(current.is_none_or(|current| current.id != format!("r{number}")))
        }
        _ => Ok(true),
    }
}

async fn end_process(shared: &Shared, orphan: &Orphan) -> Result<(), WorkspaceError> {
    let id = orphan.workspace.as_deref().and_then(|id| id.parse::<WorkspaceId>().ok());
    let Some(client) = id.and_then(|id| shared.existing_slot(&id)).and_then(|slot| slot.client()) else {
        return Ok(());
    };
    let failed = |message: String| WorkspaceError::Tether { message };
    match tokio::time::timeout(PATIENCE, client.end(&orphan.name, false, GRACE)).await {
        Ok(Ok(_)) => client.forget(&orphan.name).await.map_err(|e| failed(e.to_string())),
        // It went with its container.
        Ok(Err(TetherError::NotFound(_) | TetherError::Gone(_))) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("ending {} took too long", orphan.name))),
    }
}

/// Removes what [`find`] finds and no other daemon can want.
pub(super) async fn remove(shared: &Shared) -> Result<Vec<Orphan>, WorkspaceError> {
    let mut orphans = find(shared).await?;
    orphans.retain(|orphan| !orphan.shared);
    for orphan in &orphans {
        match orphan.kind {
            OrphanKind::Container => shared.engine.remove_container(&orphan.name).await?,
            OrphanKind::Volume => shared.engine.remove_volume(&orphan.name).await?,
            OrphanKind::Process => end_process(shared, orphan).await?,
            OrphanKind::Directory => {
                let path = std::path::PathBuf::from(&orphan.name);
                host_socket::remove(&path).map_err(|e| unreadable(&path, &e))?;
            }
        }
    }
    Ok(orphans)
}

fn orphan(kind: OrphanKind, name: String, labels: &LabelSet) -> Orphan {
    Orphan { kind, name, workspace: labels.get(LABEL_WORKSPACE).cloned(), shared: false }
}

fn is_known(shared: &Shared, labels: &LabelSet) -> Result<bool, WorkspaceError> {
    let id = labels.get(LABEL_WORKSPACE).and_then(|id| id.parse::<WorkspaceId>().ok());
    match id {
        Some(id) => Ok(shared.store.workspace(&id)?.is_some()),
        None => Ok(false),
    }
}

fn directories(shared: &Shared) -> Result<Vec<Orphan>, WorkspaceError> {
    let run_dir = shared.sockets.run_dir();
    let entries = match std::fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(run_dir, &e)),
    };
    let mut known = std::collections::HashSet::new();
    let mut before: Option<WorkspaceId> = None;
    loop {
        let page = shared.store.workspaces(before.as_ref(), 256)?;
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        known.extend(page.iter().map(|record| names::short(&record.id).to_owned()));
    }
    let mut orphans = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Only what has the form of our names.
        let ours = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if ours && !known.contains(&name) {
            let name = entry.path().to_string_lossy().into_owned();
            orphans.push(Orphan { kind: OrphanKind::Directory, name, workspace: None, shared: false });
        }
    }
    Ok(orphans)
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> WorkspaceError {
    WorkspaceError::Engine { message: format!("{}: {error}", path.display()) }
}
