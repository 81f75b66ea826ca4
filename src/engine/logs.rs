//! What a container's PID 1 wrote, as the engine keeps it.

use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Engine, EngineError};

impl Engine {
    /// The last `tail` lines, each behind its time; `follow`: then what comes, until the container ends. The stream is
    /// cut into pieces anywhere.
    pub fn container_logs(
        &self,
        container: &str,
        tail: usize,
        follow: bool,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(follow);
        let options = options.tail(&tail.to_string()).build();
        let (engine, what) = (self.clone(), format!("the log of container {container}"));
        let pieces = self.docker.logs(container, Some(options));
        pieces.map(move |piece| match piece {
            Ok(piece) => Ok(piece.into_bytes()),
            Err(error) => Err(engine.sorted(&what, &error)),
        })
    }
}
