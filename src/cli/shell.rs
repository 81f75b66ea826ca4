//! `wharf shell`: a terminal in a workspace, which goes on when the connection does not.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Query};
use super::failure::Failure;
use super::raw::Raw;
use super::terminal::Session;
use super::ui::{Ui, age};
use super::{Outcome, parse};
use crate::domain::{Page, Timestamp};
use crate::terminal::TerminalView;
use crate::workspace::WorkspaceView;

/// Open a terminal in a workspace, or run a command there
///
/// Leave it running with `~.` at the start of a line; `--attach` comes back to it, also after a dropped connection or a
/// restart of the daemon. Where stdin or stdout is no terminal, the command has pipes, and Ctrl-C ends it. The exit code
/// is the command's (128 + N for signal N).
#[derive(Args, Debug)]
pub(super) struct Shell {
    /// Id or name of the workspace
    #[arg(required_unless_present_any = ["attach", "end"])]
    workspace: Option<String>,
    /// The command; a login shell without one
    #[arg(last = true, value_name = "COMMAND")]
    argv: Vec<String>,
    /// Look at a terminal that is there
    #[arg(long, value_name = "ID", conflicts_with = "argv")]
    attach: Option<String>,
    /// List the workspace's terminals
    #[arg(long, conflicts_with_all = ["argv", "attach"])]
    list: bool,
    /// End one with all that runs in it
    #[arg(long, value_name = "ID", conflicts_with_all = ["argv", "attach", "list"])]
    end: Option<String>,
    /// A variable; NAME alone passes this one's on; may be repeated
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::variable)]
    env: Vec<(String, String)>,
    /// Where it starts, absolute [default: /workspace]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
}

impl Shell {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        if self.list {
            let workspace = self.workspace.unwrap_or_default();
            list(terminals(client, &workspace).await?, ui)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(id) = &self.end {
            let workspace = whose(client, self.workspace, id).await?;
            let path = ["v1", "workspaces", &workspace, "terminals", id];
            let view: TerminalView = client.call(Method::DELETE, &path, &Query::new()).await?;
            match ui.json {
                true => ui.document(&view)?,
                false => ui.line(&format!("{} is ended", view.id))?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        let person = Raw::possible();
        let (workspace, id) = match self.attach {
            Some(id) => (whose(client, self.workspace, &id).await?, id),
            None => {
                let workspace = self.workspace.unwrap_or_default();
                let body = start(self.argv, self.env, self.cwd, person);
                let path = ["v1", "workspaces", &workspace, "terminals"];
                let (_, view): (_, TerminalView) = client.submit(Method::POST, &path, &body).await?;
                (view.workspace.to_string(), view.id)
            }
        };
        Session::new(client, ui, &workspace, &id, person).run().await
    }
}

fn start(argv: Vec<String>, env: Vec<(String, String)>, cwd: Option<String>, person: bool) -> Value {
    let (cols, rows) = Raw::size();
    let mut env = parse::map(env);
    if person && let Ok(term) = std::env::var("TERM") {
        env.entry("TERM".to_owned()).or_insert(term);
    }
    json!({"argv": argv, "env": env, "cwd": cwd, "pty": person, "cols": cols, "rows": rows})
}

/// Those of a workspace; they are few, and come at once.
async fn terminals(client: &Client, workspace: &str) -> Result<Vec<TerminalView>, Failure> {
    let path = ["v1", "workspaces", workspace, "terminals"];
    Ok(client.get::<Page<TerminalView>>(&path, &Query::new()).await?.items)
}

/// The workspace of a terminal: the one that was named, else the one that has it.
async fn whose(client: &Client, named: Option<String>, id: &str) -> Result<String, Failure> {
    if let Some(workspace) = named {
        return Ok(workspace);
    }
    let workspaces: Vec<WorkspaceView> = client.all(&["v1", "workspaces"], &Query::new()).await?;
    for workspace in workspaces {
        if terminals(client, workspace.id.as_str()).await?.iter().any(|terminal| terminal.id == id) {
            return Ok(workspace.id.to_string());
        }
    }
    Err(Failure::not_found(format!("no workspace has a terminal `{id}`: `wharf shell WORKSPACE --list` lists them")))
}

fn list(terminals: Vec<TerminalView>, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(&json!({"items": terminals}));
    }
    if terminals.is_empty() {
        ui.note("there are no terminals here");
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |terminal: TerminalView| {
        let command = terminal.argv.filter(|argv| !argv.is_empty()).map(|argv| argv.join(" "));
        vec![
            terminal.id,
            if terminal.running { "running".to_owned() } else { "ended".to_owned() },
            terminal.viewers.to_string(),
            age(terminal.created, now),
            command.unwrap_or_default(),
        ]
    };
    ui.table(&["TERMINAL", "STATUS", "VIEWERS", "AGE", "COMMAND"], terminals.into_iter().map(row).collect())
}
