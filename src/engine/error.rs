//! What the engine can answer instead of doing what it was asked, sorted by what the caller can do about it.

use std::{error::Error as StdError, io};

use bollard::errors::Error as Bollard;

/// The most of the engine's own words that is kept.
const MESSAGE_LIMIT: usize = 2048;

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing answers, or the connection broke: whether the call was carried out is not known.
    #[error("{message}")]
    Unreachable {
        /// Why, and what to do.
        message: String,
    },
    /// The container, volume or exec does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The image is not on the engine.
    #[error("the engine has no image `{image}`")]
    ImageMissing {
        /// Which.
        image: String,
    },
    /// The name is taken, or the object is in use.
    #[error("{message}")]
    Conflict {
        /// In the engine's words.
        message: String,
    },
    /// The container does not run.
    #[error("{message}")]
    NotRunning {
        /// In the engine's words.
        message: String,
    },
    /// The container is paused.
    #[error("{message}")]
    Paused {
        /// In the engine's words.
        message: String,
    },
    /// The engine refuses the request as it is: a bad name, a missing bind source, an unknown network.
    #[error("{message}")]
    Invalid {
        /// In the engine's words.
        message: String,
    },
    /// The engine's disk or the volume is full.
    #[error("no space left on the engine's disk: {message}")]
    NoSpace {
        /// In the engine's words.
        message: String,
    },
    /// No answer in time: whether the call was carried out is not known.
    #[error("the engine did not answer in {seconds} s: {what}")]
    Timeout {
        /// The call.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Anything else.
    #[error("{what}: {message}")]
    Other {
        /// The call.
        what: String,
        /// In the engine's words.
        message: String,
    },
}

impl EngineError {
    /// Sorts bollard's error of the call `what`; `endpoint` is named where the engine can't be reached.
    pub(super) fn sort(what: &str, endpoint: &str, error: &Bollard) -> Self {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => Self::answer(what, *status_code, message),
            Bollard::RequestTimeoutError => Self::Timeout { what: what.to_owned(), seconds: 0 },
            Bollard::DockerStreamError { error } => Self::answer(what, 500, error),
            Bollard::HyperLegacyError { .. } | Bollard::HyperResponseError { .. } | Bollard::IOError { .. } => {
                Self::Unreachable { message: unreachable_message(endpoint, error) }
            }
            other => Self::Other { what: what.to_owned(), message: bounded(&other.to_string()) },
        }
    }

    /// Sorts an answer with an error status.
    fn answer(what: &str, status: u16, message: &str) -> Self {
        let message = bounded(message.trim());
        let lower = message.to_ascii_lowercase();
        if lower.contains("no space left on device") || lower.contains("disk quota exceeded") {
            return Self::NoSpace { message };
        }
        if status == 503 || is_of_the_runtime(&lower) {
            return Self::Unreachable { message: format!("the engine's own runtime is away ({message})") };
        }
        match status {
            404 if lower.contains("no such image") => Self::ImageMissing { image: what.to_owned() },
            404 if lower.contains("network") => Self::Invalid { message },
            404 => Self::NotFound { what: what.to_owned() },
            409 | 500 if lower.contains("is paused") || lower.contains("a paused container") => {
                Self::Paused { message }
            }
            409 | 500 if lower.contains("is not running") => Self::NotRunning { message },
            409 => Self::Conflict { message },
            400 => Self::Invalid { message },
            _ => Self::Other { what: what.to_owned(), message },
        }
    }

    /// The text that the engine writes into an exec's stream instead of output.
    pub(super) fn from_exec_text(text: &str) -> Self {
        let message = bounded(text.trim());
        let lower = message.to_ascii_lowercase();
        if lower.contains("executable file not found") || lower.contains("no such file or directory") {
            Self::NotFound { what: format!("the command ({message})") }
        } else if lower.contains("stopped state") || lower.contains("is not running") {
            Self::NotRunning { message }
        } else {
            Self::Other { what: "starting a process in the container".to_owned(), message }
        }
    }

    /// Whether a call that failed so may do better later, with nothing changed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Paused { .. } | Self::NoSpace { .. })
    }
}

/// Whether the engine itself got no answer: from containerd, which ends and comes with it. These are gRPC's words.
fn is_of_the_runtime(lower: &str) -> bool {
    lower.ends_with(": unavailable")
        || lower.contains("transport is closing")
        || lower.contains("connection is closing")
}

/// At most `MESSAGE_LIMIT` bytes, cut between characters.
pub(super) fn bounded(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn unreachable_message(endpoint: &str, error: &(dyn StdError + 'static)) -> String {
    let mut source = Some(error);
    let mut cause = error.to_string();
    while let Some(current) = source {
        cause = current.to_string();
        if let Some(io) = current.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    return format!(
                        "nothing answers at {endpoint}: start the engine (`systemctl start docker`), or name another \
                         with DOCKER_HOST"
                    );
                }
                io::ErrorKind::PermissionDenied => {
                    return format!(
                        "no permission to use {endpoint}: let the daemon run as a member of the group that owns it \
                         (`usermod -aG docker USER`), or as root"
                    );
                }
                _ => {}
            }
        }
        source = current.source();
    }
    format!("the connection to {endpoint} broke ({}): see whether the engine runs", bounded(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        let full = EngineError::answer("x", 500, "write /a: no space left on device");
        assert!(matches!(full, EngineError::NoSpace { .. }));
        let paused = EngineError::answer("x", 409, "Container abc is paused, unpause the container before exec");
        assert!(matches!(paused, EngineError::Paused { .. }) && paused.is_transient());
        let gone = EngineError::answer("container c", 404, "No such container: c");
        assert_eq!(gone, EngineError::NotFound { what: "container c".into() });
        assert!(matches!(EngineError::answer("i:1", 404, "No such image: i:1"), EngineError::ImageMissing { .. }));
        for away in ["transport is closing: unavailable", "grpc: the client connection is closing: unknown"] {
            assert!(EngineError::answer("container c", 500, away).is_transient(), "{away}");
        }
        let network = EngineError::answer("x", 404, "network nope not found");
        assert!(matches!(network, EngineError::Invalid { .. }));
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let cut = bounded(&"ü".repeat(MESSAGE_LIMIT));
        assert!(cut.len() <= MESSAGE_LIMIT && cut.chars().all(|c| c == 'ü'));
        assert_eq!(bounded(&format!("x{}", "ü".repeat(MESSAGE_LIMIT))).len(), MESSAGE_LIMIT - 1);
    }
}
