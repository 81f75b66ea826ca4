//! `wharf new`: a session, and its first turn.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::failure::code;
use super::interrupt::Interrupts;
use super::turn::Prompt;
use super::ui::Ui;
use super::{Outcome, parse, send};
use crate::domain::WhenBusy;
use crate::session::SessionView;

/// Make a session, and with a PROMPT run its first turn
///
/// Prints the session's id. A key that is known gives that session.
#[derive(Args, Debug)]
pub(super) struct New {
    /// The agent; `wharf agents` lists them
    #[arg(long, short, default_value = "demo", env = "WHARF_AGENT", hide_env_values = true)]
    agent: String,
    /// An existing workspace, by id or name [default: one of its own]
    #[arg(long, short, value_name = "ID", conflicts_with = "image")]
    workspace: Option<String>,
    /// The image of its own workspace [default: the agent's]
    #[arg(long, short)]
    image: Option<String>,
    /// A unique key, `app:name`
    #[arg(long, short)]
    key: Option<String>,
    /// The model
    #[arg(long, short)]
    model: Option<String>,
    /// The mode
    #[arg(long)]
    mode: Option<String>,
    /// What happens when the agent asks for a permission
    #[arg(long, short, value_enum, default_value = "ask")]
    permissions: Policy,
    /// The agent's working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// A label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// A variable of the agent's environment; NAME alone passes this one's on; may be repeated
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::variable)]
    env: Vec<(String, String)>,
    /// How many turns it may have; 0: any number [default: as configured]
    #[arg(long, value_name = "N")]
    max_turns: Option<u64>,
    /// What it may cost, as its agent reports it; 0: any cost [default: as configured]
    #[arg(long, value_name = "COST")]
    max_cost: Option<f64>,
    /// An MCP server, as an ACP `McpServer` in JSON; may be repeated
    #[arg(long, value_name = "JSON", value_parser = parse::json)]
    mcp_server: Vec<Value>,
    /// The agent's own id of a conversation to take up
    #[arg(long, value_name = "ID")]
    agent_session: Option<String>,
    /// Its project
    #[arg(long)]
    project: Option<String>,
    /// Where its client talks from
    #[arg(long)]
    channel: Option<String>,
    /// Its client's task
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Its client's MCP session
    #[arg(long, value_name = "ID")]
    mcp_session: Option<String>,
    /// A first prompt; `-` reads it from stdin
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Policy {
    /// A client is asked
    Ask,
    /// Everything is allowed
    Allow,
    /// Everything is rejected
    Deny,
}

impl Policy {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl New {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let prompt = if self.prompt.is_empty() { None } else { Some(parse::prompt(&self.prompt)?) };
        let body = self.body();
        let (status, session): (_, SessionView) = client.submit(Method::POST, &["v1", "sessions"], &body).await?;
        match ui.json {
            true => ui.document(&session)?,
            false => ui.line(session.id.as_str())?,
        }
        if status == StatusCode::OK {
            ui.note("· there was one with this key");
        }
        let Some(text) = prompt else {
            ui.note(&format!("· talk with it: wharf chat {}", session.id));
            return Ok(ExitCode::SUCCESS);
        };
        let prompt = Prompt { text, when_busy: WhenBusy::Queue, key: None };
        let mut interrupts = Interrupts::listen()?;
        match send::post(client, ui, session.id.as_str(), prompt, &mut interrupts).await? {
            Some(turn) => send::show(turn, ui, interrupts).await,
            None => Ok(ExitCode::from(code::DETACHED)),
        }
    }

    fn body(self) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| value.map(|value| body.insert(key.to_owned(), value));
        put("agent", Some(self.agent.into()));
        put("workspace", self.workspace.map(Value::from).or(self.image.map(|image| json!({"image": image}))));
        put("key", self.key.map(Value::from));
        put("model", self.model.map(Value::from));
        put("mode", self.mode.map(Value::from));
        put("max_turns", self.max_turns.map(Value::from));
        put("max_cost", self.max_cost.map(Value::from));
        put("mcp_servers", (!self.mcp_server.is_empty()).then(|| self.mcp_server.into()));
        put("agent_session_id", self.agent_session.map(Value::from));
        put("project", self.project.map(Value::from));
        put("channel", self.channel.map(Value::from));
        put("task_id", self.task.map(Value::from));
        put("mcp_session_id", self.mcp_session.map(Value::from));
        put("permissions", Some(self.permissions.name().into()));
        put("cwd", self.cwd.map(Value::from));
        put("labels", Some(json!(parse::map(self.label))));
        put("env", Some(json!(parse::map(self.env))));
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::super::{Cli, Command};
    use crate::session::{NewSession, WorkspaceChoice};

    fn body(line: &str) -> NewSession {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::New(new) = cli.command else { panic!("not `new`") };
        serde_json::from_value(new.body()).unwrap()
    }

    #[test]
    fn every_field_of_a_session_has_its_option() {
        let line = "wharf new --agent a -w w --key k --model m --mode o --permissions deny --cwd /c --label k=v --env A=b \
            --max-turns 3 --max-cost 0.5 --mcp-server {} --agent-session i --project p --channel c --task t --mcp-session s";
        let Command::New(new) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("not `new`")
        };
        let body = new.body();
        let description: serde_json::Value = serde_json::from_str(&crate::api::description()).unwrap();
        let fields = description["components"]["schemas"]["NewSession"]["properties"].as_object().unwrap();
        // A prompt is sent after the session is there, so that its turn can be shown.
        let fields: BTreeSet<&String> = fields.keys().filter(|name| *name != "prompt").collect();
        assert_eq!(body.as_object().unwrap().keys().collect::<BTreeSet<_>>(), fields);
    }

    #[test]
    fn options_become_the_body() {
        let new = body("wharf new --agent claude --key app:x --image i -e A=b=c --label k=v --permissions allow hello");
        assert_eq!((new.agent.as_str(), new.key.as_deref()), ("claude", Some("app:x")));
        assert_eq!(new.env["A"], "b=c");
        assert_eq!(new.labels["k"], "v");
        assert!(matches!(new.workspace, Some(WorkspaceChoice::Inline(spec)) if spec.image.as_deref() == Some("i")));
        let plain = body("wharf new -a demo -w shared");
        assert!(matches!(plain.workspace, Some(WorkspaceChoice::Existing(id)) if id == "shared"));
        for wrong in ["wharf new -w a -i b", "wharf new --label x", "wharf new --permissions maybe", "wharf send s"] {
            assert!(Cli::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
