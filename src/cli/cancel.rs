//! `wharf cancel`: ends the running turn.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::Ui;
use crate::session::Cancelled;

/// End the running turn
///
/// Every process born in it is ended too; this returns when that is so.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// Id, key or the agent's own session id
    session: String,
    /// Withdraw the waiting prompts too
    #[arg(long)]
    queue: bool,
}

impl Cancel {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let query: Query = if self.queue { vec![("queue", "true".to_owned())] } else { Query::new() };
        let path = ["v1", "sessions", &self.session, "cancel"];
        let cancelled: Cancelled = client.call(Method::POST, &path, &query).await?;
        if ui.json {
            ui.document(&cancelled)?;
            return Ok(ExitCode::SUCCESS);
        }
        match &cancelled.turn {
            Some(turn) => ui.line(&format!("{turn} is cancelled"))?,
            None => ui.line("no turn ran")?,
        }
        if !cancelled.withdrawn.is_empty() {
            ui.line(&format!("{} waiting prompts are withdrawn", cancelled.withdrawn.len()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
