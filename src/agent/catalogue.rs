//! The catalogue: every agent that a session may have, built in or configured, and how each is started and spoken to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    acp::Acp,
    adapter::{Adapter, Launch, StartOptions},
    claude::{self, Claude},
    codex::{self, Codex},
};
use crate::domain::is_agent_name;

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

/// An agent in the configuration: a new one, or what is to be different of a built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// How it is spoken to; `acp` if not given.
    pub protocol: Option<Protocol>,
    /// Program and arguments; what the protocol needs is added behind.
    pub argv: Option<Vec<String>>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Names of variables that are handed on from the daemon's own environment, where they are set there.
    pub pass_env: Option<Vec<String>>,
    /// The image of a workspace made for it.
    pub image: Option<String>,
    /// For people.
    pub description: Option<String>,
}

/// A configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A name that can't be an agent's.
    #[error("{0:?} can't be the name of an agent")]
    Name(String),
    /// An agent without a program.
    #[error("agent {0}: argv needs a program")]
    Argv(String),
    /// A variable's name that can't be one.
    #[error("agent {agent}: {variable:?} can't be the name of an environment variable")]
    Variable {
        /// The agent.
        agent: String,
        /// The variable.
        variable: String,
    },
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

/// An agent that a session may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    name: String,
    protocol: Protocol,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    image: String,
    description: String,
}

impl AgentEntry {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The image of a workspace made for it.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// For people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it can take a conversation up again; `None`: it tells when it runs.
    #[must_use]
    pub const fn can_resume(&self) -> Option<bool> {
        match self.protocol {
            Protocol::Acp => None,
            Protocol::Claude | Protocol::Codex => Some(true),
        }
    }

    /// The program to run. `environment` looks a variable up in the daemon's environment, for what is handed on;
    /// what the configuration sets goes before it.
    #[must_use]
    pub fn launch(&self, options: &StartOptions, environment: impl Fn(&str) -> Option<String>) -> Launch {
        let mut argv = self.argv.clone();
        let mut env: BTreeMap<String, String> =
            self.pass_env.iter().filter_map(|name| Some((name.clone(), environment(name)?))).collect();
        if self.protocol == Protocol::Claude {
            argv.extend(claude::arguments(options));
            env.extend(claude::ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        }
        if self.protocol == Protocol::Codex {
            argv.extend(codex::arguments(|name| self.env.get(name).or_else(|| env.get(name)).cloned()));
        }
        env.extend(self.env.clone());
        Launch { argv, env: env.into_iter().collect() }
    }

    /// An adapter for a process that is about to be started.
    #[must_use]
    pub fn adapter(&self) -> Box<dyn Adapter> {
        match self.protocol {
            Protocol::Acp => Box::new(Acp::default()),
            Protocol::Claude => Box::new(Claude::default()),
            Protocol::Codex => Box::new(Codex::default()),
        }
    }

    /// An adapter that goes on with a process, from the state that its adapter gave.
    ///
    /// # Errors
    /// The state is not one of this protocol's.
    pub fn restore(&self, state: &Value) -> Result<Box<dyn Adapter>, RestoreError> {
        Ok(match self.protocol {
            Protocol::Acp => Box::new(Acp::restore(state)?),
            Protocol::Claude => Box::new(Claude::restore(state)?),
            Protocol::Codex => Box::new(Codex::restore(state)?),
        })
    }
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
    /// A name or a variable that can't be one, or an agent without a program.
    pub fn new(configured: BTreeMap<String, AgentConfig>) -> Result<Self, CatalogueError> {
        let mut agents: BTreeMap<_, _> = built_in().map(|agent| (agent.name.clone(), agent)).into();
        for (name, config) in configured {
            let agent = agents.entry(name.clone()).or_insert_with(|| AgentEntry {
                name,
                protocol: Protocol::default(),
                argv: Vec::new(),
                env: BTreeMap::new(),
                pass_env: Vec::new(),
                image: WORKSPACE_IMAGE.to_owned(),
                description: String::new(),
            });
            agent.change(config);
            agent.check()?;
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

impl AgentEntry {
    fn change(&mut self, config: AgentConfig) {
        let AgentConfig { protocol, argv, env, pass_env, image, description } = config;
        self.protocol = protocol.unwrap_or(self.protocol);
        self.argv = argv.unwrap_or_else(|| std::mem::take(&mut self.argv));
        self.env.extend(env);
        self.pass_env = pass_env.unwrap_or_else(|| std::mem::take(&mut self.pass_env));
        self.image = image.unwrap_or_else(|| std::mem::take(&mut self.image));
        self.description = description.unwrap_or_else(|| std::mem::take(&mut self.description));
    }

    fn check(&self) -> Result<(), CatalogueError> {
        if !is_agent_name(&self.name) {
            return Err(CatalogueError::Name(self.name.clone()));
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(CatalogueError::Argv(self.name.clone()));
        }
        let mut variables = self.env.keys().chain(&self.pass_env);
        match variables.find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            Some(variable) => Err(CatalogueError::Variable { agent: self.name.clone(), variable: variable.clone() }),
            None => Ok(()),
        }
    }
}

/// The proxies that an agent needs where the daemon needs them.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

fn built_in() -> [AgentEntry; 3] {
    let agent = |name: &str, protocol, program: &str, pass_env: &[&str], image: &str, description: &str| AgentEntry {
        name: name.to_owned(),
        protocol,
        argv: vec![program.to_owned()],
        env: BTreeMap::new(),
        pass_env: pass_env.iter().map(|name| (*name).to_owned()).collect(),
        image: image.to_owned(),
        description: description.to_owned(),
    };
    let claude_env = [&claude::PASSED[..], &PROXIES].concat();
    let codex_env = [&codex::PASSED[..], &PROXIES].concat();
    [
        agent(
            "demo",
            Protocol::Acp,
            "/bin/wharf-demo-agent",
            &[],
            "wharf/demo:latest",
            "A deterministic agent that needs no key and no network",
        ),
        agent("claude", Protocol::Claude, "claude", &claude_env, WORKSPACE_IMAGE, "Claude Code"),
        agent("codex", Protocol::Codex, "codex", &codex_env, WORKSPACE_IMAGE, "OpenAI Codex"),
    ]
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
mod tests {
    use super::*;

    fn catalogue(json: Value) -> Result<Catalogue, CatalogueError> {
        Catalogue::new(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn built_in_agents_are_there_and_can_be_changed() {
        let agents = catalogue(json!({
            "claude": {"image": "mine:1", "env": {"A": "b"}, "pass_env": ["TOKEN", "UNSET"]},
            "opencode": {"argv": ["opencode", "acp"]},
        }))
        .unwrap();
        assert_eq!(agents.names().collect::<Vec<_>>(), ["claude", "codex", "demo", "opencode"]);
        let options = StartOptions { fresh_id: "f".into(), ..StartOptions::default() };
        let launch = agents.get("claude").unwrap().launch(&options, |name| (name == "TOKEN").then(|| "t".into()));
        assert_eq!(launch.argv[..2], ["claude", "-p"]);
        assert!(launch.env.contains(&("TOKEN".into(), "t".into())) && launch.env.contains(&("A".into(), "b".into())));
        assert!(launch.env.iter().all(|(name, _)| name != "UNSET"));
        assert_eq!(agents.get("claude").unwrap().image(), "mine:1");
        let demo = agents.get("demo").unwrap().launch(&options, |_| panic!("nothing is handed on"));
        assert_eq!(demo, Launch { argv: vec!["/bin/wharf-demo-agent".into()], env: vec![] });
        assert_eq!(agents.get("opencode").unwrap().image(), WORKSPACE_IMAGE);
    }

    #[test]
    fn claude_gets_its_keys_from_the_daemon() {
        let agents = catalogue(json!({})).unwrap();
        let env = agents.get("claude").unwrap().launch(&StartOptions::default(), |name| Some(format!("<{name}>"))).env;
        for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN", "HTTPS_PROXY", "no_proxy"] {
            assert!(env.contains(&(name.into(), format!("<{name}>"))), "{name}");
        }
    }

    #[test]
    fn a_configuration_without_sense_is_refused() {
        assert_eq!(catalogue(json!({"x": {}})), Err(CatalogueError::Argv("x".into())));
        assert_eq!(catalogue(json!({"a b": {"argv": ["x"]}})), Err(CatalogueError::Name("a b".into())));
        let variable = catalogue(json!({"demo": {"env": {"A=B": "c"}}}));
        assert_eq!(variable, Err(CatalogueError::Variable { agent: "demo".into(), variable: "A=B".into() }));
        assert!(serde_json::from_value::<AgentConfig>(json!({"imgae": "x"})).is_err());
    }

    #[test]
    fn a_state_of_another_protocol_is_refused() {
        let agents = catalogue(json!({})).unwrap();
        let state = agents.get("demo").unwrap().adapter().state();
        assert!(agents.restore("demo", &state).is_ok());
        assert!(matches!(agents.restore("claude", &state), Err(RestoreError::State(_))));
        assert!(matches!(agents.restore("demo", &json!({})), Err(RestoreError::State(_))));
        assert!(matches!(agents.restore("gone", &state), Err(RestoreError::UnknownAgent(_))));
    }
}
