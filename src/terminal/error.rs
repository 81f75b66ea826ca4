//! What can be wrong with a call on a terminal.

use crate::tether::client::TetherError;
use crate::workspace::WorkspaceError;

/// What can be wrong with a call on a terminal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TerminalError {
    /// No terminal of this workspace has this id.
    #[error("no terminal of this workspace has the id `{0}`")]
    NotFound(String),
    /// A value that can't be.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The workspace has as many as it may have.
    #[error("this workspace has {0} terminals already: end some")]
    Full(usize),
    /// The program could not be run.
    #[error("{0}")]
    StartFailed(String),
    /// It has ended.
    #[error("this terminal has ended")]
    Over,
    /// The workspace could not serve.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl From<TetherError> for TerminalError {
    fn from(error: TetherError) -> Self {
        match error {
            TetherError::StartFailed(why) => Self::StartFailed(why),
            TetherError::Invalid(message) => Self::Invalid { field: "argv", message },
            TetherError::NotRunning(_) => Self::Over,
            other => Self::Workspace(WorkspaceError::Tether { message: other.to_string() }),
        }
    }
}
