//! `wharf reset`: lets a session's agent begin afresh.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::{Ui, name};
use crate::session::SessionView;

/// Forget the conversation, keep the session
///
/// Its agent is ended, with the turn that runs, and begins afresh at the next prompt. Key, workspace and log stay.
#[derive(Args, Debug)]
pub(super) struct Reset {
    /// Id, key or the agent's own session id
    session: String,
}

impl Reset {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let path = ["v1", "sessions", &self.session, "reset"];
        let session: SessionView = client.call(Method::POST, &path, &Query::new()).await?;
        match ui.json {
            true => ui.document(&session)?,
            false => ui.line(&format!("{} is {}, and its agent begins afresh", session.id, name(&session.status)))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
