//! The agents: from the configuration to the catalogue.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::agent::{AgentConfig, Catalogue};
use crate::config::{AgentTable, Config};

/// The built-in agents with what the configuration adds and changes.
///
/// # Errors
/// An agent that can't be; the message names it.
pub(super) fn build(config: &Config) -> anyhow::Result<Catalogue> {
    let agents: anyhow::Result<BTreeMap<_, _>> =
        config.agents.iter().map(|(name, table)| Ok((name.clone(), agent(name, table)?))).collect();
    Ok(Catalogue::new(agents?)?)
}

fn agent(name: &str, table: &AgentTable) -> anyhow::Result<AgentConfig> {
    let AgentTable { protocol, argv, env, env_file, pass_env, files, model, mode, resume, image, description } =
        table.clone();
    Ok(AgentConfig {
        protocol: word(name, "protocol", protocol)?,
        argv,
        env,
        env_file,
        pass_env,
        files,
        model: word(name, "model", model)?,
        mode: word(name, "mode", mode)?,
        resume: word(name, "resume", resume)?,
        image,
        description,
    })
}

/// A word of a kind that the agents' room knows.
fn word<T: DeserializeOwned>(agent: &str, key: &str, text: Option<String>) -> anyhow::Result<Option<T>> {
    let read = text.map(|text| serde_json::from_value(serde_json::Value::String(text))).transpose();
    read.map_err(|e| anyhow::anyhow!("agents.{agent}.{key}: {e}"))
}
