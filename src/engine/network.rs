//! Networks: looked for by name; they are made by whoever runs the engine.

use bollard::query_parameters::InspectNetworkOptions;

use super::{Engine, EngineError, SHORT};

impl Engine {
    /// Whether the engine has a network of this name.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn network_exists(&self, name: &str) -> Result<bool, EngineError> {
        let call = self.docker.inspect_network(name, None::<InspectNetworkOptions>);
        match self.call(&format!("network {name}"), SHORT, call).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. } | EngineError::Invalid { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
