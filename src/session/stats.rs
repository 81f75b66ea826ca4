//! Totals over all sessions, counted in memory.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SessionError;
use super::shared::Shared;
use crate::domain::SessionStatus;
use crate::store::{OpenSession, SessionIndex};

/// Totals of all sessions, or of one project's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionTotals {
    /// Sessions, closed ones too.
    pub total: u64,
    /// Sessions that are not closed.
    pub active: u64,
    /// Sessions in which a turn runs, those that wait for a permission too.
    pub busy: u64,
    /// Sessions that wait for a permission.
    pub waiting: u64,
    /// Sessions in `error`.
    pub error: u64,
    /// How many sessions each agent has, closed ones too.
    pub by_agent: BTreeMap<String, u64>,
    /// How many sessions have each status, closed ones too.
    pub by_status: BTreeMap<String, u64>,
    /// Prompts that wait.
    pub queue_depth: u64,
    /// Turns that run and prompts that wait.
    pub active_work: u64,
    /// The same without sessions that are labelled `wharf.automated=true`.
    pub user_work: u64,
    /// Whether a user's turn runs or waits: `user_work` is not 0.
    pub user_turn_in_flight: bool,
}

/// How many sessions an agent has with a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The agent.
    pub agent: String,
    /// The status.
    pub status: SessionStatus,
    /// How many.
    pub sessions: u64,
}

#[derive(Default)]
struct Counter {
    totals: SessionTotals,
    shares: HashMap<SessionStatus, HashMap<String, u64>>,
}

impl Counter {
    fn see(&mut self, session: &OpenSession<'_>) {
        let standing = session.standing;
        let (queued, running) = (u64::from(standing.queued), u64::from(standing.running));
        self.totals.queue_depth += queued;
        self.totals.busy += running;
        self.totals.active_work += queued + running;
        self.totals.user_work += if session.automated { 0 } else { queued + running };
        self.add(session.agent, standing.status, 1);
    }

    fn add(&mut self, agent: &str, status: SessionStatus, sessions: u64) {
        let shares = self.shares.entry(status).or_default();
        match shares.get_mut(agent) {
            Some(count) => *count += sessions,
            None => {
                shares.insert(agent.to_owned(), sessions);
            }
        }
    }

    fn finish(self) -> (SessionTotals, Vec<Share>) {
        let Self { mut totals, shares } = self;
        let mut all = Vec::new();
        for (status, agents) in shares {
            let sessions: u64 = agents.values().sum();
            match status {
                SessionStatus::Waiting => totals.waiting = sessions,
                SessionStatus::Error => totals.error = sessions,
                _ => {}
            }
            totals.total += sessions;
            totals.active += if status == SessionStatus::Closed { 0 } else { sessions };
            totals.by_status.insert(status.name().to_owned(), sessions);
            for (agent, sessions) in agents {
                *totals.by_agent.entry(agent.clone()).or_default() += sessions;
                all.push(Share { agent, status, sessions });
            }
        }
        totals.user_turn_in_flight = totals.user_work > 0;
        (totals, all)
    }
}

/// Counts everything, or what belongs to a project.
pub(super) fn count(shared: &Shared, project: Option<&str>) -> Result<(SessionTotals, Vec<Share>), SessionError> {
    let mut counter = Counter::default();
    let mut open: HashMap<String, u64> = HashMap::new();
    let closed = shared.store.count(|session| {
        if project.is_none_or(|project| session.project == Some(project)) {
            counter.see(&session);
            if project.is_some() {
                *open.entry(session.agent.to_owned()).or_default() += 1;
            }
        }
    });
    let closed = match project {
        None => closed,
        Some(project) => {
            let mut all: BTreeMap<String, u64> = BTreeMap::new();
            let index = SessionIndex::Project(project.to_owned());
            for id in shared.store.sessions_by(&index, None, usize::MAX)? {
                *all.entry(id.agent().to_owned()).or_default() += 1;
            }
            let known = |agent: &String| open.get(agent).copied().unwrap_or(0);
            all.into_iter()
                .map(|(agent, count)| (known(&agent), agent, count))
                .map(|(k, a, n)| (a, n.saturating_sub(k)))
                .collect()
        }
    };
    for (agent, sessions) in closed.into_iter().filter(|(_, sessions)| *sessions > 0) {
        counter.add(&agent, SessionStatus::Closed, sessions);
    }
    Ok(counter.finish())
}
