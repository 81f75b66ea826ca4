//! A workspace: its spec, its record and its status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{SessionId, Timestamp, WorkspaceId, session::Labels};

/// Which network a workspace joins: `default`, `none`, or the name of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Network {
    /// The engine's default bridge.
    #[default]
    Default,
    /// No network at all.
    None,
    /// An existing network, by name.
    Named(String),
}

impl From<String> for Network {
    fn from(text: String) -> Self {
        match text.as_str() {
            "default" => Self::Default,
            "none" => Self::None,
            _ => Self::Named(text),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        match network {
            Network::Default => "default".to_owned(),
            Network::None => "none".to_owned(),
            Network::Named(name) => name,
        }
    }
}

/// A repository to clone into the workspace once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Where from.
    pub url: String,
    /// Branch, tag or commit; by default the branch that the repository's HEAD names.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Sent to the repository's host while it is cloned, and nowhere kept afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// What a repository's host asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user's name; many hosts take any name with a token.
    #[serde(default = "any_user")]
    pub username: String,
    /// The password or the token.
    pub password: String,
}

fn any_user() -> String {
    "git".to_owned()
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A directory or file of the engine's machine that the operator's configuration allows to be shown in workspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtraMount {
    /// Its path there, exactly as the configuration has it.
    pub host: String,
    /// Where it is shown inside, absolute.
    pub path: String,
    /// Whether it can only be read.
    #[serde(default = "yes")]
    pub read_only: bool,
}

const fn yes() -> bool {
    true
}

/// What a workspace is made from; two equal specs make equal containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceSpec {
    /// The container image; by default that of the agent that the workspace is made for, else `wharf/workspace:latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Environment of every process in it; given to processes only, never to the container's configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// CPUs, as a number of cores; by default unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.01, maximum = 4096.0)]
    pub cpus: Option<f64>,
    /// Memory limit in bytes, swap included; by default the configuration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 6_291_456, maximum = 9_223_372_036_854_775_807_i64)]
    pub memory: Option<u64>,
    /// Limit of processes and threads; by default the configuration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// The most bytes that each of its volumes (`/workspace` and the home) holds, where the engine's file system can limit
    /// them; where it can't, a spec with this is refused. By default unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_048_576, maximum = 9_223_372_036_854_775_807_i64)]
    pub disk: Option<u64>,
    /// Network: `default`, `none`, or the name of an existing one.
    #[schema(value_type = String)]
    pub network: Network,
    /// Repository to clone once into the workspace's volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<Repo>,
    /// More to mount, each allowed by the operator's configuration (`[[mounts]]`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<ExtraMount>,
    /// Shell command to run once after the repository is there, in `/workspace` and as the agents' user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// Free labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A workspace in the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceRecord {
    /// Its id.
    pub id: WorkspaceId,
    /// Its unique name, where it was given one.
    pub name: Option<String>,
    /// What it is made from; `env` is empty here and sealed in `sealed_env`.
    pub spec: WorkspaceSpec,
    /// The spec's environment, encrypted (guarantee 12).
    #[serde(with = "super::sealed_bytes")]
    pub sealed_env: Option<Vec<u8>>,
    /// The repository's credentials, encrypted; dropped once it is cloned.
    #[serde(default, with = "super::sealed_bytes")]
    pub sealed_credentials: Option<Vec<u8>>,
    /// How far repository and setup command have come.
    #[serde(default)]
    pub setup: Setup,
    /// The session that an ephemeral workspace goes with.
    pub ephemeral_of: Option<SessionId>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is the host itself instead of a container: there is at most one.
    #[serde(default)]
    pub host: bool,
    /// Set by the first step of a deletion, so that a crash in the middle is finished at the next start.
    pub deleting: bool,
}

/// How far a workspace's repository and setup command have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// The repository is there: it is never cloned again.
    pub cloned: bool,
    /// The setup command has run: it never runs again.
    pub done: bool,
    /// How often one of the two was tried and failed: each try has a name of its own.
    pub attempt: u32,
    /// Why the last try failed; cleared when it is to be tried again.
    pub failure: Option<SetupFailure>,
}

/// A repository that could not be cloned, or a setup command that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetupFailure {
    /// What failed and how.
    pub message: String,
    /// The end of what it wrote.
    pub output: String,
}

/// What the engine says of a workspace's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceStatus {
    /// No container: it is made on demand.
    Absent,
    /// Made, not running: it is started on demand.
    Stopped,
    /// Runs.
    Running,
    /// Runs, frozen by someone.
    Paused,
    /// Its repository could not be cloned or its setup command failed: start and recreate try again.
    Error,
    /// The engine can't be asked.
    Unknown,
}
