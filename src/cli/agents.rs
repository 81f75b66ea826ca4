//! `wharf agents`: the catalogue.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::client::Client;
use super::ui::Ui;
use crate::api::{AgentAbilities, AgentInfo, When};

/// List the agents
#[derive(Args, Debug)]
pub(super) struct Agents {
    /// Look into this image instead of each agent's own
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

impl Agents {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let agents: Vec<AgentInfo> = ask(client, self.image).await?;
        if ui.json {
            ui.document(&json!({"items": agents}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = agents.into_iter().map(|agent| {
            let image = match (agent.image_present, agent.in_image) {
                (Some(true), Some(false)) => "not in it",
                (Some(true), _) => "present",
                (Some(false), _) => "missing",
                (None, _) => "",
            };
            let (version, about) = (agent.version.unwrap_or_default(), agent.description.unwrap_or_default());
            vec![agent.name, version, agent.protocol, agent.image, image.to_owned(), can(&agent.can), about]
        });
        ui.table(&["AGENT", "VERSION", "PROTOCOL", "IMAGE", "", "CAN", "ABOUT"], rows.collect())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What it can do for certain, in a few words.
fn can(abilities: &AgentAbilities) -> String {
    let certain = [
        (abilities.resume == Some(true), "resume"),
        (abilities.model == Some(When::AnyTime), "model switch"),
        (abilities.mode == Some(When::AnyTime), "modes"),
        (abilities.permissions == Some(true), "permissions"),
        (abilities.images == Some(true), "images"),
    ];
    let words: Vec<_> = certain.iter().filter(|(can, _)| *can).map(|(_, word)| *word).collect();
    if words.is_empty() { "as it announces".to_owned() } else { words.join(", ") }
}

/// All of them, in their own images.
pub(super) async fn list(client: &Client) -> Result<Vec<AgentInfo>, super::Failure> {
    ask(client, None).await
}

async fn ask(client: &Client, image: Option<String>) -> Result<Vec<AgentInfo>, super::Failure> {
    let query = image.map(|image| ("image", image)).into_iter().collect();
    let page: crate::domain::Page<AgentInfo> = client.get(&["v1", "agents"], &query).await?;
    Ok(page.items)
}
