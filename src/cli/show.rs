//! `wharf show` and `wharf set`: one session, and the fields of it that can be changed.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Client, Query};
use super::failure::Failure;
use super::new::Policy;
use super::ui::Ui;
use super::{Outcome, parse};

/// Print one session
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Id, key or the agent's own session id
    session: String,
}

impl Show {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let session: Value = client.get(&["v1", "sessions", &self.session], &Query::new()).await?;
        ui.document(&session)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Change a session's fields; what is not named stays
#[derive(Args, Debug)]
pub(super) struct Set {
    /// Id, key or the agent's own session id
    session: String,
    /// The model
    #[arg(long, short)]
    model: Option<String>,
    /// The mode
    #[arg(long)]
    mode: Option<String>,
    /// What happens when the agent asks for a permission
    #[arg(long, short, value_enum)]
    permissions: Option<Policy>,
    /// How many turns it may have; 0: any number
    #[arg(long, value_name = "N")]
    max_turns: Option<u64>,
    /// What it may cost, as its agent reports it; 0: any cost
    #[arg(long, value_name = "COST")]
    max_cost: Option<f64>,
    /// Its project
    #[arg(long)]
    project: Option<String>,
    /// Where its client talks from
    #[arg(long)]
    channel: Option<String>,
    /// Its client's task
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// A label, in place of all that it has; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Take all labels away
    #[arg(long, conflicts_with = "label")]
    no_labels: bool,
}

impl Set {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let session = self.session.clone();
        let changes = self.body();
        if changes.is_empty() {
            return Err(Failure::usage("nothing is to be changed; `wharf set --help` lists what can be"));
        }
        let path = ["v1", "sessions", &session];
        let (_, changed): (_, Value) = client.submit(Method::PATCH, &path, &changes).await?;
        match ui.json {
            true => ui.document(&changed)?,
            false => ui.line(&format!("{} is changed", changed["id"].as_str().unwrap_or(&session)))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn body(self) -> Map<String, Value> {
        let labels = (self.no_labels || !self.label.is_empty()).then(|| json!(parse::map(self.label)));
        let fields = [
            ("model", self.model.map(Value::from)),
            ("mode", self.mode.map(Value::from)),
            ("permissions", self.permissions.map(|policy| policy.name().into())),
            ("max_turns", self.max_turns.map(Value::from)),
            ("max_cost", self.max_cost.map(Value::from)),
            ("project", self.project.map(Value::from)),
            ("channel", self.channel.map(Value::from)),
            ("task_id", self.task.map(Value::from)),
            ("labels", labels),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::super::{Cli, Command};

    fn body(line: &str) -> serde_json::Map<String, serde_json::Value> {
        let Command::Set(set) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!("not `set`") };
        set.body()
    }

    #[test]
    fn every_field_that_can_be_changed_has_its_option() {
        let all = body(
            "wharf set s -m a --mode b -p deny --max-turns 3 --max-cost 0.5 --project p --channel c --task t --label k=v",
        );
        let description: serde_json::Value = serde_json::from_str(&crate::api::description()).unwrap();
        let fields = description["components"]["schemas"]["SessionChanges"]["properties"].as_object().unwrap();
        assert_eq!(all.keys().collect::<BTreeSet<_>>(), fields.keys().collect());
        assert_eq!(body("wharf set s --no-labels"), serde_json::json!({ "labels": {} }).as_object().unwrap().clone());
        assert!(body("wharf set s").is_empty());
    }
}
