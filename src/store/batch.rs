//! What is to be written together: all of it or nothing.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    census::Standing,
    key,
    value::{self, LOG_LIMIT, REGISTRY_LIMIT},
};
use crate::domain::{
    PermissionRecord, Progress, PromptNumber, PromptRecord, Run, SessionId, SessionRecord, Timestamp, WorkspaceId,
    WorkspaceRecord,
};

/// A token that opens the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its unique name.
    pub name: String,
    /// SHA-256 of the token; the token itself is not kept.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// Which prompt an `Idempotency-Key` stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// SHA-256 of the request that came with the key.
    pub request_hash: [u8; 32],
    /// The prompt that it made.
    pub prompt: PromptNumber,
    /// When it came.
    pub time: Timestamp,
}

/// One write; values are encoded already.
#[derive(Clone, Debug)]
pub(super) enum Op {
    PutWorkspace { record: Box<WorkspaceRecord>, value: Vec<u8> },
    DeleteWorkspace { id: WorkspaceId },
    PutSession { record: Box<SessionRecord>, value: Vec<u8> },
    DeleteSession { id: SessionId },
    PutToken { name: String, value: Vec<u8> },
    DeleteToken { name: String },
    PutMeta { key: String, value: Vec<u8> },
    Append { id: SessionId, first_seq: u64, last_seq: u64, value: Vec<u8> },
    PutProgress { id: SessionId, last_seq: u64, standing: Standing, value: Vec<u8> },
    PutPrompt { id: SessionId, n: PromptNumber, value: Vec<u8> },
    DeletePrompt { id: SessionId, n: PromptNumber },
    PutPermission { id: SessionId, permission: String, value: Vec<u8> },
    DeletePermission { id: SessionId, permission: String },
    PutIdempotency { id: SessionId, key: String, value: Vec<u8> },
    DeleteIdempotency { id: SessionId, key: String },
    DeleteEvents { id: SessionId },
    ForgetOrder { commits: Vec<u64> },
}

/// What is to be written together, in the order of the calls: all of it or nothing.
///
/// Log data (everything but workspaces, sessions, tokens and meta) need their session in the registry, or earlier in
/// the same batch. An error of a call (a value too large) fails the batch when it is submitted.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) ops: Vec<Op>,
    error: Option<StoreError>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.error.is_none()
    }

    /// About how many bytes it will write.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes + self.ops.len() * 64
    }

    /// Makes or changes a workspace. Its name must be free.
    pub fn put_workspace(&mut self, record: WorkspaceRecord) -> &mut Self {
        let name = record.name.as_deref().unwrap_or_default();
        let what = || format!("the record of workspace {}", record.id);
        let value = self.encode(what, &record, &[name], REGISTRY_LIMIT);
        self.push(value.map(|value| Op::PutWorkspace { record: Box::new(record), value }))
    }

    /// Deletes a workspace's record; one that is not there is no error. Its sessions are not touched.
    pub fn delete_workspace(&mut self, id: WorkspaceId) -> &mut Self {
        self.push(Some(Op::DeleteWorkspace { id }))
    }

    /// Makes or changes a session. Its key must be free.
    pub fn put_session(&mut self, record: SessionRecord) -> &mut Self {
        let fields = [&record.agent_session_id, &record.task_id, &record.project, &record.mcp_session_id];
        let labels = record.labels.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        let parts: Vec<&str> = fields.into_iter().filter_map(Option::as_deref).chain(labels).collect();
        let value = self.encode(|| format!("the record of session {}", record.id), &record, &parts, REGISTRY_LIMIT);
        self.push(value.map(|value| Op::PutSession { record: Box::new(record), value }))
    }

    /// Deletes a session with all its log; one that is not there is no error.
    pub fn delete_session(&mut self, id: SessionId) -> &mut Self {
        self.push(Some(Op::DeleteSession { id }))
    }

    /// Makes or changes a token.
    pub fn put_token(&mut self, record: TokenRecord) -> &mut Self {
        let value = self.encode(|| format!("token `{}`", record.name), &record, &[&record.name], REGISTRY_LIMIT);
        self.push(value.map(|value| Op::PutToken { name: record.name, value }))
    }

    /// Deletes a token; one that is not there is no error.
    pub fn delete_token(&mut self, name: impl Into<String>) -> &mut Self {
        self.push(Some(Op::DeleteToken { name: name.into() }))
    }

    /// Sets a free entry of the registry.
    pub fn put_meta(&mut self, key: impl Into<String>, bytes: impl AsRef<[u8]>) -> &mut Self {
        let key = key.into();
        let value = [&[value::VERSION], bytes.as_ref()].concat();
        let value = self.check_sizes(|| format!("meta `{key}`"), value, &[&key], REGISTRY_LIMIT);
        self.push(value.map(|value| Op::PutMeta { key, value }))
    }

    /// Appends a run to a session's log. It must begin right after the log's last event: after the last run, or, where
    /// there is none, after `last_seq` of the session's progress (0 without one).
    pub fn append(&mut self, id: SessionId, run: impl Borrow<Run>) -> &mut Self {
        let run = run.borrow();
        let last_seq = run.count.checked_sub(1).and_then(|more| run.first_seq.checked_add(more));
        let what = || format!("a run of session {id}");
        let op = match last_seq {
            Some(last_seq) if run.first_seq > 0 && last_seq < u64::MAX && !run.bytes.is_empty() => self
                .check_sizes(what, value::encode_run(run), &[], LOG_LIMIT)
                .map(|value| Op::Append { id, first_seq: run.first_seq, last_seq, value }),
            _ => {
                let why = "it is empty or its numbers can't be".to_owned();
                self.error.get_or_insert(StoreError::Invalid { what: what(), why });
                None
            }
        };
        self.push(op)
    }

    /// Sets how far a session has come.
    pub fn put_progress(&mut self, id: SessionId, progress: impl Borrow<Progress>) -> &mut Self {
        let progress = progress.borrow();
        let value = self.encode(|| format!("the progress of session {id}"), progress, &[], LOG_LIMIT);
        let standing = Standing::of(progress);
        self.push(value.map(|value| Op::PutProgress { id, last_seq: progress.last_seq, standing, value }))
    }

    /// Makes or changes a prompt.
    pub fn put_prompt(&mut self, id: SessionId, record: impl Borrow<PromptRecord>) -> &mut Self {
        let record = record.borrow();
        let value = self.encode(|| format!("prompt {} of session {id}", record.id), record, &[], LOG_LIMIT);
        self.push(value.map(|value| Op::PutPrompt { id, n: record.id, value }))
    }

    /// Deletes a prompt; one that is not there is no error.
    pub fn delete_prompt(&mut self, id: SessionId, n: PromptNumber) -> &mut Self {
        self.push(Some(Op::DeletePrompt { id, n }))
    }

    /// Makes or changes a permission request.
    pub fn put_permission(&mut self, id: SessionId, record: impl Borrow<PermissionRecord>) -> &mut Self {
        let record = record.borrow();
        let what = || format!("a permission request of session {id}");
        let value = self.encode(what, record, &[&record.id], LOG_LIMIT);
        self.push(value.map(|value| Op::PutPermission { id, permission: record.id.clone(), value }))
    }

    /// Deletes a permission request; one that is not there is no error.
    pub fn delete_permission(&mut self, id: SessionId, permission: impl Into<String>) -> &mut Self {
        self.push(Some(Op::DeletePermission { id, permission: permission.into() }))
    }

    /// Keeps which prompt an `Idempotency-Key` stands for.
    pub fn put_idempotency(
        &mut self,
        id: SessionId,
        key: impl Into<String>,
        record: impl Borrow<IdempotencyRecord>,
    ) -> &mut Self {
        let key = key.into();
        let what = || format!("an Idempotency-Key of session {id}");
        let value = self.encode(what, record.borrow(), &[&key], LOG_LIMIT);
        self.push(value.map(|value| Op::PutIdempotency { id, key, value }))
    }

    /// Forgets an `Idempotency-Key`; one that is not there is no error.
    pub fn delete_idempotency(&mut self, id: SessionId, key: impl Into<String>) -> &mut Self {
        self.push(Some(Op::DeleteIdempotency { id, key: key.into() }))
    }

    /// Deletes all events of a session. Its sequence goes on after `last_seq` of its progress.
    pub fn delete_events_of(&mut self, id: SessionId) -> &mut Self {
        self.push(Some(Op::DeleteEvents { id }))
    }

    /// Drops entries of the order of all runs, by their commits.
    pub(super) fn forget_order(&mut self, commits: Vec<u64>) -> &mut Self {
        self.push(Some(Op::ForgetOrder { commits }))
    }

    /// The first error of a call: what is asked of the batch can't be.
    ///
    /// # Errors
    /// `TooLarge`, `Invalid`.
    pub fn check(&self) -> Result<(), StoreError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// The encoded record, if it and the `parts` of its keys are within their limits.
    fn encode<T: Serialize>(
        &mut self,
        what: impl Fn() -> String,
        record: &T,
        parts: &[&str],
        limit: usize,
    ) -> Option<Vec<u8>> {
        match value::encode(&what, record) {
            Ok(value) => self.check_sizes(what, value, parts, limit),
            Err(e) => {
                self.error.get_or_insert(e);
                None
            }
        }
    }

    fn check_sizes(
        &mut self,
        what: impl Fn() -> String,
        value: Vec<u8>,
        parts: &[&str],
        limit: usize,
    ) -> Option<Vec<u8>> {
        let name = || format!("a name in {}", what());
        let checked = value::check_size(&what, value.len(), limit)
            .and_then(|()| parts.iter().try_for_each(|part| value::check_size(name, part.len(), key::PART_LIMIT)));
        match checked {
            Ok(()) => {
                self.bytes += value.len();
                Some(value)
            }
            Err(e) => {
                self.error.get_or_insert(e);
                None
            }
        }
    }

    fn push(&mut self, op: Option<Op>) -> &mut Self {
        self.ops.extend(op);
        self
    }
}
