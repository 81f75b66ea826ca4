//! `wharf stats`: totals.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::{Ui, bytes};
use crate::api;

/// Show totals: sessions, queue, subscribers, disk use
#[derive(Args, Debug)]
pub(super) struct Stats {
    /// Of this project's sessions
    #[arg(long)]
    project: Option<String>,
    /// As text for Prometheus, which is what /metrics gives
    #[arg(long, conflicts_with = "project")]
    metrics: bool,
}

impl Stats {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        if self.metrics {
            let text = client.text(&["metrics"]).await?;
            ui.line(text.trim_end())?;
            return Ok(ExitCode::SUCCESS);
        }
        let query: Query = self.project.into_iter().map(|project| ("project", project)).collect();
        if ui.json {
            ui.document(&client.get::<serde_json::Value>(&["v1", "stats"], &query).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let stats: api::Stats = client.get(&["v1", "stats"], &query).await?;
        let of = &stats.sessions;
        let list = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let rows = [
            ("sessions", format!("{}, {} of them open", of.total, of.active)),
            ("by status", list(&of.by_status)),
            ("by agent", list(&of.by_agent)),
            ("at work", format!("{} running, {} waiting for a permission, {} in error", of.busy, of.waiting, of.error)),
            ("queue", format!("{} prompts wait", of.queue_depth)),
            ("users' work", format!("{} turns and prompts", of.user_work)),
            ("subscribers", stats.subscribers.to_string()),
            ("store", bytes(stats.disk_use)),
            ("daemon", format!("{}, up for {} s", stats.version, stats.uptime)),
        ];
        ui.table(&["WHAT", "NOW"], rows.into_iter().map(|(what, now)| vec![what.to_owned(), now]).collect())?;
        Ok(ExitCode::SUCCESS)
    }
}
