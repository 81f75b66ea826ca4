//! `wharf recreate`: has agents started afresh before their next turns.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::Ui;
use crate::session::Marked;

/// Start agents afresh before their next turn
///
/// Turns that run are left alone, and conversations are taken up again: for agents that are to see new credentials,
/// configuration or tools.
#[derive(Args, Debug)]
pub(super) struct Recreate {
    /// Id, key or the agent's own session id
    #[arg(required_unless_present_any = ["all", "project"])]
    session: Option<String>,
    /// All open sessions
    #[arg(long, conflicts_with_all = ["session", "project"])]
    all: bool,
    /// All open sessions of a project
    #[arg(long, conflicts_with = "session")]
    project: Option<String>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Recreate {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let query = [("project", self.project), ("reason", self.reason)];
        let query: Query = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let path = match &self.session {
            Some(session) => vec!["v1", "sessions", session.as_str(), "recreate"],
            None => vec!["v1", "sessions", "recreate"],
        };
        let marked: Marked = client.call(Method::POST, &path, &query).await?;
        match ui.json {
            true => ui.document(&marked)?,
            false => ui.line(&format!("{} marked: their agents start afresh before the next turn", marked.marked))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
