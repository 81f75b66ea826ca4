//! The order of all runs: which runs each commit of the log holds, so that every session's events are one stream.
//!
//! The writer puts an entry into the very batch that makes the runs durable; the number of the commit is its key. A
//! place in the order is therefore durable with the events, the same after a restart, and never given again. Runs of
//! sessions that were deleted leave an entry that points nowhere: readers pass over it, `compact` drops it.

use super::{
    Store, StoreError, key,
    log::Part,
    registry::Tree,
    value::{self, decode_run},
};
use crate::domain::{Run, SessionId};

/// How many entries one reading looks at, at most.
const ENTRIES: usize = 4096;

/// A run in its commit.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) session: Vec<u8>,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// Where a run stands in the order of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The commit that made it durable, from 1.
    pub commit: u64,
    /// Its number within the commit, from 0.
    pub n: u32,
}

/// A run and where it stands.
#[derive(Clone, Debug)]
pub struct OrderedRun {
    /// Where.
    pub place: Place,
    /// Whose events.
    pub session: SessionId,
    /// The events.
    pub run: Run,
}

/// What was read of the order.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The runs, in order.
    pub runs: Vec<OrderedRun>,
    /// Where to read on.
    pub next: Place,
    /// Whether everything durable was looked at.
    pub end: bool,
}

pub(super) fn encode(runs: &[Placed]) -> Vec<u8> {
    let mut bytes = vec![value::VERSION];
    for run in runs {
        bytes.push(u8::try_from(run.session.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&run.session);
        bytes.extend_from_slice(&run.first_seq.to_be_bytes());
        bytes.extend_from_slice(&run.last_seq.to_be_bytes());
    }
    bytes
}

fn decode(path: &std::path::Path, bytes: &[u8]) -> Result<Vec<Placed>, StoreError> {
    let damaged = || StoreError::unreadable(path, "an entry of the order of runs is damaged");
    let mut rest = value::unversioned(path, bytes)?;
    let mut runs = Vec::new();
    while let Some((len, more)) = rest.split_first() {
        let (session, more) = more.split_at_checked(usize::from(*len)).ok_or_else(damaged)?;
        let (first_seq, more) = more.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (last_seq, more) = more.split_first_chunk::<8>().ok_or_else(damaged)?;
        let [first_seq, last_seq] = [first_seq, last_seq].map(|n| u64::from_be_bytes(*n));
        runs.push(Placed { session: session.to_vec(), first_seq, last_seq });
        rest = more;
    }
    Ok(runs)
}

impl Store {
    /// The last commit of the log, and each later one.
    #[must_use]
    pub fn head(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared().head.subscribe()
    }

    /// Changes with every session that is made or changed.
    #[must_use]
    pub fn made(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared().made.subscribe()
    }

    /// Runs of all sessions that `wanted` takes, from `from` on, in the order in which they became durable, until they
    /// are `max_bytes` together; at least one, if there is one.
    ///
    /// # Errors
    /// The data can't be read.
    pub fn ordered(
        &self,
        from: Place,
        max_bytes: usize,
        mut wanted: impl FnMut(&SessionId) -> Result<bool, StoreError>,
    ) -> Result<Ordered, StoreError> {
        let log = &self.shared().log;
        // Nothing beyond it was looked at, so it is taken before the reading.
        let head = *self.shared().head.borrow();
        let (mut runs, mut bytes, mut looked) = (Vec::new(), 0, 0);
        let to = head.saturating_add(1).to_be_bytes();
        for entry in log.range(Part::Order, &from.commit.to_be_bytes(), Some(&to)) {
            let (at, entry) = entry?;
            let commit = key::number_of(&at).unwrap_or(0);
            let skip = if commit == from.commit { from.n } else { 0 };
            for (n, placed) in (0..).zip(decode(log.path(), &entry)?).skip(skip as usize) {
                let place = Place { commit, n };
                if bytes >= max_bytes || looked >= ENTRIES {
                    return Ok(Ordered { runs, next: place, end: false });
                }
                looked += 1;
                let Some((session, _)) = key::session_of(&placed.session) else {
                    return Err(StoreError::unreadable(log.path(), "an entry of the order is not a session's"));
                };
                if !wanted(&session)? {
                    continue;
                }
                let stored = log.get(Part::Events, &key::numbered(&placed.session, placed.first_seq))?;
                if let Some(stored) = stored {
                    let run = decode_run(log.path(), placed.first_seq, &stored)?;
                    bytes += run.bytes.len();
                    runs.push(OrderedRun { place, session, run });
                }
            }
        }
        Ok(Ordered { runs, next: Place { commit: head + 1, n: 0 }.max(from), end: true })
    }

    /// Commits, from `from` on, all of whose runs are of sessions that are gone; and where to go on.
    pub(super) fn stale_order(&self, from: u64) -> Result<(Vec<u64>, Option<u64>), StoreError> {
        let (registry, log) = (&self.shared().registry, &self.shared().log);
        let (mut stale, mut looked) = (Vec::new(), 0);
        for entry in log.range(Part::Order, &from.to_be_bytes(), None) {
            let (at, entry) = entry?;
            let commit = key::number_of(&at).unwrap_or(0);
            if looked >= ENTRIES {
                return Ok((stale, Some(commit)));
            }
            looked += 1;
            let mut known = false;
            for placed in decode(log.path(), &entry)? {
                known |= registry.get(Tree::Sessions, &placed.session)?.is_some();
            }
            if !known {
                stale.push(commit);
            }
        }
        Ok((stale, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_and_a_cut_one_is_refused() {
        let session = key::session(&SessionId::new("demo")).unwrap();
        let placed = Placed { session: session.clone(), first_seq: 3, last_seq: 9 };
        let bytes = encode(&[placed]);
        let path = std::path::Path::new("log");
        let back = decode(path, &bytes).unwrap();
        assert_eq!((back.len(), &back[0].session, back[0].first_seq, back[0].last_seq), (1, &session, 3, 9));
        for cut in 2..bytes.len() {
            assert!(decode(path, &bytes[..cut]).is_err(), "{cut}");
        }
    }
}
