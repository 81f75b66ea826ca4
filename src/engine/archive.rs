//! Files into and out of a container, as tar archives.

use bollard::{
    body_full,
    query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Engine, EngineError, LONG};

impl Engine {
    /// Unpacks a tar archive into the directory `path` of a container, which need not run.
    ///
    /// # Errors
    /// `NotFound` (the container or the directory), `NoSpace`, …
    pub async fn put_archive(&self, container: &str, path: &str, archive: Bytes) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let call = self.docker.upload_to_container(container, Some(options), body_full(archive));
        self.call(&format!("{path} in container {container}"), LONG, call).await
    }

    /// What is at `path` in a container, as a tar archive of at most `limit` bytes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where it is longer than `limit`; …
    pub async fn get_archive(&self, container: &str, path: &str, limit: usize) -> Result<Vec<u8>, EngineError> {
        let what = format!("{path} in container {container}");
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut body = self.docker.download_from_container(container, Some(options));
        let mut archive = Vec::new();
        let mut within = true;
        let all = async {
            while let Some(chunk) = body.next().await {
                let chunk = chunk?;
                within = archive.len() + chunk.len() <= limit;
                if !within {
                    break;
                }
                archive.extend_from_slice(&chunk);
            }
            Ok(())
        };
        self.call(&what, LONG, all).await?;
        if within {
            Ok(archive)
        } else {
            Err(EngineError::Invalid { message: format!("{what} is longer than {limit} bytes") })
        }
    }
}
