//! How long what is closed is kept: the oldest closed sessions go first, and nothing of an open one ever goes.

use std::future::Future;
use std::time::Duration;

use super::{SessionError, Sessions};
use crate::domain::{SessionId, Timestamp};
use crate::store::Batch;
use crate::workspace::WorkspaceError;

/// How many closed sessions are looked at between two readings of the index.
const CHUNK: usize = 256;
/// How often the log is written anew in one go, until it is small enough: its data are compressed, so how much a session
/// gives back is an estimate.
const ROUNDS: usize = 4;
/// The shortest and the longest time between two looks.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(600);

/// What is kept of closed sessions; by default everything, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after the close.
    pub closed_sessions: Option<Duration>,
    /// How large the tables of the log may be, in bytes, before closed sessions go early.
    pub log_size: Option<u64>,
}

/// Whether the system clock can be believed: it is one that may step, and what is dropped by mistake is gone.
///
/// It has to have gone evenly, measured by a clock that only goes forward, since the daemon's start or its last step.
#[derive(Debug)]
struct Trust {
    /// For how long.
    enough: Duration,
    seen: Option<(Timestamp, Duration)>,
    since: Duration,
}

/// The most by which an even clock differs, beside a hundredth of the time.
const UNEVEN_MS: i64 = 1000;
/// The shortest and the longest time that it takes to be believed.
const BELIEVED_SOONEST: Duration = Duration::from_secs(1);
const BELIEVED_LATEST: Duration = Duration::from_secs(3600);

impl Trust {
    fn new(retention: &Retention) -> Self {
        let keep = retention.closed_sessions.unwrap_or_default();
        Self { enough: (keep / 10).clamp(BELIEVED_SOONEST, BELIEVED_LATEST), seen: None, since: Duration::ZERO }
    }

    /// The clock says `wall` at the time `at` of one that only goes forward: whether it is believed.
    fn believes(&mut self, wall: Timestamp, at: Duration) -> bool {
        let even = self.seen.is_some_and(|(last, then)| {
            let passed = i64::try_from(at.saturating_sub(then).as_millis()).unwrap_or(i64::MAX);
            let told = wall.as_millis().saturating_sub(last.as_millis());
            told.abs_diff(passed) <= (UNEVEN_MS + passed / 100).unsigned_abs()
        });
        self.seen = Some((wall, at));
        if !even {
            self.since = at;
        }
        at.saturating_sub(self.since) >= self.enough
    }
}

/// Which closed sessions are to go.
enum Wanted<'a> {
    /// Those that were kept long enough by now.
    Over(&'a Retention, Timestamp),
    /// The oldest, until so many bytes are gone.
    Bytes(u64),
}

impl Retention {
    /// Whether anything ever goes.
    #[must_use]
    pub const fn is_for_ever(&self) -> bool {
        self.closed_sessions.is_none() && self.log_size.is_none()
    }

    /// How often to look: no session is kept for more than a tenth (at most ten minutes) too long.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.closed_sessions.map_or(SELDOM, |age| (age / 10).clamp(OFTEN, SELDOM))
    }

    /// Whether a session that was closed at `closed` has been kept long enough.
    fn is_over(&self, closed: Timestamp, now: Timestamp) -> bool {
        let age = now.as_millis().saturating_sub(closed.as_millis());
        self.closed_sessions
            .is_some_and(|keep| i128::from(age) >= i128::try_from(keep.as_millis()).unwrap_or(i128::MAX))
    }
}

impl Sessions {
    /// Drops closed sessions that need not be kept any longer, with their logs, prompts and volumes, and gives the disk
    /// space back. Answers how many.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn retain(&self, retention: &Retention, now: Timestamp) -> Result<usize, SessionError> {
        let mut dropped = self.drop_closed(Wanted::Over(retention, now)).await?;
        if dropped > 0 {
            self.shared.store.compact().await?;
        }
        let Some(limit) = retention.log_size else { return Ok(dropped) };
        for _ in 0..ROUNDS {
            let used = self.log_size().await?;
            if used <= limit {
                break;
            }
            match self.drop_closed(Wanted::Bytes(used - limit)).await? {
                0 => break,
                more => dropped += more,
            }
            self.shared.store.compact().await?;
        }
        Ok(dropped)
    }

    /// Keeps to the rules until the daemon stops; `clock` tells the time, `tick` when to look again.
    pub async fn keep<T: Future<Output = ()>>(
        self,
        retention: Retention,
        clock: impl Fn() -> Timestamp,
        mut tick: impl FnMut(Duration) -> T,
    ) {
        let stop = self.shared.stop.clone();
        let mut trust = Trust::new(&retention);
        while !retention.is_for_ever() {
            let now = clock();
            let believed = trust.believes(now, self.shared.clock.now());
            let closed_sessions = retention.closed_sessions.filter(|_| believed);
            match self.retain(&Retention { closed_sessions, ..retention }, now).await {
                Ok(0) => {}
                Ok(sessions) => tracing::info!(sessions, "closed sessions were dropped, as `[retention]` says"),
                Err(e) => tracing::warn!(error = %e, "closed sessions could not be dropped"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tick(retention.period()) => {}
            }
        }
    }

    async fn log_size(&self) -> Result<u64, SessionError> {
        let store = self.shared.store.clone();
        tokio::task::spawn_blocking(move || store.tables_disk_use()).await.map_err(|_| SessionError::Stopping)
    }

    /// Drops closed sessions, oldest first, as many as are wanted.
    async fn drop_closed(&self, mut wanted: Wanted<'_>) -> Result<usize, SessionError> {
        let mut dropped = 0;
        let mut after = None;
        loop {
            let closed = self.shared.store.closed_sessions(after.as_ref(), CHUNK)?;
            let last = closed.len() < CHUNK;
            for (id, when) in closed {
                let size = match &wanted {
                    Wanted::Over(retention, now) if retention.is_over(when, *now) => 0,
                    Wanted::Bytes(1..) => self.size_of(&id).await?,
                    Wanted::Over(..) | Wanted::Bytes(0) => return Ok(dropped),
                };
                if self.drop_session(&id).await? {
                    dropped += 1;
                    if let Wanted::Bytes(left) = &mut wanted {
                        *left = left.saturating_sub(size);
                    }
                }
                after = Some((when, id));
            }
            if last {
                return Ok(dropped);
            }
        }
    }

    async fn size_of(&self, id: &SessionId) -> Result<u64, SessionError> {
        let (store, id) = (self.shared.store.clone(), id.clone());
        Ok(tokio::task::spawn_blocking(move || store.log_size(&id)).await.map_err(|_| SessionError::Stopping)??)
    }

    /// Drops one, unless something of it is still being ended.
    async fn drop_session(&self, id: &SessionId) -> Result<bool, SessionError> {
        let store = &self.shared.store;
        let Some(record) = store.session(id)?.filter(|record| record.closed.is_some()) else { return Ok(false) };
        if store.progress(id)?.is_some_and(|progress| progress.process.is_some()) {
            return Ok(false);
        }
        // Its own workspace went with the close; one that could not be deleted then goes first, so that it is not lost.
        if store.workspace(&record.workspace)?.is_some_and(|workspace| workspace.ephemeral_of.as_ref() == Some(id)) {
            match self.shared.workspaces.delete(&record.workspace).await {
                Ok(()) | Err(WorkspaceError::NotFound { .. }) => {}
                Err(e) => {
                    tracing::warn!(session = %id, error = %e, "a closed session is kept: its volumes could not be deleted");
                    return Ok(false);
                }
            }
        }
        let mut batch = Batch::new();
        batch.delete_session(id.clone());
        store.commit(batch).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stepped_is_believed_only_after_it_has_gone_evenly_for_a_while() {
        let keep = |seconds| Retention { closed_sessions: Some(Duration::from_secs(seconds)), log_size: None };
        let mut trust = Trust::new(&keep(1000));
        let mut at = |wall: i64, at: u64| trust.believes(Timestamp::from_millis(wall * 1000), Duration::from_secs(at));
        assert!(!at(5000, 7) && !at(5099, 106) && at(5100, 107), "a hundred seconds after the start");
        assert!(at(5200, 207));
        assert!(!at(12_400, 208) && !at(12_499, 307), "two hours forward");
        assert!(!at(5301, 308) && !at(5400, 407) && at(5401, 408), "and back");
        assert_eq!(Trust::new(&keep(86_400 * 30)).enough, BELIEVED_LATEST);
        assert_eq!(Trust::new(&keep(1)).enough, BELIEVED_SOONEST);
    }

    #[test]
    fn what_is_over_is_told_by_the_clock_alone() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let day = Retention { closed_sessions: Some(Duration::from_secs(86_400)), log_size: None };
        assert!(!day.is_over(at(0), at(86_399)) && day.is_over(at(0), at(86_400)));
        assert!(!day.is_over(at(10), at(0)), "a clock that went back drops nothing");
        assert!(!Retention::default().is_over(at(0), at(i64::from(u32::MAX))), "for ever by default");
        assert!(Retention::default().is_for_ever() && !day.is_for_ever());
        assert_eq!(day.period(), SELDOM);
        assert_eq!(Retention { closed_sessions: Some(Duration::ZERO), ..day }.period(), OFTEN);
    }
}
