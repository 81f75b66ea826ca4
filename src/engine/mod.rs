//! The container engine, over bollard: containers, execs, volumes, images, archives, events; every call has a timeout.

mod archive;
mod container;
mod error;
mod events;
mod exec;
mod image;
mod logs;
mod network;
mod transport;
mod volume;

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bollard::{Docker, errors::Error as Bollard};

pub use container::{Container, ContainerSpec, ContainerState, Mount, MountKind};
pub use error::EngineError;
pub use events::{EngineEvent, EventKind, Events};
pub use exec::{ExecEnd, ExecProbe, ExecStream};
pub use transport::{DEFAULT_ENDPOINT, Endpoint};
pub use volume::Volume;

/// The label that names the daemon that made an object.
pub const LABEL_INSTANCE: &str = "wharf.instance";
/// The label that names the workspace that an object belongs to.
pub const LABEL_WORKSPACE: &str = "wharf.workspace";
/// The label that names the version of tether that a container runs or a volume holds.
pub const LABEL_TETHER: &str = "wharf.tether";

/// For what an engine answers at once, even a busy one.
const SHORT: Duration = Duration::from_secs(30);
/// For what may wait for a disk, an image's unpacking or another container.
const LONG: Duration = Duration::from_secs(180);

/// Pairs of a label's key and value.
pub type LabelSet = std::collections::BTreeMap<String, String>;

/// What the engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVersion {
    /// The program's version.
    pub version: String,
    /// The newest API that it speaks.
    pub api: String,
}

/// A container engine; cheap to clone. Nothing is connected before the first call, and a call that finds a connection
/// broken makes a new one: an engine that was away is used again when it is back.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    endpoint: Arc<Endpoint>,
    negotiated: transport::Negotiated,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.endpoint).finish()
    }
}

impl Engine {
    /// An engine at `address`, written as `DOCKER_HOST` is.
    ///
    /// # Errors
    /// `Invalid` where the address can't be read; an engine that is not there is no error.
    pub fn new(address: &str) -> Result<Self, EngineError> {
        let endpoint = Endpoint::parse(address)?;
        let negotiated = transport::Negotiated::default();
        let docker = transport::client(&endpoint, &negotiated, LONG)?;
        Ok(Self { docker, endpoint: Arc::new(endpoint), negotiated })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// `Unreachable` with what to do.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.bounded("ping", Duration::from_secs(5), self.docker.ping()).await.map(drop)
    }

    /// What it is.
    ///
    /// # Errors
    /// `Unreachable` with what to do.
    pub async fn version(&self) -> Result<EngineVersion, EngineError> {
        let answer = self.bounded("version", SHORT, self.docker.version()).await?;
        Ok(EngineVersion { version: answer.version.unwrap_or_default(), api: answer.api_version.unwrap_or_default() })
    }

    /// How many cores its machine has, where it tells.
    ///
    /// # Errors
    /// `Unreachable` with what to do.
    pub async fn cpus(&self) -> Result<Option<u32>, EngineError> {
        let answer = self.call("info", SHORT, self.docker.info()).await?;
        Ok(answer.ncpu.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
    }

    /// Agrees on the API version once for each life of the engine: an older one refuses a newer version's paths.
    async fn negotiate(&self) -> Result<(), EngineError> {
        if self.negotiated.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let theirs = self.version().await?.api;
        let minor = theirs.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
        match minor {
            Some(minor) if minor >= transport::OLDEST => {
                self.negotiated.store(minor.min(transport::NEWEST), Ordering::Relaxed);
                Ok(())
            }
            _ => Err(EngineError::Other {
                what: "negotiating the API version".into(),
                message: format!(
                    "the engine speaks API {theirs:?}, at least 1.{} is needed: update the engine",
                    transport::OLDEST
                ),
            }),
        }
    }

    /// Makes a call under a timeout, with the version negotiated.
    async fn call<T>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, EngineError> {
        self.negotiate().await?;
        self.bounded(what, limit, call).await
    }

    async fn bounded<T>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.sorted(what, &error)),
            Err(_) => Err(EngineError::Timeout { what: what.to_owned(), seconds: limit.as_secs() }),
        }
    }

    fn sorted(&self, what: &str, error: &Bollard) -> EngineError {
        let sorted = EngineError::sort(what, &self.endpoint.to_string(), error);
        if matches!(sorted, EngineError::Unreachable { .. }) {
            // What answers next may be another version.
            self.negotiated.store(0, Ordering::Relaxed);
        }
        sorted
    }
}

/// The engine's filter for objects that carry all of `labels`; an empty value means any.
fn label_filter(labels: &[(&str, &str)]) -> std::collections::HashMap<String, Vec<String>> {
    let wanted =
        labels.iter().map(|(key, value)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") });
    [("label".to_owned(), wanted.collect())].into()
}
