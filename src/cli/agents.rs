//! `wharf agents`: the catalogue.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::Ui;
use crate::api::AgentInfo;

/// List the agents
#[derive(Args, Debug)]
pub(super) struct Agents {}

impl Agents {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let Self {} = self;
        let agents: Vec<AgentInfo> = list(client).await?;
        if ui.json {
            ui.document(&json!({"items": agents}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = agents.into_iter().map(|agent| {
            let image = match agent.image_present {
                Some(true) => "present",
                Some(false) => "missing",
                None => "",
            };
            vec![agent.name, agent.protocol, agent.image, image.to_owned(), agent.description.unwrap_or_default()]
        });
        ui.table(&["AGENT", "PROTOCOL", "IMAGE", "", "ABOUT"], rows.collect())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All of them.
pub(super) async fn list(client: &Client) -> Result<Vec<AgentInfo>, super::Failure> {
    let page: crate::domain::Page<AgentInfo> = client.get(&["v1", "agents"], &Query::new()).await?;
    Ok(page.items)
}
