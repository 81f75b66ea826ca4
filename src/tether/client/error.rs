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
    /// What runs in the container speaks another protocol; nothing can be asked of it.
    #[error("tether can't be spoken to: {0}")]
    Unsupported(String),
    /// The container does not run, or the client was stopped.
    #[error("tether can't be reached: {0}")]
    Gone(String),
}

impl From<Error> for TetherError {
    fn from(error: Error) -> Self {
        let message = explained(error.message);
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

/// What the system says of a limit that was reached, with the limit's name: the one who reads it can change that.
pub(super) fn explained(message: String) -> String {
    let limit = if message.contains("(os error 11)") {
        "the workspace's limit of processes (`pids`) is reached"
    } else if message.contains("(os error 12)") {
        "the workspace's memory limit (`memory`) is reached"
    } else if message.contains("(os error 28)") || message.contains("(os error 122)") {
        "the workspace's disk is full"
    } else {
        return message;
    };
    format!("{message}: {limit}")
}

#[cfg(test)]
mod tests {
    use super::explained;

    #[test]
    fn a_limit_is_called_by_its_name() {
        let of = |code| explained(std::io::Error::from_raw_os_error(code).to_string());
        assert!(of(11).contains("`pids`") && of(12).contains("`memory`"), "{} {}", of(11), of(12));
        assert!(of(28).contains("disk is full") && of(122).contains("disk is full"));
        assert_eq!(explained("no".to_owned()), "no");
    }
}
