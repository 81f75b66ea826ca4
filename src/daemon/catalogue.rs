//! The agents: from the configuration to the catalogue, and to what the API shows of them.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use crate::agent::{AgentConfig, Catalogue};
use crate::api::{AgentInfo, Ask};
use crate::config::Config;
use crate::engine::Engine;
use crate::workspace::image_hint;

/// The built-in agents with what the configuration adds and changes.
///
/// # Errors
/// An agent that can't be; the message names it.
pub(super) fn build(config: &Config) -> anyhow::Result<Catalogue> {
    let mut agents = std::collections::BTreeMap::new();
    for (name, table) in &config.agents {
        let protocol = table
            .protocol
            .as_ref()
            .map(|text| serde_json::from_value(serde_json::Value::String(text.clone())))
            .transpose()
            .map_err(|e| anyhow::anyhow!("agents.{name}.protocol: {e}"))?;
        let env = table.env.iter().map(|(k, v)| (k.clone(), v.expose_secret().to_owned())).collect();
        let agent = AgentConfig {
            protocol,
            argv: table.argv.clone(),
            env,
            pass_env: table.pass_env.clone(),
            image: table.image.clone(),
            description: table.description.clone(),
        };
        agents.insert(name.clone(), agent);
    }
    Ok(Catalogue::new(agents)?)
}

/// Answers `GET /v1/agents`.
pub(super) fn ask(catalogue: Arc<Catalogue>, engine: Engine) -> Ask<Vec<AgentInfo>> {
    Arc::new(move || {
        let (catalogue, engine) = (catalogue.clone(), engine.clone());
        Box::pin(async move {
            let mut agents = Vec::new();
            for entry in catalogue.entries() {
                let present = engine.image_exists(entry.image()).await.ok();
                agents.push(AgentInfo {
                    name: entry.name().to_owned(),
                    protocol: entry.protocol().as_str().to_owned(),
                    description: Some(entry.description().to_owned()).filter(|text| !text.is_empty()),
                    image: entry.image().to_owned(),
                    image_present: present,
                    hint: (present == Some(false)).then(|| image_hint(entry.image())),
                });
            }
            agents
        })
    })
}
