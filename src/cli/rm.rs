//! `wharf rm`: closes sessions.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::Ui;
use crate::session::SessionView;

/// Close a session, with --purge drop its log too
///
/// Its agent is stopped; this returns when nothing of it runs any more.
#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Ids, keys or the agents' own session ids
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    /// Drop record and log too
    #[arg(long)]
    purge: bool,
}

impl Rm {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let query: Query = if self.purge { vec![("purge", "true".to_owned())] } else { Query::new() };
        for session in &self.sessions {
            let closed: SessionView = client.call(Method::DELETE, &["v1", "sessions", session], &query).await?;
            match ui.json {
                true => ui.document(&closed)?,
                false => ui.line(closed.id.as_str())?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
