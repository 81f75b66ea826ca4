//! All that a call could have changed: a bad one must leave it as it was.

use serde_json::Value;

use super::support::{Client, Daemon};

/// What a client and the engine see.
#[derive(Debug, PartialEq)]
pub(crate) struct World {
    workspaces: Value,
    sessions: Value,
    containers: Vec<String>,
    volumes: Vec<String>,
}

impl World {
    pub(crate) async fn of(daemon: &Daemon, client: &Client) -> Self {
        let mut workspaces = client.get("/v1/workspaces?limit=1000").await.expect(200);
        for workspace in workspaces["items"].as_array_mut().expect("a list") {
            // What the engine says comes in its own time; the containers are compared below.
            workspace.as_object_mut().expect("an object").remove("status");
        }
        Self {
            workspaces,
            sessions: client.get("/v1/sessions?closed=true&limit=1000").await.expect(200),
            containers: daemon.containers(),
            volumes: daemon.volumes(),
        }
    }

    /// Panics where anything is not as it was.
    pub(crate) async fn unchanged(&self, daemon: &Daemon, client: &Client, after: &str) {
        assert_eq!(Self::of(daemon, client).await, *self, "changed by {after}");
    }
}
