//! Reading: views, lists and pages of events.

use super::super::{EventPage, SessionError, SessionFilter, SessionView};
use super::Sessions;
use crate::domain::{Page, Progress, SessionId, SessionRecord, SessionStatus, TurnError, WorkspaceId};
use crate::store::SessionIndex;

/// How many records are looked at between two looks at the limit.
const CHUNK: usize = 256;
/// How much of a log is read at once.
const READ_BYTES: usize = 1024 * 1024;

impl Sessions {
    /// Newest first; `after` is the id that the page before ended with.
    ///
    /// # Errors
    /// `Invalid` for an `after` that is no id; `Workspace` for a workspace that is not there.
    pub async fn list(
        &self,
        filter: SessionFilter,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<SessionView>, SessionError> {
        let mut before = after
            .as_deref()
            .map(str::parse::<SessionId>)
            .transpose()
            .map_err(|e| SessionError::Invalid { field: "after", message: e.to_string() })?;
        let workspace = match &filter.workspace {
            Some(name) => Some(self.shared.workspaces.resolve(name)?.id),
            None => None,
        };
        let mut items: Vec<SessionView> = Vec::new();
        let source = Source::of(&filter, workspace.as_ref());
        loop {
            let (records, last) = self.candidates(&source, &filter, before.as_ref())?;
            let more = last.is_some();
            before = last;
            for record in records {
                if !matches(&filter, workspace.as_ref(), &record) {
                    continue;
                }
                let view = self.view(record)?;
                if filter.status.is_some_and(|status| status != view.status) {
                    continue;
                }
                if items.len() == limit {
                    let next = items.last().map(|s| s.id.to_string());
                    return Ok(Page { items, next });
                }
                items.push(view);
            }
            if !more {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// The next sessions of a source, and where to read on.
    fn candidates(
        &self,
        source: &Source,
        filter: &SessionFilter,
        before: Option<&SessionId>,
    ) -> Result<(Vec<SessionRecord>, Option<SessionId>), SessionError> {
        let store = &self.shared.store;
        let ids = match source {
            Source::Index(index) => store.sessions_by(index, before, CHUNK)?,
            Source::App(app) => store.sessions_of_app(app, before, CHUNK)?,
            Source::Open => store.open_sessions(before, CHUNK, |session| {
                filter.agent.as_deref().is_none_or(|agent| agent == session.agent)
                    && filter.status.is_none_or(|status| status == session.standing.status)
            }),
            Source::All => {
                let records = store.sessions(before, CHUNK)?;
                let last = records.last().filter(|_| records.len() == CHUNK).map(|record| record.id.clone());
                return Ok((records, last));
            }
        };
        let last = ids.last().filter(|_| ids.len() == CHUNK).cloned();
        let records = ids.iter().map(|id| store.session(id)).filter_map(Result::transpose);
        Ok((records.collect::<Result<_, _>>()?, last))
    }

    /// Events after `after`, at most `limit`, of the given types (none: all). `next` is set while the log has more.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where `after` is beyond the log's end.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
        limit: usize,
        types: &[String],
    ) -> Result<EventPage, SessionError> {
        let record = self.resolve(id)?;
        let last = self.progress(&record)?.last_seq;
        if after > last {
            let message = format!("the log of {} ends at event {last}, and {after} is beyond it", record.id);
            return Err(SessionError::Invalid { field: "after", message });
        }
        let (store, types) = (self.shared.store.clone(), types.to_vec());
        let read = tokio::task::spawn_blocking(move || {
            let mut items = Vec::new();
            let mut cursor = after;
            while cursor < last {
                let runs = store.runs(&record.id, cursor + 1, READ_BYTES)?;
                if runs.is_empty() {
                    break;
                }
                for run in &runs {
                    for (seq, json) in run.events().filter(|(seq, _)| *seq <= last) {
                        if seq <= cursor {
                            continue;
                        }
                        if items.len() == limit {
                            return Ok(EventPage { items, next: Some(cursor) });
                        }
                        cursor = seq;
                        if is_of(json, &types) {
                            items.push(json.to_owned());
                        }
                    }
                    cursor = cursor.max(run.last_seq().min(last));
                }
            }
            Ok(EventPage { items, next: None })
        });
        read.await.map_err(|_| SessionError::Stopping)?
    }

    /// How far a session has come; one whose creation was cut short has come nowhere.
    pub(super) fn progress(&self, record: &SessionRecord) -> Result<Progress, SessionError> {
        Ok(self.shared.store.progress(&record.id)?.unwrap_or_else(|| Progress::new(record.created)))
    }

    /// A session as clients see it.
    pub(super) fn view(&self, record: SessionRecord) -> Result<SessionView, SessionError> {
        let mut progress = self.progress(&record)?;
        if record.closed.is_none()
            && let Err(e) = self.shared.store.health()
        {
            // It can't be written that the session has failed: nothing can.
            progress.status = SessionStatus::Error;
            progress.error = Some(TurnError { message: e.to_string(), status: None });
        }
        Ok(SessionView {
            summary: progress.summary.clone().or_else(|| record.key.as_ref().map(ToString::to_string)),
            status: if record.closed.is_some() { SessionStatus::Closed } else { progress.status },
            error: progress.error,
            turn: progress.turn.as_ref().map(|t| crate::domain::PromptRecord::turn_name(t.prompt)),
            queued: progress.queue.len(),
            turns: progress.turns,
            turns_used: progress.spent.turns,
            max_turns: record.caps.max_turns,
            cost: progress.spent.cost(),
            max_cost: record.caps.max_cost,
            dirty: progress.dirty.is_some(),
            last_seq: progress.last_seq,
            updated: progress.updated,
            id: record.id,
            key: record.key,
            agent: record.agent,
            workspace: record.workspace,
            model: record.model,
            mode: record.mode,
            cwd: record.cwd,
            permissions: record.permissions,
            agent_session_id: record.agent_session_id,
            project: record.project,
            channel: record.channel,
            task_id: record.task_id,
            mcp_session_id: record.mcp_session_id,
            labels: record.labels,
            created: record.created,
            closed: record.closed,
        })
    }
}

/// Where the sessions of a list come from: the index that leaves the fewest.
enum Source {
    Index(SessionIndex),
    App(String),
    /// The open ones, which are in memory.
    Open,
    All,
}

impl Source {
    fn of(filter: &SessionFilter, workspace: Option<&WorkspaceId>) -> Self {
        let indexed = filter
            .task_id
            .clone()
            .map(SessionIndex::Task)
            .or_else(|| filter.mcp_session_id.clone().map(SessionIndex::McpSession))
            .or_else(|| workspace.cloned().map(SessionIndex::Workspace))
            .or_else(|| filter.project.clone().map(SessionIndex::Project))
            .or_else(|| filter.labels.first().map(|(label, value)| SessionIndex::Label(label.clone(), value.clone())));
        match (indexed, &filter.app) {
            (Some(index), _) => Self::Index(index),
            (None, Some(app)) => Self::App(app.clone()),
            (None, None) if filter.wants_closed() => Self::All,
            (None, None) => Self::Open,
        }
    }
}

fn matches(filter: &SessionFilter, workspace: Option<&WorkspaceId>, record: &SessionRecord) -> bool {
    let same = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
    (filter.wants_closed() || record.closed.is_none())
        && filter.app.as_deref().is_none_or(|app| record.key.as_ref().is_some_and(|key| key.app() == app))
        && filter.agent.as_deref().is_none_or(|agent| agent == record.agent)
        && workspace.is_none_or(|id| *id == record.workspace)
        && same(&filter.project, &record.project)
        && same(&filter.task_id, &record.task_id)
        && same(&filter.mcp_session_id, &record.mcp_session_id)
        && filter.labels.iter().all(|(k, v)| record.labels.get(k) == Some(v))
}

/// Whether an event's JSON is of one of the types.
pub(in crate::session) fn is_of(json: &str, types: &[String]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    types.is_empty()
        || serde_json::from_str::<Typed<'_>>(json).is_ok_and(|event| types.iter().any(|t| *t == event.kind))
}
