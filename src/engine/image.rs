//! Images: looked for, imported from an archive, removed.

use bollard::{
    body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Engine, EngineError, LONG, LabelSet, SHORT};

impl Engine {
    /// Whether the engine has the image.
    ///
    /// # Errors
    /// `Invalid` where the reference can't be, `Unreachable`, …
    pub async fn image_exists(&self, image: &str) -> Result<bool, EngineError> {
        match self.call(image, SHORT, self.docker.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(EngineError::ImageMissing { .. } | EngineError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An image's labels; `None` where the engine has no such image.
    ///
    /// # Errors
    /// `Invalid` where the reference can't be, `Unreachable`, …
    pub async fn image_labels(&self, image: &str) -> Result<Option<LabelSet>, EngineError> {
        match self.call(image, SHORT, self.docker.inspect_image(image)).await {
            Ok(found) => {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                Ok(Some(labels.into_iter().collect()))
            }
            Err(EngineError::ImageMissing { .. } | EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an image from a tar archive of its files.
    ///
    /// # Errors
    /// `Invalid`, `NoSpace`, …
    pub async fn import_image(&self, repository: &str, tag: &str, archive: Bytes) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).build();
        let mut answers = self.docker.create_image(Some(options), Some(body_full(archive)), None);
        let all = async {
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        };
        self.call(&format!("{repository}:{tag}"), LONG, all).await
    }

    /// Removes an image's name, and the image where it was the last; one that does not exist is no error.
    ///
    /// # Errors
    /// `Conflict` where a container uses it, …
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let call = self.docker.remove_image(image, Some(RemoveImageOptionsBuilder::new().build()), None);
        match self.call(image, LONG, call).await {
            Ok(_) | Err(EngineError::ImageMissing { .. } | EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
