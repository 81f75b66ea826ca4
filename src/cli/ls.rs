//! `wharf ls`: the sessions.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::client::{Client, Query};
use super::ui::{Ui, age, cut, name};
use super::{Outcome, parse};
use crate::domain::Timestamp;
use crate::session::SessionView;

const SUMMARY: usize = 60;

/// List sessions
#[derive(Args, Debug)]
pub(super) struct Ls {
    /// Closed ones too
    #[arg(long, short)]
    all: bool,
    /// In this workspace, by id or name
    #[arg(long, short, value_name = "ID")]
    workspace: Option<String>,
    /// Of this agent
    #[arg(long)]
    agent: Option<String>,
    /// With this status: starting, idle, running, waiting, interrupted, suspended, error, closed
    #[arg(long, short)]
    status: Option<String>,
    /// With keys of this app
    #[arg(long)]
    app: Option<String>,
    /// Of this client's task
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Of this client's MCP session
    #[arg(long, value_name = "ID")]
    mcp_session: Option<String>,
    /// Of this project
    #[arg(long)]
    project: Option<String>,
    /// With this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Ids only, one a line
    #[arg(long, short)]
    quiet: bool,
}

impl Ls {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let quiet = self.quiet;
        let sessions: Vec<SessionView> = client.all(&["v1", "sessions"], &self.query()).await?;
        if ui.json {
            ui.document(&json!({"items": sessions}))?;
        } else if quiet {
            sessions.iter().try_for_each(|session| ui.line(session.id.as_str()))?;
        } else if sessions.is_empty() {
            ui.note("there are no sessions; `wharf new` makes one");
        } else {
            let now = Timestamp::now();
            let rows = sessions.iter().map(|session| row(session, now)).collect();
            ui.table(&["SESSION", "KEY", "STATUS", "TURNS", "QUEUE", "ACTIVE", "SUMMARY"], rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn query(self) -> Query {
        let mut query = Query::new();
        let named = [
            ("workspace", self.workspace),
            ("agent", self.agent),
            ("status", self.status),
            ("app", self.app),
            ("project", self.project),
            ("task_id", self.task),
            ("mcp_session_id", self.mcp_session),
        ];
        query.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
        query.extend(self.label.into_iter().map(|(key, value)| ("label", format!("{key}={value}"))));
        if self.all {
            query.push(("closed", "true".to_owned()));
        }
        query
    }
}

fn row(session: &SessionView, now: Timestamp) -> Vec<String> {
    vec![
        session.id.to_string(),
        session.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        name(&session.status),
        session.turns.to_string(),
        session.queued.to_string(),
        age(session.updated, now),
        cut(session.summary.as_deref().unwrap_or_default(), SUMMARY),
    ]
}
