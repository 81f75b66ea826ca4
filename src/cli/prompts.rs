//! `wharf prompts`: a session's queue and its history, and taking back what waits.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::Outcome;
use super::client::{Client, Query};
use super::ui::{Ui, age, cut, name};
use crate::domain::{PromptNumber, PromptRecord, Timestamp};

const WIDTH: usize = 60;

/// List a session's prompts, or withdraw one that waits
#[derive(Args, Debug)]
pub(super) struct Prompts {
    /// Id, key or the agent's own session id
    session: String,
    /// Take this one back, while no agent has it
    #[arg(long, value_name = "N")]
    withdraw: Option<PromptNumber>,
}

impl Prompts {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        if let Some(n) = self.withdraw {
            let path = ["v1", "sessions", &self.session, "prompts", &n.to_string()];
            let record: PromptRecord = client.call(Method::DELETE, &path, &Query::new()).await?;
            match ui.json {
                true => ui.document(&record)?,
                false => ui.line(&format!("prompt {n} is withdrawn"))?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        let prompts: Vec<PromptRecord> =
            client.all(&["v1", "sessions", &self.session, "prompts"], &Query::new()).await?;
        if ui.json {
            ui.document(&json!({ "items": prompts }))?;
        } else if prompts.is_empty() {
            ui.note("there are no prompts yet; `wharf send` makes one");
        } else {
            let now = Timestamp::now();
            let rows = prompts.iter().map(|prompt| row(prompt, now)).collect();
            ui.table(&["N", "STATE", "AGE", "ATTEMPTS", "PROMPT"], rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(prompt: &PromptRecord, now: Timestamp) -> Vec<String> {
    let text = prompt.content.iter().find_map(|block| block["text"].as_str()).unwrap_or_default();
    vec![
        prompt.id.to_string(),
        name(&prompt.state),
        age(prompt.time, now),
        prompt.attempts.to_string(),
        cut(text, WIDTH),
    ]
}
