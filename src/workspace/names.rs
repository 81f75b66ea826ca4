//! What a workspace's objects are called in the engine, derived from its id alone.

use std::path::{Path, PathBuf};

use crate::{
    domain::{InstanceId, WorkspaceId},
    engine::{LABEL_INSTANCE, LABEL_WORKSPACE, LabelSet},
};

/// The random end of the id: short, because a socket's path must be.
pub(super) fn short(id: &WorkspaceId) -> &str {
    let text = id.as_str();
    &text[text.len().saturating_sub(12)..]
}

/// The container.
pub(super) fn container(id: &WorkspaceId) -> String {
    format!("wharf-{}", short(id))
}

/// A workspace's persistent volumes.
pub(super) struct Volumes {
    /// The working directory.
    pub(super) work: String,
    /// The agent's home.
    pub(super) home: String,
    /// tether's journal.
    pub(super) tether: String,
}

/// The volumes.
pub(super) fn volumes(id: &WorkspaceId) -> Volumes {
    let name = |what| format!("{}-{what}", container(id));
    Volumes { work: name("work"), home: name("home"), tether: name("tether") }
}

/// The directory of the host that the container's host socket lies in.
pub(super) fn host_dir(run_dir: &Path, id: &WorkspaceId) -> PathBuf {
    run_dir.join(short(id))
}

/// The labels of everything that belongs to the workspace.
pub(super) fn labels(instance: &InstanceId, id: &WorkspaceId) -> LabelSet {
    [(LABEL_INSTANCE, instance.as_str()), (LABEL_WORKSPACE, id.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
