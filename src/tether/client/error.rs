//! What can be wrong with a call on tether.

use crate::tether::messages::{Error, ErrorCode};

/// What can be wrong with a call on tether.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TetherError {
    /// No process has this id.
    #[error("{0}")]
    NotFound(String),
    /// The process has ended.
    #[error("{0}")]
    NotRunning(String),
    /// The process has not ended.
    #[error("{0}")]
    Running(String),
    /// The program could not be run.
    #[error("{0}")]
    StartFailed(String),
    /// A value that can't be.
    #[error("{0}")]
    Invalid(String),
    /// Too much waits already.
    #[error("{0}")]
    Full(String),
    /// The stream does not hold this offset.
    #[error("{0}")]
    Offset(String),
    /// Something could not be ended in time; it may still run.
    #[error("{0}")]
    StillRunning(String),
    /// tether could not, for another reason.
    #[error("tether failed: {0}")]
    Failed(String),
    /// The connection broke before the answer, and the call is not one to repeat.
    #[error("the connection to tether broke before the answer")]
    Disconnected,
    /// The container does not run, or the client was stopped.
    #[error("tether can't be reached: {0}")]
    Gone(String),
}

impl From<Error> for TetherError {
    fn from(error: Error) -> Self {
        let message = error.message;
        match error.code {
            ErrorCode::NotFound => Self::NotFound(message),
            ErrorCode::NotRunning => Self::NotRunning(message),
            ErrorCode::Running => Self::Running(message),
            ErrorCode::StartFailed => Self::StartFailed(message),
            ErrorCode::Invalid | ErrorCode::InputGap => Self::Invalid(message),
            ErrorCode::Full => Self::Full(message),
            ErrorCode::Offset => Self::Offset(message),
            ErrorCode::StillRunning => Self::StillRunning(message),
            ErrorCode::Journal | ErrorCode::Unsupported | ErrorCode::Superseded | ErrorCode::Other => {
                Self::Failed(message)
            }
        }
    }
}
