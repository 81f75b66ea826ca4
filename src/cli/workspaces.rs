//! `wharf workspaces`: the containers and their volumes.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use super::client::{Client, Query};
use super::failure::Failure;
use super::files;
use super::ui::{Ui, age, name};
use super::{Outcome, parse};
use crate::domain::{ExtraMount, Timestamp};
use crate::workspace::WorkspaceView;

/// List, create, show, start, stop, recreate and remove workspaces; their logs and files
#[derive(Args, Debug)]
pub(super) struct Workspaces {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them (the default)
    Ls,
    /// Make one; its container is made when it is needed
    Create(Box<Create>),
    /// Print one
    Show(Named),
    /// Start its container
    Start(Named),
    /// Stop its container
    Stop(Named),
    /// Make its container anew, with another image or other limits; its volumes stay
    Recreate(Box<Recreate>),
    /// Print its log: its setup, and what became of its container
    Logs(Logs),
    /// Copy a file or a directory out of it
    Get(files::Get),
    /// Copy a file or a directory into it
    Put(files::Put),
    /// Delete it with its sessions, its container and its volumes
    Rm(Named),
}

#[derive(Args, Debug)]
struct Named {
    /// Id or name
    workspace: String,
}

#[derive(Args, Debug)]
struct Logs {
    /// Id or name
    workspace: String,
    /// Go on with each new line
    #[arg(long, short)]
    follow: bool,
    /// Lines of before at most
    #[arg(long, short = 'n', default_value_t = 1000)]
    tail: u64,
}

#[derive(Args, Debug)]
struct Recreate {
    /// Id or name
    workspace: String,
    /// Another image
    #[arg(long, short)]
    image: Option<String>,
    /// Cores, like 1.5
    #[arg(long)]
    cpus: Option<f64>,
    /// Memory, like 2GiB
    #[arg(long, value_parser = parse::size)]
    memory: Option<u64>,
    /// Processes and threads
    #[arg(long)]
    pids: Option<u32>,
    /// `default`, `none`, or the name of a network
    #[arg(long)]
    network: Option<String>,
    /// Another setup command, while it has not run yet
    #[arg(long, value_name = "COMMAND")]
    setup: Option<String>,
}

#[derive(Args, Debug)]
struct Create {
    /// A unique name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The image [default: wharf/workspace:latest]
    #[arg(long, short)]
    image: Option<String>,
    /// A variable of all its processes; NAME alone passes this one's on; may be repeated
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::variable)]
    env: Vec<(String, String)>,
    /// A label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Cores, like 1.5
    #[arg(long)]
    cpus: Option<f64>,
    /// Memory, like 2GiB
    #[arg(long, value_parser = parse::size)]
    memory: Option<u64>,
    /// Processes and threads
    #[arg(long)]
    pids: Option<u32>,
    /// `default`, `none`, or the name of a network
    #[arg(long)]
    network: Option<String>,
    /// A repository to clone into it
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// A branch, tag or commit of it
    #[arg(long = "ref", value_name = "REF", requires = "repo")]
    reference: Option<String>,
    /// The user's name for its host, with the password in WHARF_REPO_PASSWORD
    #[arg(long, value_name = "NAME", requires = "repo")]
    repo_user: Option<String>,
    /// Bytes that each of its volumes holds, like 10GiB, where the engine can limit them
    #[arg(long, value_parser = parse::size)]
    disk: Option<u64>,
    /// Something that the operator allows, to be read only; with `:rw` at its end written too; may be repeated
    #[arg(long, value_name = "HOST:PATH[:rw]", value_parser = mount)]
    mount: Vec<ExtraMount>,
    /// A shell command to run once in it
    #[arg(long, value_name = "COMMAND")]
    setup: Option<String>,
}

impl Workspaces {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let lifecycle = async |method: Method, id: &str, verb: &[&str]| {
            let path = [&["v1", "workspaces", id], verb].concat();
            client.call::<WorkspaceView>(method, &path, &Query::new()).await
        };
        match self.action.unwrap_or(Action::Ls) {
            Action::Ls => list(client, ui).await?,
            Action::Create(create) => {
                let path = ["v1", "workspaces"];
                let (_, made): (_, WorkspaceView) = client.submit(Method::POST, &path, &create.body()).await?;
                show(&made, ui)?;
            }
            Action::Show(named) => {
                let workspace = lifecycle(Method::GET, &named.workspace, &[]).await?;
                ui.document(&workspace)?;
            }
            Action::Start(named) => show(&lifecycle(Method::POST, &named.workspace, &["start"]).await?, ui)?,
            Action::Stop(named) => show(&lifecycle(Method::POST, &named.workspace, &["stop"]).await?, ui)?,
            Action::Recreate(recreate) => {
                let path = ["v1", "workspaces", &recreate.workspace, "recreate"];
                let (_, made): (_, WorkspaceView) = client.submit(Method::POST, &path, &recreate.body()).await?;
                show(&made, ui)?;
            }
            Action::Logs(logs) => logs.run(client).await?,
            Action::Get(get) => get.run(client, ui).await?,
            Action::Put(put) => put.run(client, ui).await?,
            Action::Rm(named) => {
                let path = ["v1", "workspaces", &named.workspace];
                client.call::<Value>(Method::DELETE, &path, &Query::new()).await?;
                match ui.json {
                    true => ui.document(&json!({"deleted": named.workspace}))?,
                    false => ui.line(&format!("{} is deleted", named.workspace))?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Logs {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let query = vec![("tail", self.tail.to_string()), ("follow", self.follow.to_string())];
        let mut answer = client.download(&["v1", "workspaces", &self.workspace, "logs"], &query).await?;
        let mut out = tokio::io::stdout();
        let broken = |e: reqwest::Error| Failure::other(format!("the log was broken off: {e}"));
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            out.write_all(&piece).await?;
            out.flush().await?;
        }
        Ok(())
    }
}

impl Recreate {
    fn body(&self) -> Value {
        let all = json!({"image": self.image, "cpus": self.cpus, "memory": self.memory, "pids": self.pids,
            "network": self.network, "setup": self.setup});
        Value::Object(
            all.as_object()
                .into_iter()
                .flatten()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
    }
}

/// `HOST:PATH`, `HOST:PATH:ro` or `HOST:PATH:rw`.
fn mount(text: &str) -> Result<ExtraMount, String> {
    let (rest, read_only) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, false),
        None => (text.strip_suffix(":ro").unwrap_or(text), true),
    };
    let (host, path) = rest.split_once(':').ok_or("it has the form HOST:PATH or HOST:PATH:rw")?;
    Ok(ExtraMount { host: host.to_owned(), path: path.to_owned(), read_only })
}

impl Create {
    fn body(self) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| value.map(|value| body.insert(key.to_owned(), value));
        put("name", self.name.map(Value::from));
        put("image", self.image.map(Value::from));
        put("env", Some(json!(parse::map(self.env))));
        put("labels", Some(json!(parse::map(self.label))));
        put("cpus", self.cpus.map(Value::from));
        put("memory", self.memory.map(Value::from));
        put("pids", self.pids.map(Value::from));
        put("network", self.network.map(Value::from));
        let reference = self.reference;
        put("disk", self.disk.map(Value::from));
        put("mounts", (!self.mount.is_empty()).then(|| json!(self.mount)));
        let credentials = self.repo_user.map(|user| {
            let password = std::env::var("WHARF_REPO_PASSWORD").unwrap_or_default();
            json!({"username": user, "password": password})
        });
        put("repo", self.repo.map(|url| json!({"url": url, "ref": reference, "credentials": credentials})));
        put("setup", self.setup.map(Value::from));
        Value::Object(body)
    }
}

async fn list(client: &Client, ui: &Ui) -> Result<(), Failure> {
    let workspaces: Vec<WorkspaceView> = client.all(&["v1", "workspaces"], &Query::new()).await?;
    if ui.json {
        return ui.document(&json!({"items": workspaces}));
    }
    if workspaces.is_empty() {
        ui.note("there are no workspaces; `wharf new` makes one with its session");
        return Ok(());
    }
    let now = Timestamp::now();
    let rows = workspaces.into_iter().map(|workspace| {
        let kind = if workspace.ephemeral { "(its session's)".to_owned() } else { String::new() };
        vec![
            workspace.id.to_string(),
            workspace.name.unwrap_or(kind),
            name(&workspace.status),
            workspace.sessions.to_string(),
            workspace.spec.image.unwrap_or_default(),
            age(workspace.created, now),
        ]
    });
    ui.table(&["WORKSPACE", "NAME", "STATUS", "SESSIONS", "IMAGE", "AGE"], rows.collect())
}

fn show(workspace: &WorkspaceView, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(workspace);
    }
    ui.line(workspace.id.as_str())?;
    ui.note(&format!("· {}", name(&workspace.status)));
    if let Some(error) = &workspace.error {
        ui.note(&format!("· {}\n{}", error.message, error.output));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::Action;
    use crate::workspace::NewWorkspace;

    #[test]
    fn options_become_the_body() {
        let line = "wharf workspaces create w --image i --memory 2g --cpus 1.5 --repo u --ref r --network none";
        let Command::Workspaces(command) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("not `workspaces`")
        };
        let Some(Action::Create(create)) = command.action else { panic!("not `create`") };
        let new: NewWorkspace = serde_json::from_value(create.body()).unwrap();
        assert_eq!(new.name.as_deref(), Some("w"));
        assert_eq!((new.spec.memory, new.spec.cpus), (Some(2 << 30), Some(1.5)));
        assert_eq!(new.spec.repo.unwrap().reference.as_deref(), Some("r"));
        assert_eq!(String::from(new.spec.network), "none");
        let line = "wharf workspaces create w --mount /a:/mnt/a --mount /b:/mnt/b:rw";
        let Command::Workspaces(command) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("not `workspaces`")
        };
        let Some(Action::Create(create)) = command.action else { panic!("not `create`") };
        let mounts = serde_json::from_value::<NewWorkspace>(create.body()).unwrap().spec.mounts;
        assert!(mounts[0].read_only && !mounts[1].read_only && mounts[1].path == "/mnt/b");
    }
}
