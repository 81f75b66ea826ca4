//! `wharf restore`: wakes a session.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::{Ui, name};
use crate::session::SessionView;

/// Wake a session
///
/// Its container is started, or made again, and its agent takes its memory up; this returns when the agent is ready.
#[derive(Args, Debug)]
pub(super) struct Restore {
    /// Id, key or the agent's own session id
    session: String,
}

impl Restore {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let path = ["v1", "sessions", &self.session, "restore"];
        let session: SessionView = client.call(Method::POST, &path, &Query::new()).await?;
        match ui.json {
            true => ui.document(&session)?,
            false => ui.line(&format!("{} is {}", session.id, name(&session.status)))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
