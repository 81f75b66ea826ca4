//! Every session's events as one stream: a cursor over the store's order of all runs, and nothing shared between readers.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::SessionError;
use super::manager::is_of;
use super::shared::{Counted, Shared};
use crate::domain::{SessionId, WorkspaceId};
use crate::store::{Place, Store, StoreError};

/// How much is read from the store at once.
const READ_BYTES: usize = 256 * 1024;
/// After how many commits without an event for the reader it is told how far it is.
const QUIET_COMMITS: u64 = 1024;
/// How many sessions' workspaces are remembered.
const KNOWN_MAX: usize = 4096;

/// How far a reader has come: all before a run, and of that run everything up to an event. Opaque to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    place: Place,
    seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.place.commit, self.place.n, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten();
        let mut parts = text.splitn(3, '.').map(digits);
        let (Some(Some(commit)), Some(Some(n)), Some(Some(seq))) = (parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        Ok(Self { place: Place { commit, n: u32::try_from(n).map_err(|_| ())? }, seq })
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// After what a cursor has seen; the default one has seen nothing.
    After(Cursor),
    /// With what happens from now on.
    Now,
}

/// Which events; absent fields match all.
#[derive(Clone, Debug, Default)]
pub struct AllFilter {
    /// Of the sessions of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of these types.
    pub types: Vec<String>,
}

/// A page of all events.
#[derive(Clone, Debug)]
pub struct AllPage {
    /// The events' JSON, in order.
    pub items: Vec<String>,
    /// Where the page ends: what comes later follows it.
    pub cursor: Cursor,
    /// Whether there is more now.
    pub more: bool,
}

/// Reads the order with a filter; remembers which sessions it takes.
struct Reader {
    store: Store,
    filter: AllFilter,
    known: HashMap<SessionId, bool>,
}

/// What was read.
struct Found {
    items: Vec<(Cursor, String)>,
    cursor: Cursor,
    end: bool,
}

impl Reader {
    fn new(store: Store, filter: AllFilter) -> Self {
        Self { store, filter, known: HashMap::new() }
    }

    /// Events after `after`, at most `limit` and about `READ_BYTES`.
    fn read(&mut self, after: Cursor, limit: usize) -> Result<Found, StoreError> {
        let Self { store, filter, known } = self;
        let ordered = store.ordered(after.place, READ_BYTES, |session| takes(store, filter, known, session))?;
        let mut items = Vec::new();
        for ordered in &ordered.runs {
            for (seq, json) in ordered.run.events() {
                let cursor = Cursor { place: ordered.place, seq };
                if cursor <= after || !is_of(json, &filter.types) {
                    continue;
                }
                if items.len() == limit {
                    let cursor = items.last().map_or(after, |(cursor, _)| *cursor);
                    return Ok(Found { items, cursor, end: false });
                }
                items.push((cursor, json.to_owned()));
            }
        }
        Ok(Found { items, cursor: Cursor { place: ordered.next, seq: 0 }.max(after), end: ordered.end })
    }
}

/// Whether a session's events are wanted. A session's workspace never changes.
fn takes(
    store: &Store,
    filter: &AllFilter,
    known: &mut HashMap<SessionId, bool>,
    session: &SessionId,
) -> Result<bool, StoreError> {
    if filter.session.as_ref().is_some_and(|wanted| wanted != session) {
        return Ok(false);
    }
    let Some(workspace) = &filter.workspace else { return Ok(true) };
    if let Some(takes) = known.get(session) {
        return Ok(*takes);
    }
    let takes = store.session(session)?.is_some_and(|record| record.workspace == *workspace);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(session.clone(), takes);
    Ok(takes)
}

/// A subscriber to all sessions.
pub struct AllEvents {
    /// Away while it reads in another thread.
    reader: Option<Reader>,
    /// The reading that has begun; it is taken up again by whoever asks next.
    reading: Option<JoinHandle<(Reader, Result<Found, StoreError>)>>,
    head: watch::Receiver<u64>,
    cursor: Cursor,
    /// The last cursor that the subscriber was told of.
    told: Cursor,
    _counted: Counted,
}

impl AllEvents {
    /// The next frames in order (`id: <cursor>\ndata: <json>\n\n` for each event); waits while there are none. Where
    /// nothing fits for long, a frame without data tells how far the reading is. Cancel-safe.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next(&mut self) -> Result<Bytes, SessionError> {
        loop {
            // Before a reading begins, so that no commit falls between the two.
            if self.reading.is_none() {
                self.head.borrow_and_update();
            }
            let found = self.read().await?;
            self.cursor = found.cursor;
            if !found.items.is_empty() {
                self.told = self.cursor;
                return Ok(frames(&found.items));
            }
            if self.cursor.place.commit.saturating_sub(self.told.place.commit) >= QUIET_COMMITS {
                self.told = self.cursor;
                return Ok(format!(": nothing that fits\nid: {}\n\n", self.cursor).into());
            }
            if found.end && self.head.changed().await.is_err() {
                return Err(SessionError::Stopping);
            }
        }
    }

    async fn read(&mut self) -> Result<Found, SessionError> {
        let after = self.cursor;
        if let Some(mut reader) = self.reader.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let found = reader.read(after, usize::MAX);
                (reader, found)
            }));
        }
        let Some(reading) = &mut self.reading else { return Err(SessionError::Stopping) };
        let read = reading.await;
        self.reading = None;
        let (reader, found) = read.map_err(|_| SessionError::Stopping)?;
        self.reader = Some(reader);
        Ok(found?)
    }
}

fn frames(items: &[(Cursor, String)]) -> Bytes {
    let mut text = String::with_capacity(items.iter().map(|(_, json)| json.len() + 40).sum());
    for (cursor, json) in items {
        // Writing into a String can't fail.
        let _ = write!(text, "id: {cursor}\ndata: {json}\n\n");
    }
    text.into()
}

/// Where a reader begins.
fn begin(store: &Store, from: From) -> Result<Cursor, SessionError> {
    let end = Cursor { place: Place { commit: *store.head().borrow() + 1, n: 0 }, seq: 0 };
    match from {
        From::Now => Ok(end),
        From::After(cursor) if cursor <= end => Ok(cursor),
        From::After(cursor) => {
            let message =
                format!("`{cursor}` is beyond the end of the log: it is not of this daemon; read from the start");
            Err(SessionError::Invalid { field: "after", message })
        }
    }
}

/// A page of all events.
pub(super) async fn page(
    shared: &Shared,
    filter: AllFilter,
    from: From,
    limit: usize,
) -> Result<AllPage, SessionError> {
    let mut cursor = begin(&shared.store, from)?;
    let mut reader = Reader::new(shared.store.clone(), filter);
    let read = tokio::task::spawn_blocking(move || {
        let mut items = Vec::new();
        loop {
            let found = reader.read(cursor, limit - items.len())?;
            cursor = found.cursor;
            items.extend(found.items.into_iter().map(|(_, json)| json));
            if found.end || items.len() == limit {
                return Ok(AllPage { items, cursor, more: !found.end });
            }
        }
    });
    read.await.map_err(|_| SessionError::Stopping)?
}

/// A subscription to all events.
pub(super) fn subscribe(shared: &Arc<Shared>, filter: AllFilter, from: From) -> Result<AllEvents, SessionError> {
    let (store, head) = (shared.store.clone(), shared.store.head());
    let cursor = begin(&store, from)?;
    let reader = Some(Reader::new(store, filter));
    Ok(AllEvents { reader, reading: None, head, cursor, told: cursor, _counted: shared.counted() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_itself_back_and_nothing_else() {
        let cursor = Cursor { place: Place { commit: 7, n: 2 }, seq: 40 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "7.2", "7.2.", "7.2.x", "-7.2.4", "7.2.4.1", "7.4294967296.1", "99999999999999999999.0.0"]
        {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }
}
