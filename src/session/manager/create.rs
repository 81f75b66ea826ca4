//! Making a session: everything is checked first, then all of it is one batch.

use std::collections::BTreeMap;

use agent_client_protocol_schema::v1::McpServer;

use super::super::{Created, NewPrompt, NewSession, SessionChanges, SessionError, WorkspaceChoice};
use super::{Command, Sessions};
use crate::agent::AgentEntry;
use crate::agent::adapter::Unsupported;
use crate::domain::{
    Caps, Event, EventData, Labels, Progress, Run, SessionId, SessionKey, SessionRecord, Timestamp, WhenBusy,
    WorkspaceRecord, WorkspaceSpec,
};
use crate::session::shared::with_room;
use crate::store::{Batch, StoreError};
use crate::workspace::Workspaces;

/// How many labels a session may have, and how long a field may be, in bytes.
const LABELS_MAX: usize = 32;
const FIELD_MAX: usize = 256;
/// How much environment and how many MCP servers a session may have.
const ENV_MAX: usize = 128;
const ENV_BYTES_MAX: usize = 8 * 1024;
const MCP_SERVERS_MAX: usize = 32;

impl Sessions {
    /// Makes a session, or returns the one that has the key. Durable when it returns; the agent is started in the
    /// background.
    ///
    /// # Errors
    /// `Invalid`, `UnknownAgent`, `Workspace`; nothing was made.
    pub async fn create(&self, new: NewSession) -> Result<Created, SessionError> {
        let key = new.key.as_deref().map(str::parse::<SessionKey>).transpose()?;
        check(&new)?;
        let prompt = new.prompt.clone().map(|content| NewPrompt { content, when_busy: WhenBusy::Queue });
        if let Some(prompt) = &prompt {
            super::check_content(prompt.content.clone())?;
        }
        let entry = self.entry(&new.agent)?;
        check_abilities(&new, &entry)?;
        let mut batch = Batch::new();
        if let Some(id) = key.as_ref().map(|key| self.shared.store.session_by_key(key)).transpose()?.flatten() {
            match self.shared.store.session(&id)? {
                // A closed session keeps its key until another one wants it.
                Some(closed) if closed.closed.is_some() => batch.put_session(SessionRecord { key: None, ..closed }),
                _ => return self.known(&id, new, prompt).await,
            };
        }
        self.shared.store.room_to_begin()?;
        let id = SessionId::new(&new.agent);
        let (workspace, fresh) = self.workspace(&new, &entry, &id).await?;
        let cwd = self.shared.workspaces.working_directory(&workspace, new.cwd.as_deref()).await?;
        let record = self.record(&id, key.clone(), &new, &workspace, cwd)?;
        let mut probe = Batch::new();
        let fits = probe.put_session(with_room(&record)).check();
        if fresh {
            batch.put_workspace(workspace);
        }
        created(&record, &mut batch);
        let made = match fits {
            Ok(()) => self.shared.store.commit(batch).await,
            Err(e) => Err(e),
        };
        match made {
            Ok(()) => {}
            Err(StoreError::Taken { .. }) => {
                // Two asked at once: the other one's session is this one's too.
                if let Some(id) = key.map(|key| self.shared.store.session_by_key(&key)).transpose()?.flatten() {
                    return self.known(&id, new, prompt).await;
                }
                return Err(SessionError::Stopping);
            }
            Err(StoreError::TooLarge { limit, .. }) => {
                return Err(SessionError::Invalid {
                    field: "env",
                    message: format!(
                        "environment, MCP servers and labels are too large: encoded, a session takes at most {limit} bytes"
                    ),
                });
            }
            Err(e) => return Err(e.into()),
        }
        self.begin(&id, prompt).await?;
        Ok(Created { session: self.get(id.as_str()).await?, new: true })
    }

    /// The first prompt wakes the agent; without one it is woken in the background.
    async fn begin(&self, id: &SessionId, prompt: Option<NewPrompt>) -> Result<(), SessionError> {
        if let Some(prompt) = prompt {
            self.prompt_record(id, prompt, None).await?;
        } else {
            let (reply, _unheard) = tokio::sync::oneshot::channel();
            self.handle(id).send(Command::Wake { reply }).await;
        }
        Ok(())
    }

    /// A session whose key was known: its model is updated if another is asked for, the newest channel and the first
    /// project are kept.
    async fn known(&self, id: &SessionId, new: NewSession, prompt: Option<NewPrompt>) -> Result<Created, SessionError> {
        let session = self.get(id.as_str()).await?;
        if session.agent != new.agent {
            return Err(SessionError::Invalid {
                field: "agent",
                message: format!("the key belongs to session {id} of agent `{}`: choose another key", session.agent),
            });
        }
        let NewSession { model, project, channel, .. } = new;
        let known =
            |reply| Command::Known { model: model.clone(), project: project.clone(), channel: channel.clone(), reply };
        self.ask(id, known).await?;
        if let Some(prompt) = prompt {
            self.prompt_record(id, prompt, None).await?;
        }
        Ok(Created { session: self.get(id.as_str()).await?, new: false })
    }

    pub(super) fn entry(&self, agent: &str) -> Result<AgentEntry, SessionError> {
        self.shared.catalogue.get(agent).cloned().ok_or_else(|| SessionError::UnknownAgent {
            name: agent.chars().take(64).collect(),
            known: self.shared.catalogue.names().map(str::to_owned).collect(),
        })
    }

    async fn workspace(
        &self,
        new: &NewSession,
        entry: &AgentEntry,
        id: &SessionId,
    ) -> Result<(WorkspaceRecord, bool), SessionError> {
        let spec = match &new.workspace {
            Some(WorkspaceChoice::Existing(name)) if Workspaces::is_host_name(name) => {
                return Ok((self.shared.workspaces.host().await?, false));
            }
            Some(WorkspaceChoice::Existing(name)) => return Ok((self.shared.workspaces.resolve(name)?, false)),
            Some(WorkspaceChoice::Inline(spec)) => WorkspaceSpec::clone(spec),
            None => WorkspaceSpec::default(),
        };
        let image = spec.image.clone().or_else(|| Some(entry.image().to_owned()));
        let spec = WorkspaceSpec { image, ..spec };
        Ok((self.shared.workspaces.prepare(None, spec, Some(id.clone())).await?, true))
    }

    fn record(
        &self,
        id: &SessionId,
        key: Option<SessionKey>,
        new: &NewSession,
        workspace: &WorkspaceRecord,
        cwd: String,
    ) -> Result<SessionRecord, SessionError> {
        Ok(SessionRecord {
            id: id.clone(),
            key,
            agent: new.agent.clone(),
            workspace: workspace.id.clone(),
            created: Timestamp::now(),
            model: new.model.clone(),
            mode: new.mode.clone(),
            cwd,
            sealed_mcp_servers: (!new.mcp_servers.is_empty()).then(|| self.seal(&new.mcp_servers)).transpose()?,
            permissions: new.permissions,
            sealed_env: (!new.env.is_empty()).then(|| self.seal(&new.env)).transpose()?,
            agent_session_id: new.agent_session_id.clone(),
            project: new.project.clone(),
            channel: new.channel.clone(),
            task_id: new.task_id.clone(),
            mcp_session_id: new.mcp_session_id.clone(),
            labels: new.labels.clone(),
            caps: self.caps(new),
            closed: None,
        })
    }

    /// The caps asked for, else the operator's; 0 stands for none.
    fn caps(&self, new: &NewSession) -> Caps {
        let Caps { max_turns, max_cost } = self.shared.rules.caps;
        Caps {
            max_turns: new.max_turns.or(max_turns).filter(|turns| *turns > 0),
            max_cost: new.max_cost.or(max_cost).filter(|cost| *cost > 0.0),
        }
    }

    fn seal(&self, value: &impl serde::Serialize) -> Result<Vec<u8>, SessionError> {
        let json =
            serde_json::to_vec(value).map_err(|e| SessionError::Invalid { field: "env", message: e.to_string() })?;
        self.shared.sealer.seal(&json).map_err(|e| SessionError::Invalid { field: "env", message: e.to_string() })
    }
}

/// Puts a new session into a batch: record, progress and its first event.
pub(super) fn created(record: &SessionRecord, batch: &mut Batch) {
    let data = EventData::SessionCreated {
        agent: record.agent.clone(),
        workspace: record.workspace.clone(),
        key: record.key.clone(),
        labels: record.labels.clone(),
    };
    let mut bytes = Vec::new();
    Run::render(&Event { seq: 1, session: &record.id, turn: None, time: record.created, data: &data }, &mut bytes);
    let mut progress = Progress::new(record.created);
    progress.last_seq = 1;
    progress.agent_session_id.clone_from(&record.agent_session_id);
    batch.put_session(record.clone());
    batch.append(record.id.clone(), &Run { first_seq: 1, count: 1, bytes: bytes.into() });
    batch.put_progress(record.id.clone(), &progress);
}

fn check(new: &NewSession) -> Result<(), SessionError> {
    let fields = [
        ("model", &new.model),
        ("mode", &new.mode),
        ("agent_session_id", &new.agent_session_id),
        ("project", &new.project),
        ("channel", &new.channel),
        ("task_id", &new.task_id),
        ("mcp_session_id", &new.mcp_session_id),
    ];
    for (field, value) in fields {
        check_text(field, value.as_deref())?;
    }
    check_labels(&new.labels)?;
    check_cost(new.max_cost)?;
    check_env(&new.env)?;
    if let Some(cwd) = &new.cwd {
        let whole =
            cwd.starts_with('/') && cwd.len() <= 4096 && !cwd.contains('\0') && !cwd.split('/').any(|p| p == "..");
        if !whole {
            return invalid("cwd", "it must be an absolute path in the workspace, without `..`".to_owned());
        }
    }
    if new.mcp_servers.len() > MCP_SERVERS_MAX {
        return invalid("mcp_servers", format!("at most {MCP_SERVERS_MAX}"));
    }
    for (i, server) in new.mcp_servers.iter().enumerate() {
        if let Err(e) = serde_json::from_value::<McpServer>(server.clone()) {
            return invalid("mcp_servers", format!("server {i} is no ACP McpServer: {e}"));
        }
    }
    Ok(())
}

/// Refuses what is known already that the agent can't do.
fn check_abilities(new: &NewSession, entry: &AgentEntry) -> Result<(), SessionError> {
    let checks = [
        new.mode.as_deref().map_or(Ok(()), |mode| entry.check_mode(mode)),
        new.agent_session_id.as_ref().map_or(Ok(()), |_| entry.check_resume()),
        entry.check_mcp(&new.mcp_servers),
    ];
    checks.into_iter().collect::<Result<(), _>>().map_err(|Unsupported(why)| SessionError::Unsupported(why))
}

/// Checks the fields of a change.
pub(super) fn check_changes(changes: &SessionChanges) -> Result<(), SessionError> {
    let fields = [
        ("model", &changes.model),
        ("mode", &changes.mode),
        ("project", &changes.project),
        ("channel", &changes.channel),
        ("task_id", &changes.task_id),
    ];
    for (field, value) in fields {
        check_text(field, value.as_deref())?;
    }
    check_cost(changes.max_cost)?;
    changes.labels.as_ref().map_or(Ok(()), check_labels)
}

fn check_cost(cost: Option<f64>) -> Result<(), SessionError> {
    match cost {
        Some(cost) if !(cost.is_finite() && cost >= 0.0) => {
            invalid("max_cost", "it must be a number, 0 or more; 0 stands for no cap".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_text(field: &'static str, value: Option<&str>) -> Result<(), SessionError> {
    match value {
        Some(text) if text.is_empty() || text.len() > FIELD_MAX || text.chars().any(char::is_control) => {
            invalid(field, format!("it must have 1 to {FIELD_MAX} bytes and no control characters"))
        }
        _ => Ok(()),
    }
}

fn check_labels(labels: &Labels) -> Result<(), SessionError> {
    let long = |text: &String| text.len() > FIELD_MAX || text.chars().any(char::is_control);
    if labels.len() > LABELS_MAX || labels.iter().any(|(k, v)| k.is_empty() || long(k) || long(v)) {
        return invalid(
            "labels",
            format!("at most {LABELS_MAX}, keys and values of at most {FIELD_MAX} bytes without control characters"),
        );
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), SessionError> {
    let bytes: usize = env.iter().map(|(k, v)| k.len() + v.len()).sum();
    if env.len() > ENV_MAX || bytes > ENV_BYTES_MAX {
        return invalid("env", format!("at most {ENV_MAX} variables and {ENV_BYTES_MAX} bytes"));
    }
    match env.iter().find(|(k, v)| k.is_empty() || k.contains(['=', '\0']) || v.contains('\0')) {
        // The value may be a secret: only the name is told.
        Some((name, _)) => invalid("env", format!("the variable {name:?} can't be: no `=` in names, no NUL bytes")),
        None => Ok(()),
    }
}

fn invalid(field: &'static str, message: String) -> Result<(), SessionError> {
    Err(SessionError::Invalid { field, message })
}
