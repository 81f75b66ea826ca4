//! The catalogue: every agent that a session may have, built in or configured, and how each is started and spoken to.

mod abilities;
mod builtin;
mod config;
mod entry;
mod surroundings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(in crate::agent) use self::abilities::check_mcp;
pub use self::{
    abilities::{Abilities, Choosing},
    config::{AgentConfig, CatalogueError, Resume, Way},
    entry::{AgentEntry, Own},
    surroundings::{MissingSecret, Surroundings},
};
use super::adapter::Adapter;

/// The image of every agent that names none.
const WORKSPACE_IMAGE: &str = "wharf/workspace:latest";

/// How an agent is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Agent Client Protocol, version 1, over stdio.
    #[default]
    Acp,
    /// Claude Code's stream-json.
    Claude,
    /// Codex's app-server.
    Codex,
}

impl Protocol {
    /// Its name in the configuration and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acp => "acp",
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }
}

/// A state that can't be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The agent is not in the catalogue any more.
    #[error("there is no agent {0:?}")]
    UnknownAgent(String),
    /// The state is not one that this version writes.
    #[error("the adapter's state can't be read: {0}")]
    State(#[from] serde_json::Error),
}

/// Every agent, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    agents: BTreeMap<String, AgentEntry>,
}

impl Catalogue {
    /// The built-in agents with what the configuration adds and changes.
    ///
    /// # Errors
    /// A name, a variable or a file that can't be one, or an agent without a program.
    pub fn new(configured: BTreeMap<String, AgentConfig>) -> Result<Self, CatalogueError> {
        let mut agents: BTreeMap<_, _> = builtin::all().map(|agent| (agent.name().to_owned(), agent)).collect();
        for (name, config) in configured {
            let fresh = || AgentEntry::new(name.clone(), Protocol::default());
            agents.entry(name.clone()).or_insert_with(fresh).change(config)?;
        }
        Ok(Self { agents })
    }

    /// The agent of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AgentEntry> {
        self.agents.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.agents.keys().map(String::as_str)
    }

    /// All agents, by name.
    pub fn entries(&self) -> impl Iterator<Item = &AgentEntry> {
        self.agents.values()
    }

    /// Goes on with an agent's process.
    ///
    /// # Errors
    /// The agent is not there any more, or the state can't be read.
    pub fn restore(&self, agent: &str, state: &Value) -> Result<Box<dyn Adapter>, RestoreError> {
        self.get(agent).ok_or_else(|| RestoreError::UnknownAgent(agent.to_owned()))?.restore(state)
    }
}

/// A state with the protocol that it belongs to, so that it is never read as another's.
pub(super) fn tagged(protocol: Protocol, state: &impl Serialize) -> Value {
    json!({"protocol": protocol, "state": state})
}

/// The state of a tagged one.
pub(super) fn untagged<T: serde::de::DeserializeOwned>(protocol: Protocol, tagged: &Value) -> serde_json::Result<T> {
    let found = Protocol::deserialize(&tagged["protocol"])?;
    if found != protocol {
        return Err(serde::de::Error::custom(format!("it belongs to the protocol {found:?}, not to {protocol:?}")));
    }
    T::deserialize(&tagged["state"])
}

#[cfg(test)]
mod tests;
