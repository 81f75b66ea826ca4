//! Starting an agent: everything that it is given is put together here, secrets read where they are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Actor;
use crate::agent::adapter::StartOptions;
use crate::agent::{AgentEntry, Own, Secrets, Surroundings};
use crate::domain::WorkspaceRecord;
use crate::seal::Sealer;
use crate::session::SessionError;
use crate::tether::client::StartProcess;
use crate::workspace::{Footing, WorkspaceError};

/// A start of which only what the agent itself brings along is missing: that may have to be read from files.
pub(super) struct Start {
    entry: AgentEntry,
    surroundings: Arc<dyn Surroundings>,
    options: StartOptions,
    id: String,
    given: Given,
}

/// What a session and its workspace give to their agents.
struct Given {
    workspace: BTreeMap<String, String>,
    session: BTreeMap<String, String>,
    mcp_servers: Vec<Value>,
}

impl Given {
    fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        self.workspace.iter().for_each(|(name, value)| secrets.named(name, value));
        self.session.iter().for_each(|(name, value)| secrets.named(name, value));
        self.mcp_servers.iter().for_each(|server| secrets.mcp_server(server));
        secrets
    }
}

impl Start {
    /// The request to the tether of which this is the footing, and what nobody is to see of it. Reads files: not for a task
    /// that others wait behind.
    pub(super) fn finish(self, footing: &Footing) -> Result<(StartProcess, Secrets), String> {
        let Self { entry, surroundings, options, id, given } = self;
        let own = Own { workspace: &given.workspace, session: &given.session };
        let launch = entry.launch(&options, &own, &*surroundings).map_err(|e| e.to_string())?;
        let mut secrets = given.secrets();
        secrets.join(&launch.secrets);
        let mut env = footing.env();
        env.extend(given.workspace);
        env.extend(launch.env);
        env.extend(given.session);
        let request = StartProcess {
            id,
            argv: launch.argv,
            env,
            files: launch.files.into_iter().map(|(path, text)| (footing.place(&path), text)).collect(),
            cwd: options.cwd,
            uid: footing.uid,
            gid: footing.gid,
            pty: None,
        };
        Ok((request, secrets))
    }

    /// What nobody is to see of a process that runs: what it would be given now.
    pub(super) fn secrets(&self) -> Secrets {
        let mut secrets = self.given.secrets();
        secrets.join(&self.entry.secrets(&*self.surroundings));
        secrets
    }
}

impl Actor {
    /// What is known of a start without reading files: the workspace's environment, then the agent's, then the
    /// session's own.
    pub(super) fn start(&self, process: &str, options: StartOptions) -> Result<Start, SessionError> {
        let workspace: WorkspaceRecord = self
            .shared
            .store
            .workspace(&self.record.workspace)?
            .ok_or_else(|| WorkspaceError::NotFound { looked_up: self.record.workspace.to_string() })?;
        let session = match &self.record.sealed_env {
            Some(sealed) => open_json(&self.shared.sealer, sealed)?,
            None => BTreeMap::new(),
        };
        let workspace = self.shared.workspaces.process_env(&workspace)?.into_iter().collect();
        Ok(Start {
            entry: self.entry.clone(),
            surroundings: self.shared.surroundings.clone(),
            id: self.tether_id(process),
            given: Given { workspace, session, mcp_servers: options.mcp_servers.clone() },
            options,
        })
    }

    /// How the agent is to be started.
    pub(super) fn start_options(&self, resume: Option<String>) -> Result<StartOptions, SessionError> {
        let record = &self.record;
        let mcp_servers = match &record.sealed_mcp_servers {
            Some(sealed) => open_json(&self.shared.sealer, sealed)?,
            None => Vec::new(),
        };
        Ok(StartOptions {
            cwd: record.cwd.clone(),
            model: record.model.clone(),
            mode: record.mode.clone(),
            permissions: record.permissions,
            mcp_servers,
            resume,
            fresh_id: uuid::Uuid::new_v4().to_string(),
        })
    }
}

/// What was sealed as JSON.
fn open_json<T: serde::de::DeserializeOwned>(sealer: &Sealer, sealed: &[u8]) -> Result<T, SessionError> {
    let unreadable = |why: String| SessionError::Invalid {
        field: "env",
        message: format!(
            "what was sealed for this session can't be read: {why}: the key file is not the one it was sealed with"
        ),
    };
    let json = sealer.open(sealed).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_slice(&json).map_err(|e| unreadable(e.to_string()))
}
