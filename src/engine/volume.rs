//! Volumes: listed and removed by name and label; they are made by the container that mounts them first.

use bollard::{
    models::VolumeCreateRequest,
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder},
};

use super::{Engine, EngineError, LONG, LabelSet, SHORT, label_filter};

/// A volume as the engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: LabelSet,
}

impl Engine {
    /// Makes a volume; one of this name is left as it is.
    ///
    /// # Errors
    /// `NoSpace`, `Invalid`, …
    pub async fn create_volume(&self, name: &str, labels: &LabelSet) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        self.call(&format!("volume {name}"), LONG, self.docker.create_volume(request)).await.map(drop)
    }

    /// Whether the engine's file system can limit a volume's size; `Err` within: why it can't, in the engine's words.
    /// Asked by making one that is `name` and removing it: nothing else tells.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn limits_volumes(&self, name: &str, labels: &LabelSet) -> Result<Result<(), String>, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver_opts: Some([("size".to_owned(), (1_u64 << 30).to_string())].into()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        match self.call(&format!("volume {name}"), LONG, self.docker.create_volume(request)).await {
            Ok(_) => self.remove_volume(name).await.map(Ok),
            Err(EngineError::Invalid { message } | EngineError::Other { message, .. }) => Ok(Err(message)),
            Err(error) => Err(error),
        }
    }

    /// Whether a volume exists.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn volume_exists(&self, name: &str) -> Result<bool, EngineError> {
        match self.call(&format!("volume {name}"), SHORT, self.docker.inspect_volume(name)).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All volumes that carry all of `labels` (an empty value: whatever it is); `unused`: only those that no container,
    /// running or not, mounts.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn list_volumes(&self, labels: &[(&str, &str)], unused: bool) -> Result<Vec<Volume>, EngineError> {
        let mut filter = label_filter(labels);
        if unused {
            filter.insert("dangling".into(), vec!["true".into()]);
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
        let found = self.call("listing volumes", SHORT, self.docker.list_volumes(Some(options))).await?;
        let volumes = found.volumes.unwrap_or_default();
        Ok(volumes.into_iter().map(|v| Volume { name: v.name, labels: v.labels.into_iter().collect() }).collect())
    }

    /// Removes a volume with what it holds; one that does not exist is no error.
    ///
    /// # Errors
    /// `Conflict` where a container mounts it, …
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let call = self.docker.remove_volume(name, Some(RemoveVolumeOptionsBuilder::new().build()));
        match self.call(&format!("volume {name}"), LONG, call).await {
            Ok(()) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
