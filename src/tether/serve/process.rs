//! One process that tether holds: from its start to the end of its output.

use std::{
    collections::HashSet,
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    conn::Conn,
    ending::{Ending, Scope, Step},
    journal::Journal,
    keep::Report,
    procfs::{self, ProcId, Snapshot},
    segments::Cursor,
    source::Source,
    spawn::Spawned,
    stdin::Stdin,
};
use crate::tether::{
    frames::{FRAME_COST, MAX_OUTPUT, Output, Stream, kind},
    messages::{Exit, Exited, ProcessInfo},
};

/// Between SIGTERM and SIGKILL for what outlives the process itself.
const LEFTOVER_GRACE: Duration = Duration::from_millis(500);
/// How long a terminal may take to hand out the last output after nothing of the process is left.
const TERMINAL_DRAIN: Duration = Duration::from_secs(1);

/// A process, running or ended.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) journal: Journal,
    /// None once nothing of it is left and all its output is in the journal.
    pub(super) run: Option<Run>,
    /// What the controller sees of it.
    pub(super) attach: Option<Attachment>,
    /// Forgotten; it leaves the list at the end of the round, because places in the list are what `poll` answers with.
    pub(super) gone: bool,
}

/// What the controller has been sent of a process.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) cursors: [Cursor; 2],
    pub(super) credit: u64,
}

/// The running side.
#[derive(Debug)]
pub(super) struct Run {
    keeper: i32,
    /// None once the keeper is gone.
    control: Option<UnixStream>,
    reports: Vec<u8>,
    /// Whether its program was run.
    pub(super) begun: bool,
    /// The process itself, once it runs.
    pub(super) main: Option<ProcId>,
    /// How it ended, once it did.
    exit: Option<Exit>,
    pub(super) stdin: Stdin,
    pub(super) sources: [Source; 2],
    /// What was there at the last marked input.
    mark: Option<HashSet<ProcId>>,
    pub(super) endings: Vec<Ending>,
    /// The keeper went without its last word: what it kept is now tether's.
    orphaned: bool,
    /// tether is being stopped, and takes it along.
    pub(super) going_down: bool,
    /// Nothing of the tree is left since then.
    empty_since: Option<Instant>,
    /// The requests that wait for the start.
    pub(super) starting: Vec<u64>,
}

/// What came of a process.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It runs.
    Started { reqs: Vec<u64> },
    /// It could not be run; it is to be forgotten.
    StartFailed { reqs: Vec<u64>, why: String },
    /// What was asked to be ended is gone.
    Ended { reqs: Vec<u64>, killed: usize },
    /// It could not be ended.
    NotEnded { reqs: Vec<u64>, why: String },
}

impl Run {
    pub(super) fn new(spawned: Spawned, terminal: bool, req: u64) -> Self {
        Self {
            keeper: spawned.keeper,
            control: Some(spawned.control),
            reports: Vec::new(),
            begun: false,
            main: None,
            exit: None,
            stdin: Stdin::new(spawned.stdin, terminal),
            sources: [Source::new(Some(spawned.stdout)), Source::new(spawned.stderr)],
            mark: None,
            endings: Vec::new(),
            orphaned: false,
            going_down: false,
            empty_since: None,
            starting: vec![req],
        }
    }

    /// Its keeper's socket, to poll.
    pub(super) const fn control(&self) -> Option<&UnixStream> {
        self.control.as_ref()
    }

    pub(super) const fn keeper(&self) -> i32 {
        self.keeper
    }

    /// Whether the process itself takes signals and input.
    pub(super) const fn is_alive(&self) -> bool {
        self.exit.is_none() && self.control.is_some()
    }

    /// Remembers what is there.
    pub(super) fn set_mark(&mut self) -> io::Result<()> {
        self.mark = Some(Snapshot::take()?.descendants(&[self.keeper], &HashSet::new()));
        Ok(())
    }

    pub(super) const fn is_marked(&self) -> bool {
        self.mark.is_some()
    }

    pub(super) fn end(&mut self, scope: Scope, req: Option<u64>, grace: Duration, now: Instant) {
        match self.endings.iter_mut().find(|ending| ending.scope == scope) {
            Some(ending) => ending.join(req, grace, now),
            None => self.endings.push(Ending::new(scope, req, grace, now)),
        }
    }

    /// Takes what the keeper reports.
    pub(super) fn on_control(&mut self, now: Instant) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut chunk = [0; 4096];
        let closed = loop {
            let Some(control) = &mut self.control else { break true };
            match control.read(&mut chunk) {
                Ok(0) => break true,
                Ok(n) => self.reports.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break e.kind() != io::ErrorKind::WouldBlock,
            }
        };
        while let Some(end) = self.reports.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.reports.drain(..=end).collect();
            if let Ok(report) = serde_json::from_slice(&line) {
                outcomes.extend(self.on_report(report, now));
            }
        }
        if closed && self.control.take().is_some() && self.empty_since.is_none() {
            outcomes.extend(self.on_keeper_lost(now));
        }
        outcomes
    }

    fn on_report(&mut self, report: Report, now: Instant) -> Option<Outcome> {
        match report {
            Report::Started { pid } => {
                (self.begun, self.main) = (true, procfs::identify(pid));
                Some(Outcome::Started { reqs: std::mem::take(&mut self.starting) })
            }
            Report::Failed { why } => Some(Outcome::StartFailed { reqs: std::mem::take(&mut self.starting), why }),
            Report::Exited { code, signal } => {
                self.exit = Some(Exit { code, signal, lost: self.going_down });
                self.end(Scope::Tree, None, LEFTOVER_GRACE, now);
                None
            }
            Report::Empty => {
                self.empty_since = Some(now);
                None
            }
        }
    }

    fn on_keeper_lost(&mut self, now: Instant) -> Option<Outcome> {
        self.orphaned = true;
        self.exit.get_or_insert(Exit { lost: true, ..Exit::default() });
        self.end(Scope::Tree, None, Duration::ZERO, now);
        let reqs = std::mem::take(&mut self.starting);
        (!reqs.is_empty()).then(|| Outcome::StartFailed { reqs, why: "its keeper died".to_owned() })
    }

    /// Goes on with what is being ended. `keepers`: of all processes.
    pub(super) fn step_endings(&mut self, now: Instant, keepers: &HashSet<i32>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for mut ending in std::mem::take(&mut self.endings) {
            let empty = self.empty_since.is_some();
            let step = if empty {
                // The keeper had no child left: the kernel's own word, and better than any look.
                Step::Gone
            } else if ending.next > now {
                Step::Wait
            } else {
                let scope = ending.scope;
                ending.step(now, || Ok(self.victims(scope, &Snapshot::take()?, keepers)))
            };
            match step {
                Step::Wait => self.endings.push(ending),
                // Until the keeper says so too, the tree may be about to grow again.
                Step::Gone if ending.scope == Scope::Tree && !empty && !self.orphaned => self.endings.push(ending),
                Step::Gone => {
                    if ending.scope == Scope::Tree {
                        self.empty_since.get_or_insert(now);
                    }
                    outcomes.push(Outcome::Ended { killed: ending.killed(), reqs: ending.reqs });
                }
                Step::Failed(why) => {
                    if ending.scope == Scope::Tree && self.exit.is_some() {
                        // What is left of an ended process is tried for as long as it takes.
                        self.endings.push(Ending::new(Scope::Tree, None, Duration::ZERO, now));
                    }
                    outcomes.push(Outcome::NotEnded { reqs: ending.reqs, why });
                }
            }
        }
        outcomes
    }

    fn victims(&self, scope: Scope, all: &Snapshot, keepers: &HashSet<i32>) -> HashSet<ProcId> {
        let mut others = keepers.clone();
        others.remove(&self.keeper);
        let roots: Vec<i32> = if self.orphaned {
            i32::try_from(std::process::id()).into_iter().chain([self.keeper]).collect()
        } else {
            vec![self.keeper]
        };
        let mut found = all.descendants(&roots, &others);
        if scope == Scope::SinceMark {
            found.retain(|id| Some(*id) != self.main && !self.mark.as_ref().is_some_and(|mark| mark.contains(id)));
        }
        found
    }

    /// When it wants attention without anything happening.
    pub(super) fn next(&self) -> Option<Instant> {
        let endings = self.endings.iter().map(|ending| ending.next);
        let retries = self.sources.iter().filter_map(Source::retry_at);
        let late = self.stdin.terminal().is_some() && self.sources[0].is_open();
        let drained = self.empty_since.filter(|_| late).map(|since| since + TERMINAL_DRAIN);
        endings.chain(retries).chain(drained).min()
    }

    /// Closes what can bring nothing more, now that nothing of the tree is left; `true` when all is in the journal. The
    /// limit no longer counts: what a pipe still holds is little.
    fn drain(&mut self, journal: &mut Journal, record: &mut Vec<u8>, now: Instant) -> bool {
        const NO_LIMIT: u64 = u64::MAX;
        let Some(since) = self.empty_since else { return false };
        for (source, log) in self.sources.iter_mut().zip(&mut journal.streams) {
            while source.take(log, NO_LIMIT, record, now) {}
            // All that was written is in the pipe: an empty one is at its end, even if a stranger holds on to it. A
            // terminal hands on what was written a little later, and then says so.
            let late = self.stdin.terminal().is_some() && now < since + TERMINAL_DRAIN;
            if source.wants(log, NO_LIMIT).is_some() && !late {
                source.close();
            }
        }
        self.sources.iter().all(Source::is_done)
    }
}

impl Process {
    pub(super) const fn new(id: String, journal: Journal, run: Option<Run>) -> Self {
        Self { id, journal, run, attach: None, gone: false }
    }

    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            id: self.id.clone(),
            running: self.run.is_some(),
            exit: self.exit(),
            last_input: self.journal.last_input(),
            stdout: self.journal.stream(Stream::Stdout).span(),
            stderr: self.journal.stream(Stream::Stderr).span(),
        }
    }

    /// Sends one frame of each of its streams, and its end behind the last; `false` if there was nothing to send.
    pub(super) fn send_some(&mut self, conn: &mut Conn, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let exit = self.exit();
        let Some(attach) = &mut self.attach else { return Ok(false) };
        let mut sent = false;
        for stream in Stream::ALL {
            if attach.credit < MAX_OUTPUT as u64 + FRAME_COST {
                return Ok(sent);
            }
            let log = self.journal.stream(stream);
            let Some(piece) = log.read(&mut attach.cursors[stream.index()], buffer)? else { continue };
            let bytes = &buffer[piece.from..piece.to];
            let output = Output { process: &self.id, stream, offset: piece.offset, time: piece.time, bytes };
            attach.credit -= output.cost();
            output.encode(conn.out()).map_err(io::Error::other)?;
            sent = true;
        }
        if let (Some(exit), false) = (exit, sent) {
            conn.send(kind::EXITED, &Exited { process: self.id.clone(), exit });
            self.attach = None;
            // Not counted as sent: nothing more comes of this one.
        }
        Ok(sent)
    }

    /// How it ended, once nothing of it is left; one that an earlier tether held is lost.
    pub(super) fn exit(&self) -> Option<Exit> {
        let lost = Exit { lost: true, ..Exit::default() };
        self.run.is_none().then(|| self.journal.meta.exit.unwrap_or(lost))
    }

    /// Finishes it if nothing of it is left and all its output is in the journal.
    pub(super) fn try_finish(&mut self, record: &mut Vec<u8>, now: Instant) {
        let Some(run) = &mut self.run else { return };
        if !run.endings.is_empty() || !run.drain(&mut self.journal, record, now) {
            return;
        }
        let exit = run.exit.unwrap_or(Exit { lost: true, ..Exit::default() });
        if let Err(e) = self.journal.ended(exit) {
            eprintln!("wharf-tether: the end of {} could not be recorded: {e}", self.id);
        }
        self.run = None;
    }
}

/// All that earlier tethers left.
pub(super) fn read_processes(dir: &Path) -> Result<Vec<Process>, String> {
    let open = |id: String| -> io::Result<Process> {
        let journal = Journal::open(dir, &id)?;
        Ok(Process::new(id, journal, None))
    };
    let ids = Journal::all(dir).map_err(|e| format!("can't list the journals in {}: {e}", dir.display()))?;
    ids.into_iter()
        .map(|id| open(id.clone()).map_err(|e| format!("can't read the journal {}: {e}", dir.join(id).display())))
        .collect()
}
