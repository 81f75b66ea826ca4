//! Why a command failed, for people and for scripts: what, what to do, and the exit code.

use std::process::ExitCode;

use serde_json::json;

use super::ui::Ui;
use crate::api::ProblemBody;
use crate::domain::PromptState;

/// Exit codes; they are part of the interface and documented in the help.
pub(super) mod code {
    pub(in crate::cli) const FAILED: u8 = 1;
    pub(in crate::cli) const USAGE: u8 = 2;
    pub(in crate::cli) const CANCELLED: u8 = 3;
    pub(in crate::cli) const UNKNOWN: u8 = 4;
    pub(in crate::cli) const UNREACHABLE: u8 = 5;
    pub(in crate::cli) const NOT_FOUND: u8 = 6;
    pub(in crate::cli) const ACCESS: u8 = 7;
    pub(in crate::cli) const REFUSED: u8 = 8;
    pub(in crate::cli) const UNAVAILABLE: u8 = 9;
    pub(in crate::cli) const DETACHED: u8 = 130;
    pub(in crate::cli) const BROKEN_PIPE: u8 = 141;
}

/// A failure.
#[derive(Debug)]
pub(super) struct Failure {
    exit: u8,
    message: String,
    hint: Option<String>,
    problem: Option<Box<ProblemBody>>,
}

impl Failure {
    fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, problem: None }
    }

    /// Wrong usage.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(code::USAGE, message)
    }

    /// No daemon answers.
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(code::UNREACHABLE, message)
    }

    /// What is not there.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(code::NOT_FOUND, message)
    }

    /// What fits nowhere else.
    pub(super) fn other(message: impl Into<String>) -> Self {
        Self::new(code::FAILED, message)
    }

    /// What to do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// From an error of the API.
    pub(super) fn problem(problem: ProblemBody) -> Self {
        let exit = match problem.status {
            401 | 403 | 421 => code::ACCESS,
            404 => code::NOT_FOUND,
            409 | 429 => code::REFUSED,
            400..=499 => code::USAGE,
            _ => code::UNAVAILABLE,
        };
        let hint = problem.extra.get("hint").and_then(|hint| hint.as_str());
        let hint = hint.filter(|hint| !problem.detail.contains(*hint)).map(str::to_owned);
        Self { exit, message: problem.detail.clone(), hint, problem: Some(Box::new(problem)) }
    }

    /// Whether the daemon could not be reached or can't serve just now: the same call may work later.
    pub(super) fn passes(&self) -> bool {
        let stopping = self.problem.as_ref().is_some_and(|p| p.code == "stopping");
        self.exit == code::UNREACHABLE || stopping
    }

    /// The API's code, where it came from there.
    pub(super) fn code(&self) -> Option<&str> {
        self.problem.as_ref().map(|p| p.code.as_str())
    }

    /// What is wrong, in one line.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    #[cfg(test)]
    pub(super) const fn exit(&self) -> u8 {
        self.exit
    }

    /// Prints it and gives the exit code.
    pub(super) fn report(&self, ui: &Ui) -> ExitCode {
        if self.exit == code::BROKEN_PIPE {
            return ExitCode::from(self.exit);
        }
        if ui.json {
            let problem = self.problem.as_ref().and_then(|p| serde_json::to_value(p).ok());
            let plain = || json!({"code": "client", "detail": self.message, "hint": self.hint});
            ui.warn(&problem.unwrap_or_else(plain).to_string());
        } else {
            ui.warn(&format!("{} {}", ui.red("error:"), ui.clean(&self.message)));
            if let Some(hint) = &self.hint {
                ui.warn(&format!("  {}", ui.clean(hint)));
            }
        }
        ExitCode::from(self.exit)
    }
}

/// Output that can't be written: nobody reads it any more, or the disk is full.
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        let exit = if e.kind() == std::io::ErrorKind::BrokenPipe { code::BROKEN_PIPE } else { code::FAILED };
        Self::new(exit, format!("cannot read or write: {e}"))
    }
}

/// The exit code of a turn that ended so.
pub(super) const fn turn_code(status: PromptState) -> u8 {
    match status {
        PromptState::Done => 0,
        PromptState::Cancelled => code::CANCELLED,
        PromptState::Unknown => code::UNKNOWN,
        PromptState::Failed | PromptState::Pending | PromptState::Delivered => code::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_tells_the_kind() {
        let exit = |status, code: &str| {
            let problem = ProblemBody {
                kind: String::new(),
                title: String::new(),
                status,
                code: code.to_owned(),
                detail: "d".to_owned(),
                instance: String::new(),
                extra: serde_json::Map::new(),
            };
            Failure::problem(problem)
        };
        assert_eq!(exit(404, "session_not_found").exit(), 6);
        assert_eq!(exit(401, "unauthorized").exit(), 7);
        assert_eq!(exit(409, "session_busy").exit(), 8);
        assert_eq!(exit(422, "unknown_agent").exit(), 2);
        assert_eq!(exit(503, "engine_unreachable").exit(), 9);
        assert!(exit(503, "stopping").passes() && !exit(503, "store_failed").passes());
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).exit(), 141);
    }
}
