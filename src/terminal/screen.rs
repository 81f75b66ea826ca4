//! The last of a terminal's output, and how it ended: what viewers read, each at its own pace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

/// How much of each stream is kept.
pub(super) const KEPT: u64 = 256 * 1024;
/// How far the quickest viewer may be behind before the program waits for it.
const BEHIND: u64 = 128 * 1024;

/// How a terminal's program ended. Neither a code nor a signal: nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether it went down with its container.
    pub lost: bool,
}

/// The end of one stream.
#[derive(Debug, Default)]
struct Ring {
    chunks: VecDeque<Bytes>,
    start: u64,
    end: u64,
}

impl Ring {
    fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.chunks.push_back(bytes);
        while let Some(first) = self.chunks.front()
            && self.end - self.start - first.len() as u64 >= KEPT
        {
            self.start += first.len() as u64;
            self.chunks.pop_front();
        }
    }

    /// What follows `from`, one piece of it.
    fn after(&self, from: u64) -> Option<Bytes> {
        let mut at = self.start;
        for chunk in &self.chunks {
            let end = at + chunk.len() as u64;
            if from < end {
                let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX);
                return Some(chunk.slice(skip.min(chunk.len())..));
            }
            at = end;
        }
        None
    }
}

#[derive(Debug, Default)]
struct State {
    rings: [Ring; 2],
    ended: Option<Ended>,
    /// How far each viewer has read.
    viewers: BTreeMap<u64, [u64; 2]>,
    next_viewer: u64,
}

/// A terminal's screen.
#[derive(Debug)]
pub(super) struct Screen {
    state: Mutex<State>,
    /// Counts what was written, for viewers.
    written: watch::Sender<u64>,
    /// Counts what was read and who came and went, for the task.
    read: watch::Sender<u64>,
}

/// What a viewer gets next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes were dropped before it could read them.
    Skipped(u64),
    /// Output of a stream: 0 is standard output or the terminal, 1 standard error.
    Output(usize, Bytes),
    /// Its end; all output came before.
    Ended(Ended),
    /// Nothing yet.
    Nothing,
}

impl Screen {
    /// One whose streams begin at these offsets.
    pub(super) fn new(starts: [u64; 2]) -> Self {
        let rings = starts.map(|at| Ring { start: at, end: at, ..Ring::default() });
        let state = Mutex::new(State { rings, ..State::default() });
        Self { state, written: watch::Sender::new(0), read: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds output; gives the offsets from which on the output is kept here.
    pub(super) fn push(&self, stream: usize, bytes: Bytes) -> [u64; 2] {
        let mut state = self.state();
        state.rings[stream].push(bytes);
        let starts = [state.rings[0].start, state.rings[1].start];
        drop(state);
        self.written.send_modify(|n| *n += 1);
        starts
    }

    pub(super) fn end(&self, ended: Ended) {
        self.state().ended.get_or_insert(ended);
        self.written.send_modify(|n| *n += 1);
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.state().ended
    }

    pub(super) fn viewers(&self) -> usize {
        self.state().viewers.len()
    }

    /// Whether more may be read from the program: not while all who look are far behind.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state();
        let ends = [state.rings[0].end, state.rings[1].end];
        let behind = |read: &[u64; 2]| (0..2).map(|n| ends[n].saturating_sub(read[n])).max().unwrap_or(0);
        state.viewers.values().map(behind).min().is_none_or(|least| least < BEHIND)
    }

    /// Woken when a viewer has read, came or went.
    pub(super) fn reading(&self) -> watch::Receiver<u64> {
        self.read.subscribe()
    }

    /// A new viewer's number, its places and what wakes it. `from`: where it was before; else it gets all that is kept.
    pub(super) fn enter(&self, from: [Option<u64>; 2]) -> (u64, [u64; 2], watch::Receiver<u64>) {
        let mut state = self.state();
        let id = state.next_viewer;
        state.next_viewer += 1;
        let mut places = [0; 2];
        for ((place, ring), from) in places.iter_mut().zip(&state.rings).zip(from) {
            *place = from.unwrap_or(ring.start).min(ring.end);
        }
        state.viewers.insert(id, places);
        drop(state);
        self.read.send_modify(|n| *n += 1);
        (id, places, self.written.subscribe())
    }

    pub(super) fn leave(&self, id: u64) {
        self.state().viewers.remove(&id);
        self.read.send_modify(|n| *n += 1);
    }

    /// What a viewer at `places` gets next; moves them.
    pub(super) fn next(&self, id: u64, places: &mut [u64; 2]) -> Next {
        let mut state = self.state();
        for stream in 0..2 {
            let ring = &state.rings[stream];
            if places[stream] < ring.start {
                let skipped = ring.start - places[stream];
                places[stream] = ring.start;
                return Next::Skipped(skipped);
            }
            if let Some(bytes) = ring.after(places[stream]) {
                places[stream] += bytes.len() as u64;
                state.viewers.insert(id, *places);
                drop(state);
                self.read.send_modify(|n| *n += 1);
                return Next::Output(stream, bytes);
            }
        }
        state.ended.map_or(Next::Nothing, Next::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: usize) -> Bytes {
        Bytes::from(vec![b'x'; n])
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_late_viewer_is_told_what_it_missed() {
        let screen = Screen::new([100, 0]);
        let (early, mut at, _) = screen.enter([None, None]);
        assert_eq!(at, [100, 0]);
        for _ in 0..100 {
            screen.push(0, chunk(10_000));
        }
        let total = 100 * 10_000;
        let Next::Skipped(skipped) = screen.next(early, &mut at) else { panic!("it is far behind") };
        let mut read = 0;
        while let Next::Output(0, bytes) = screen.next(early, &mut at) {
            read += bytes.len() as u64;
        }
        assert_eq!(skipped + read, total);
        assert!((KEPT..KEPT + 10_000).contains(&read), "{read}");
        let (_, at, _) = screen.enter([Some(at[0] - 5), Some(9)]);
        assert_eq!(at, [100 + total - 5, 0], "where it was, and not beyond the end");
    }

    #[test]
    fn the_program_waits_for_the_quickest_viewer_only() {
        let screen = Screen::new([0, 0]);
        screen.push(0, chunk(1_000_000));
        assert!(screen.has_room(), "nobody looks");
        let (slow, ..) = screen.enter([None, None]);
        screen.push(0, chunk(200_000));
        assert!(!screen.has_room());
        let (quick, mut at, _) = screen.enter([None, None]);
        assert!(!screen.has_room());
        while matches!(screen.next(quick, &mut at), Next::Output(..) | Next::Skipped(_)) {}
        assert!(screen.has_room());
        screen.leave(quick);
        assert!(!screen.has_room());
        screen.leave(slow);
        assert!(screen.has_room());
    }

    #[test]
    fn the_end_comes_after_all_output_of_both_streams() {
        let screen = Screen::new([0, 0]);
        let (id, mut at, _) = screen.enter([None, None]);
        assert_eq!(screen.next(id, &mut at), Next::Nothing);
        screen.push(1, Bytes::from_static(b"err"));
        screen.push(0, Bytes::from_static(b"out"));
        screen.end(Ended { code: Some(3), ..Ended::default() });
        assert_eq!(screen.next(id, &mut at), Next::Output(0, Bytes::from_static(b"out")));
        assert_eq!(screen.next(id, &mut at), Next::Output(1, Bytes::from_static(b"err")));
        assert_eq!(screen.next(id, &mut at), Next::Ended(Ended { code: Some(3), ..Ended::default() }));
    }
}
