//! What an agent can do, as far as it is known before it runs.

use serde_json::Value;

use super::{AgentEntry, Protocol, Resume, Way};
use crate::agent::{adapter::Unsupported, claude, codex};

/// When something can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choosing {
    /// When the agent starts; a running one goes on as it is.
    AtStart,
    /// In the middle of a conversation too.
    AnyTime,
}

/// What an agent can do; `None`: it announces that when it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Takes a conversation up again.
    pub resume: Option<bool>,
    /// Choosing a model.
    pub model: Option<Choosing>,
    /// Choosing a mode.
    pub mode: Option<Choosing>,
    /// Its modes.
    pub modes: Option<Vec<&'static str>>,
    /// Asks for permissions.
    pub permissions: Option<bool>,
    /// Takes images in prompts.
    pub images: Option<bool>,
    /// How it reaches MCP servers: `stdio`, `http`, `sse`.
    pub mcp: Option<Vec<&'static str>>,
}

impl AgentEntry {
    /// What it can do, as far as it is known before it runs.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let mut abilities = match (self.protocol, self.name.as_str()) {
            (Protocol::Claude, _) => Abilities {
                resume: Some(true),
                model: Some(Choosing::AnyTime),
                mode: Some(Choosing::AnyTime),
                modes: Some(claude::MODES.to_vec()),
                permissions: Some(true),
                images: Some(true),
                mcp: Some(vec!["stdio", "http", "sse"]),
            },
            (Protocol::Codex, _) => Abilities {
                resume: Some(true),
                model: Some(Choosing::AnyTime),
                mode: Some(Choosing::AnyTime),
                modes: Some(codex::modes()),
                permissions: Some(true),
                images: Some(true),
                mcp: Some(vec!["stdio", "http"]),
            },
            (Protocol::Acp, "demo" | "opencode") if self.built_in => Abilities {
                resume: Some(true),
                model: Some(Choosing::AnyTime),
                mode: Some(Choosing::AnyTime),
                modes: Some(vec!["build", "plan"]),
                permissions: Some(true),
                images: Some(true),
                mcp: Some(vec!["stdio", "http", "sse"]),
            },
            (Protocol::Acp, _) => Abilities::default(),
        };
        if self.resume == Resume::Never {
            abilities.resume = Some(false);
        }
        if self.model != Way::Protocol {
            abilities.model = Some(Choosing::AtStart);
        }
        if self.mode != Way::Protocol {
            (abilities.mode, abilities.modes) = (Some(Choosing::AtStart), None);
        }
        abilities
    }

    /// Whether a mode can be chosen, as far as it is known before the agent runs.
    ///
    /// # Errors
    /// It has no such mode.
    pub fn check_mode(&self, mode: &str) -> Result<(), Unsupported> {
        // A user's own modes of an ACP agent are known to that agent only.
        match self.abilities().modes.filter(|_| self.protocol != Protocol::Acp) {
            Some(modes) if !modes.contains(&mode) => {
                Err(Unsupported(format!("agent {} has no mode {mode:?}; it has {}", self.name, modes.join(", "))))
            }
            _ => Ok(()),
        }
    }

    /// Whether it can reach these MCP servers, as far as it is known before it runs.
    ///
    /// # Errors
    /// It has no way to one of them.
    pub fn check_mcp(&self, servers: &[Value]) -> Result<(), Unsupported> {
        let Some(known) = self.abilities().mcp else { return Ok(()) };
        check_mcp(&format!("agent {}", self.name), servers, &known)
    }

    /// Whether it can take a conversation up again, as far as it is known before it runs.
    ///
    /// # Errors
    /// It can't.
    pub fn check_resume(&self) -> Result<(), Unsupported> {
        match self.abilities().resume {
            Some(false) => Err(Unsupported(format!("agent {} can't take an earlier conversation up again", self.name))),
            _ => Ok(()),
        }
    }

    /// Whether a running agent can be told of another model.
    ///
    /// # Errors
    /// It is told when it starts, and only then.
    pub fn check_switch(&self, what: &str) -> Result<(), Unsupported> {
        let way = if what == "model" { &self.model } else { &self.mode };
        let by = match way {
            Way::Protocol => return Ok(()),
            Way::Env(name) => format!("the environment variable {name}"),
            Way::Arg(flag) => format!("the argument {flag}"),
        };
        Err(Unsupported(format!(
            "agent {} is told of its {what} by {by} when it starts, and it runs: stop its workspace first, then change it",
            self.name
        )))
    }
}

/// Whether each server can be reached in one of the known ways.
pub(in crate::agent) fn check_mcp(who: &str, servers: &[Value], known: &[&str]) -> Result<(), Unsupported> {
    for server in servers {
        let kind = server["type"].as_str().unwrap_or("stdio");
        if !known.contains(&kind) {
            let name = server["name"].as_str().unwrap_or_default();
            return Err(Unsupported(format!(
                "{who} can't reach MCP servers over {kind}, and the server {name:?} is one; it can over {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}
