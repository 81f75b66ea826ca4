//! The census: where every open session stands, in memory, so that totals and lists load no session's log.
//!
//! The writer changes it after a group is durable and before anyone is told: what it shows is durable, and whoever was
//! told of a change finds it here. It is read from the disk when the store is opened.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Store, StoreError, key,
    log::{Log, Part},
    registry::{Registry, Tree},
    value,
};
use crate::domain::{
    AUTOMATED_LABEL, Labels, Progress, PromptNumber, SessionId, SessionRecord, SessionStatus, Timestamp,
};

/// How many records are read at once.
const CHUNK: usize = 1024;

/// How far a session has come, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: SessionStatus,
    /// How many prompts wait.
    pub queued: u32,
    /// Whether a turn runs.
    pub running: bool,
}

impl Standing {
    pub(super) fn of(progress: &Progress) -> Self {
        Self::new(progress.status, &progress.queue, progress.turn.is_some())
    }

    fn new(status: SessionStatus, queue: &[PromptNumber], running: bool) -> Self {
        Self { status, queued: u32::try_from(queue.len()).unwrap_or(u32::MAX), running }
    }
}

impl Default for Standing {
    /// Of a session that nothing has happened to.
    fn default() -> Self {
        Self::new(SessionStatus::Suspended, &[], false)
    }
}

/// An open session as the census knows it.
#[derive(Clone, Copy, Debug)]
pub struct OpenSession<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// A client's grouping.
    pub project: Option<&'a str>,
    /// Whether it is labelled as a program's own.
    pub automated: bool,
    /// Where it stands.
    pub standing: Standing,
}

#[derive(Debug, Default)]
struct Entry {
    project: Option<Box<str>>,
    automated: bool,
    standing: Standing,
}

/// What a group changes.
#[derive(Debug)]
pub(super) enum Note {
    Record { session: Vec<u8>, project: Option<Box<str>>, automated: bool, closed: bool, was_closed: bool },
    Progress { session: Vec<u8>, standing: Standing },
    Deleted { session: Vec<u8>, closed: bool },
}

impl Note {
    pub(super) fn record(session: &[u8], record: &SessionRecord, old: Option<&SessionRecord>) -> Self {
        Self::Record {
            session: session.to_vec(),
            project: record.project.as_deref().map(Into::into),
            automated: is_automated(&record.labels),
            closed: record.closed.is_some(),
            was_closed: old.is_some_and(|old| old.closed.is_some()),
        }
    }

    pub(super) const fn is_of_record(&self) -> bool {
        matches!(self, Self::Record { .. })
    }
}

fn is_automated(labels: &Labels) -> bool {
    labels.get(AUTOMATED_LABEL.0).is_some_and(|value| value == AUTOMATED_LABEL.1)
}

/// Where every open session stands, and how many are closed.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By the session's key: in the order of their making.
    open: BTreeMap<Vec<u8>, Entry>,
    /// Closed ones by agent.
    closed: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Record {
    project: Option<Box<str>>,
    labels: Labels,
    closed: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Come {
    status: SessionStatus,
    queue: Vec<PromptNumber>,
    turn: Option<IgnoredAny>,
}

impl Census {
    /// Reads it from the disk.
    pub(super) fn read(registry: &Registry, log: &Log) -> Result<Self, StoreError> {
        let mut census = Self::default();
        let mut from = Vec::new();
        loop {
            let records = registry.scan(Tree::Sessions, &from, None, false, CHUNK)?;
            for (session, bytes) in &records {
                let record: Record = value::decode(registry.path(), bytes)?;
                if record.closed.is_some() {
                    *census.closed.entry(agent(session).to_owned()).or_default() += 1;
                    continue;
                }
                let automated = is_automated(&record.labels);
                let entry = Entry { project: record.project, automated, standing: Standing::default() };
                census.open.insert(session.to_vec(), entry);
            }
            match records.last() {
                Some((last, _)) if records.len() == CHUNK => from = [last, &[0_u8][..]].concat(),
                _ => break,
            }
        }
        for entry in log.range(Part::Progress, &[], None) {
            let (session, bytes) = entry?;
            if let Some(known) = census.open.get_mut(&session[..]) {
                let come: Come = value::decode(log.path(), &bytes)?;
                known.standing = Standing::new(come.status, &come.queue, come.turn.is_some());
            }
        }
        Ok(census)
    }

    /// Takes what a durable group changed.
    pub(super) fn take(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Record { session, project, automated, closed: false, .. } => {
                    let entry = self.open.entry(session).or_default();
                    (entry.project, entry.automated) = (project, automated);
                }
                Note::Record { session, was_closed, .. } => {
                    self.open.remove(&session);
                    if !was_closed {
                        *self.closed.entry(agent(&session).to_owned()).or_default() += 1;
                    }
                }
                Note::Progress { session, standing } => {
                    if let Some(entry) = self.open.get_mut(&session) {
                        entry.standing = standing;
                    }
                }
                Note::Deleted { session, closed: true } => {
                    if let Some(count) = self.closed.get_mut(agent(&session)) {
                        *count = count.saturating_sub(1);
                    }
                }
                Note::Deleted { session, .. } => {
                    self.open.remove(&session);
                }
            }
        }
    }
}

/// The agent's name at the end of a session's key.
fn agent(session: &[u8]) -> &str {
    session.get(17..).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}

impl Store {
    /// Shows every open session to `see`, oldest first, and answers how many closed ones each agent has.
    pub fn count(&self, mut see: impl FnMut(OpenSession<'_>)) -> BTreeMap<String, u64> {
        let census = self.shared().census.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        census.open.iter().for_each(|(session, entry)| see(entry.shown(session)));
        census.closed.clone()
    }

    /// The ids of open sessions that `wanted` takes, made before `before`, newest first, at most `limit`.
    #[must_use]
    pub fn open_sessions(
        &self,
        before: Option<&SessionId>,
        limit: usize,
        mut wanted: impl FnMut(OpenSession<'_>) -> bool,
    ) -> Vec<SessionId> {
        let census = self.shared().census.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = before.map(|id| key::session(id).unwrap_or_default());
        let range = (
            std::ops::Bound::<Vec<u8>>::Unbounded,
            before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
        );
        let found = census.open.range(range).rev().filter(|(session, entry)| wanted(entry.shown(session)));
        found.filter_map(|(session, _)| key::session_of(session)).map(|(id, _)| id).take(limit).collect()
    }
}

impl Entry {
    fn shown<'a>(&'a self, session: &'a [u8]) -> OpenSession<'a> {
        OpenSession {
            agent: agent(session),
            project: self.project.as_deref(),
            automated: self.automated,
            standing: self.standing,
        }
    }
}
