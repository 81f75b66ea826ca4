//! What is to be written together: all of it or nothing.

use serde::{Deserialize, Serialize};

use super::{
    StoreError, key,
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
    PutProgress { id: SessionId, last_seq: u64, value: Vec<u8> },
    PutPrompt { id: SessionId, n: PromptNumber, value: Vec<u8> },
    PutPermission { id: SessionId, permission: String, value: Vec<u8> },
    DeletePermission { id: SessionId, permission: String },
    PutIdempotency { id: SessionId, key: String, value: Vec<u8> },
    DeleteEvents { id: SessionId },
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
        let name = record.name.clone().unwrap_or_default();
        self.registry(
            || format!("the record of workspace {}", record.id),
            &record,
            &[&name],
            |value| Op::PutWorkspace { record: Box::new(record.clone()), value },
        )
    }

    /// Deletes a workspace's record; one that is not there is no error. Its sessions are not touched.
    pub fn delete_workspace(&mut self, id: WorkspaceId) -> &mut Self {
        self.ops.push(Op::DeleteWorkspace { id });
        self
    }

    /// Makes or changes a session. Its key must be free.
    pub fn put_session(&mut self, record: SessionRecord) -> &mut Self {
        let agent_session_id = record.agent_session_id.clone().unwrap_or_default();
        let task = record.task_id.clone().unwrap_or_default();
        self.registry(
            || format!("the record of session {}", record.id),
            &record,
            &[&agent_session_id, &task],
            |value| Op::PutSession { record: Box::new(record.clone()), value },
        )
    }

    /// Deletes a session with all its log; one that is not there is no error.
    pub fn delete_session(&mut self, id: SessionId) -> &mut Self {
        self.ops.push(Op::DeleteSession { id });
        self
    }

    /// Makes or changes a token.
    pub fn put_token(&mut self, record: TokenRecord) -> &mut Self {
        let name = record.name.clone();
        self.registry(
            || format!("token `{}`", record.name),
            &record,
            &[&name],
            |value| Op::PutToken { name: record.name.clone(), value },
        )
    }

    /// Deletes a token; one that is not there is no error.
    pub fn delete_token(&mut self, name: impl Into<String>) -> &mut Self {
        self.ops.push(Op::DeleteToken { name: name.into() });
        self
    }

    /// Sets a free entry of the registry.
    pub fn put_meta(&mut self, key: impl Into<String>, bytes: impl AsRef<[u8]>) -> &mut Self {
        let key = key.into();
        let value = [&[value::VERSION], bytes.as_ref()].concat();
        let what = || format!("meta `{key}`");
        let checked = value::check_size(what, value.len(), REGISTRY_LIMIT)
            .and_then(|()| value::check_size(what, key.len(), key::PART_LIMIT));
        self.push(checked, value.len(), Op::PutMeta { key: key.clone(), value })
    }

    /// Appends a run to a session's log. It must begin right after the log's last event: after the last run, or, where
    /// there is none, after `last_seq` of the session's progress (0 without one).
    pub fn append(&mut self, id: SessionId, run: &Run) -> &mut Self {
        let last_seq = run.count.checked_sub(1).and_then(|more| run.first_seq.checked_add(more));
        let checked = match last_seq {
            Some(_) if run.first_seq > 0 && !run.bytes.is_empty() => {
                value::check_size(|| format!("a run of session {id}"), run.bytes.len(), LOG_LIMIT)
            }
            _ => Err(StoreError::Invalid {
                what: format!("a run of session {id}"),
                why: "it is empty or its numbers can't be".to_owned(),
            }),
        };
        let value = if checked.is_ok() { value::encode_run(run) } else { Vec::new() };
        let size = value.len();
        let op = Op::Append { id, first_seq: run.first_seq, last_seq: last_seq.unwrap_or(0), value };
        self.push(checked, size, op)
    }

    /// Sets how far a session has come.
    pub fn put_progress(&mut self, id: SessionId, progress: &Progress) -> &mut Self {
        let last_seq = progress.last_seq;
        self.log(
            || format!("the progress of session {id}"),
            progress,
            "",
            |value| Op::PutProgress { id: id.clone(), last_seq, value },
        )
    }

    /// Makes or changes a prompt.
    pub fn put_prompt(&mut self, id: SessionId, record: &PromptRecord) -> &mut Self {
        let n = record.id;
        self.log(
            || format!("prompt {n} of session {id}"),
            record,
            "",
            |value| Op::PutPrompt { id: id.clone(), n, value },
        )
    }

    /// Makes or changes a permission request.
    pub fn put_permission(&mut self, id: SessionId, record: &PermissionRecord) -> &mut Self {
        let permission = record.id.clone();
        self.log(
            || format!("a permission request of session {id}"),
            record,
            &permission,
            |value| Op::PutPermission { id: id.clone(), permission: permission.clone(), value },
        )
    }

    /// Deletes a permission request; one that is not there is no error.
    pub fn delete_permission(&mut self, id: SessionId, permission: impl Into<String>) -> &mut Self {
        self.ops.push(Op::DeletePermission { id, permission: permission.into() });
        self
    }

    /// Keeps which prompt an `Idempotency-Key` stands for.
    pub fn put_idempotency(&mut self, id: SessionId, key: impl Into<String>, record: &IdempotencyRecord) -> &mut Self {
        let key = key.into();
        self.log(
            || format!("an Idempotency-Key of session {id}"),
            record,
            &key,
            |value| Op::PutIdempotency { id: id.clone(), key: key.clone(), value },
        )
    }

    /// Deletes all events of a session. Its sequence goes on after `last_seq` of its progress.
    pub fn delete_events_of(&mut self, id: SessionId) -> &mut Self {
        self.ops.push(Op::DeleteEvents { id });
        self
    }

    /// The first error of a call.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    fn registry<T: Serialize>(
        &mut self,
        what: impl Fn() -> String,
        record: &T,
        parts: &[&str],
        op: impl Fn(Vec<u8>) -> Op,
    ) -> &mut Self {
        self.encoded(what, record, parts, REGISTRY_LIMIT, op)
    }

    fn log<T: Serialize>(
        &mut self,
        what: impl Fn() -> String,
        record: &T,
        part: &str,
        op: impl Fn(Vec<u8>) -> Op,
    ) -> &mut Self {
        self.encoded(what, record, &[part], LOG_LIMIT, op)
    }

    fn encoded<T: Serialize>(
        &mut self,
        what: impl Fn() -> String,
        record: &T,
        parts: &[&str],
        limit: usize,
        op: impl Fn(Vec<u8>) -> Op,
    ) -> &mut Self {
        let checked = value::encode(&what(), record).and_then(|value| {
            value::check_size(&what, value.len(), limit)?;
            parts.iter().try_for_each(|part| {
                value::check_size(|| format!("a name in {}", what()), part.len(), key::PART_LIMIT)
            })?;
            Ok(value)
        });
        match checked {
            Ok(value) => {
                let size = value.len();
                self.push(Ok(()), size, op(value))
            }
            Err(e) => {
                self.error.get_or_insert(e);
                self
            }
        }
    }

    fn push(&mut self, checked: Result<(), StoreError>, size: usize, op: Op) -> &mut Self {
        match checked {
            Ok(()) => {
                self.bytes += size;
                self.ops.push(op);
            }
            Err(e) => {
                self.error.get_or_insert(e);
            }
        }
        self
    }
}
