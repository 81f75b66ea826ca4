//! What can be wrong with a call on a workspace.

use serde::{Deserialize, Serialize};

use crate::{engine::EngineError, store::StoreError};

/// What can be wrong with a call on a workspace.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No workspace has this id or name.
    #[error("no workspace has the id or the name `{looked_up}`")]
    NotFound {
        /// What was looked for.
        looked_up: String,
    },
    /// The name belongs to a workspace with another spec.
    #[error("the name `{name}` is taken by workspace {id}, which has another spec: choose another name, or delete it")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// A field's value can't be.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The engine does not have the image.
    #[error("the engine has no image `{image}`: {hint}")]
    ImageMissing {
        /// Which.
        image: String,
        /// The command that makes it.
        hint: String,
    },
    /// The engine can't be reached.
    #[error("the container engine can't be reached: {message}")]
    EngineUnreachable {
        /// Why, and what to do.
        message: String,
    },
    /// The engine refused or failed.
    #[error("the container engine failed: {message}")]
    Engine {
        /// In its words.
        message: String,
    },
    /// tether inside the container did not answer as it should.
    #[error("the workspace's tether failed: {message}")]
    Tether {
        /// In what way.
        message: String,
    },
    /// The repository could not be cloned, or the setup command failed.
    #[error("{message}: `wharf workspaces start` tries again; it wrote: {output}")]
    Setup {
        /// What failed and how.
        message: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A path that leads out of the workspace, that does not exist, or that is of another kind.
    #[error("{message}")]
    Path {
        /// Why it is refused.
        why: PathProblem,
        /// In words.
        message: String,
    },
    /// More than the configuration allows.
    #[error("{what} has more than {limit} bytes, the most that is carried at once")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The most, in bytes.
        limit: u64,
    },
    /// Sessions may not work on the host.
    #[error(
        "host mode is not enabled: the operator sets `enabled = true` in `[host]` of the configuration, and starts the daemon again"
    )]
    HostDisabled,
    /// The host's tether can't be reached.
    #[error("the host's tether can't be reached: {message}")]
    HostAway {
        /// Why, and what to do.
        message: String,
    },
    /// Not for the host.
    #[error("the workspace is the host itself: {message}")]
    NotOnHost {
        /// Why not, and what to do instead.
        message: &'static str,
    },
    /// The workspace is being deleted.
    #[error("workspace {id} is being deleted")]
    Deleting {
        /// Which.
        id: String,
    },
    /// The store could not serve.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a path can't be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathProblem {
    /// It leads out of the workspace: by `..`, by a link, or from the start.
    Outside,
    /// There is nothing.
    NotFound,
    /// It is a directory where a file is needed, a file where a directory is, or neither.
    Kind,
    /// The agents' user may not.
    Denied,
    /// The archive can't be read, or has an entry that can't be.
    Archive,
    /// The disk is full.
    Full,
}

/// What to do where the engine does not have an image.
#[must_use]
pub fn image_hint(image: &str) -> String {
    match image {
        "wharf/demo:latest" => "`make image-demo` builds it".to_owned(),
        "wharf/workspace:latest" => "`make image-workspace` builds it".to_owned(),
        _ if image.starts_with("wharf/") => "`make images` builds it".to_owned(),
        _ => format!("`docker pull {image}` fetches it"),
    }
}

impl From<EngineError> for WorkspaceError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unreachable { message } => Self::EngineUnreachable { message },
            timeout @ EngineError::Timeout { .. } => Self::EngineUnreachable { message: timeout.to_string() },
            EngineError::ImageMissing { image } => Self::image_missing(image),
            other => Self::Engine { message: other.to_string() },
        }
    }
}

impl WorkspaceError {
    /// Names the command that makes the image.
    pub(super) fn image_missing(image: String) -> Self {
        let hint = image_hint(&image);
        Self::ImageMissing { image, hint }
    }

    /// The daemon ends while the call is under way.
    pub(super) fn stopping() -> Self {
        Self::EngineUnreachable { message: "the daemon is stopping: try again when it is back".to_owned() }
    }
}
