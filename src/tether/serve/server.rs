//! The server: every source of change is handled here, one after the other.

use std::{
    collections::HashSet,
    fs,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

use super::{
    conn::Conn,
    ending::Scope,
    files::Files,
    host,
    options::Options,
    poller::{Poller, Token},
    process::{Outcome, Process, read_processes},
    segments::HEADER,
    setup, strays,
};
use crate::tether::{
    frames::{MAX_OUTPUT, kind},
    inside::System,
    messages::{Ended, ErrorCode, Exit, Exited, HostUser, Req, Waits},
};

/// Connections that may wait with their hello.
const MAX_GUESTS: usize = 8;
/// How long they may.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Between SIGTERM and SIGKILL when tether itself is to go: within the engine's own ten seconds.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

pub(super) struct Server {
    pub(super) options: Options,
    pub(super) system: System,
    /// Where it works and as whom, on a host.
    pub(super) host: Option<HostUser>,
    pub(super) processes_dir: PathBuf,
    /// Held for the lock on it.
    _state: File,
    pub(super) generation: String,
    pub(super) boot_id: String,
    signals: OwnedFd,
    pub(super) listeners: Vec<UnixListener>,
    /// Connected, and not yet heard of.
    pub(super) guests: Vec<Conn>,
    /// The one that commands.
    pub(super) controller: Option<Conn>,
    pub(super) processes: Vec<Process>,
    /// What they find.
    pub(super) files: Files,
    /// Where the next round of sending begins, so that no process waits behind another for long.
    turn: usize,
    pub(super) stopping: bool,
    /// Work space, kept.
    pub(super) buffer: Vec<u8>,
}

impl Server {
    pub(super) fn new(options: Options, system: System) -> Result<Self, String> {
        setup::raise_descriptor_limit();
        let signals = (system.watch_signals)().map_err(|e| format!("can't watch signals: {e}"))?;
        // Where tether is not the first process, what a lost keeper leaves must come to it all the same.
        set_child_subreaper(Some(getpid())).map_err(|e| format!("can't become a subreaper: {e}"))?;
        setup::own(&options.own)?;
        let state = setup::state(&options.state)?;
        let host = options.host.as_ref().map(host::user).transpose()?;
        if host.is_some() {
            host::begin_session();
            strays::end(&options.state)?;
        }
        let processes_dir = options.state.join("processes");
        let processes = read_processes(&processes_dir)?;
        let read = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/random/{name}"));
            text.map(|text| text.trim().to_owned()).map_err(|e| format!("can't read the kernel's {name}: {e}"))
        };
        let files = Files::new(options.files.clone(), host.is_some())?;
        let (generation, boot_id) = (read("uuid")?, read("boot_id")?);
        let mut listeners = vec![setup::inner_socket(&options.socket)?];
        if let Some(path) = &options.host_socket {
            listeners.push(setup::host_socket(path)?);
        }
        Ok(Self {
            options,
            system,
            host,
            processes_dir,
            _state: state,
            generation,
            boot_id,
            signals,
            listeners,
            guests: Vec::new(),
            controller: None,
            processes,
            files,
            turn: 0,
            stopping: false,
            buffer: vec![0; HEADER + MAX_OUTPUT],
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            for token in ready {
                self.on_ready(token, now);
            }
            self.advance(now);
            self.send_output();
            self.flush();
            if self.stopping && self.processes.iter().all(|process| process.run.is_none()) {
                self.take_sockets_along();
                return Ok(());
            }
        }
    }

    /// On a host, a socket that is left says that its tether was killed.
    fn take_sockets_along(&self) {
        if self.host.is_some() {
            for path in self.options.host_socket.iter().chain([&self.options.socket]) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<Token>> {
        let mut poller = Poller::default();
        poller.read(Token::Signals, &self.signals);
        if self.guests.len() < MAX_GUESTS {
            for (i, listener) in self.listeners.iter().enumerate() {
                poller.read(Token::Listener(i), listener);
            }
        }
        for (i, guest) in self.guests.iter().enumerate() {
            poller.read_write(Token::Guest(i), guest.stream(), true, guest.wants_to_write());
        }
        if let Some(conn) = &self.controller {
            poller.read_write(Token::Controller, conn.stream(), conn.may_read(), conn.wants_to_write());
        }
        let mut until = self.guests.iter().map(|guest| guest.since + HELLO_PATIENCE).min();
        for (i, process) in self.processes.iter().enumerate() {
            let Some(run) = &process.run else { continue };
            if let Some(control) = run.control() {
                poller.read(Token::Keeper(i), control);
            }
            if let Some(stdin) = run.stdin.wants_room() {
                poller.write(Token::Stdin(i), stdin);
            }
            for (s, source) in run.sources.iter().enumerate() {
                if let Some(fd) = source.wants(&process.journal.streams[s], self.options.journal_limit) {
                    poller.read(Token::Source(i, s), fd);
                }
            }
            until = until.into_iter().chain(run.next()).min();
        }
        poller.wait(until)
    }

    fn on_ready(&mut self, token: Token, now: Instant) {
        match token {
            Token::Signals => self.on_signals(now),
            Token::Listener(i) => self.accept(i, now),
            Token::Guest(i) => {
                if let Some(guest) = self.guests.get_mut(i) {
                    guest.fill(&mut self.buffer);
                }
            }
            Token::Controller => {
                if let Some(conn) = &mut self.controller
                    && conn.may_read()
                {
                    conn.fill(&mut self.buffer);
                }
            }
            Token::Keeper(i) => {
                let outcomes = self.processes[i].run.as_mut().map(|run| run.on_control(now));
                let id = self.processes[i].id.clone();
                self.report(&id, outcomes.unwrap_or_default());
            }
            Token::Stdin(i) => {
                if let Some(run) = self.processes.get_mut(i).and_then(|process| process.run.as_mut()) {
                    run.stdin.write();
                }
            }
            Token::Source(i, s) => {
                let Some(process) = self.processes.get_mut(i) else { return };
                if let Some(run) = &mut process.run {
                    let log = &mut process.journal.streams[s];
                    run.sources[s].take(log, self.options.journal_limit, &mut self.buffer, now);
                }
            }
        }
    }

    fn on_signals(&mut self, now: Instant) {
        let mut numbers = [0; 64];
        while let Ok(n) = rustix::io::read(&self.signals, &mut numbers) {
            if n == 0 {
                break;
            }
            if numbers[..n].iter().any(|&number| number == 2 || number == 15) {
                self.go_down(now);
            }
        }
        // Keepers, and as the first process whatever lost its parent. A keeper's end is known from its socket.
        while let Ok(Some(_)) | Err(rustix::io::Errno::INTR) = wait(WaitOptions::NOHANG) {}
    }

    /// Ends everything; what runs no more is followed by tether itself.
    pub(super) fn go_down(&mut self, now: Instant) {
        self.stopping = true;
        for run in self.processes.iter_mut().filter_map(|process| process.run.as_mut()) {
            run.going_down = true;
            run.end(Scope::Tree, None, SHUTDOWN_GRACE, now);
        }
    }

    /// Goes on with all that does not depend on one descriptor.
    fn advance(&mut self, now: Instant) {
        self.hear_guests(now);
        self.obey(now);
        let keepers: HashSet<i32> =
            self.processes.iter().filter_map(|process| Some(process.run.as_ref()?.keeper())).collect();
        for i in 0..self.processes.len() {
            let process = &mut self.processes[i];
            let Some(run) = &mut process.run else { continue };
            for (source, log) in run.sources.iter_mut().zip(&mut process.journal.streams) {
                source.retry(log, now);
                if let Some(conn) = &mut self.controller
                    && let Some(reason) = source.untold()
                {
                    conn.send(kind::WAITS, &Waits { process: process.id.clone(), reason });
                }
            }
            if !run.endings.is_empty() {
                let (outcomes, id) = (run.step_endings(now, &keepers), process.id.clone());
                self.report(&id, outcomes);
            }
            self.processes[i].try_finish(&mut self.buffer, now);
            if self.processes[i].run.is_none() {
                self.files.release(&self.processes[i].id);
            }
        }
        self.processes.retain(|process| !process.gone);
    }

    /// The newest connection wins: an older one's daemon is gone or about to be.
    fn hear_guests(&mut self, now: Instant) {
        for mut guest in std::mem::take(&mut self.guests) {
            match guest.next_frame() {
                Ok(Some(frame)) => {
                    if let Some(welcome) = self.welcome(&mut guest, &frame) {
                        guest.send(kind::WELCOME, &welcome);
                        self.take_over(guest);
                    } else {
                        guest.flush();
                    }
                }
                Ok(None) if guest.broken.is_none() && now < guest.since + HELLO_PATIENCE => self.guests.push(guest),
                Ok(None) => {}
                Err(e) => {
                    guest.send_error(None, ErrorCode::Invalid, e.to_string());
                    guest.flush();
                }
            }
        }
    }

    fn take_over(&mut self, conn: Conn) {
        if let Some(mut old) = self.controller.replace(conn) {
            old.send_error(None, ErrorCode::Superseded, "another connection took over");
            old.flush();
        }
        self.on_controller_gone();
        if let Some(conn) = &mut self.controller {
            conn.flush();
        }
    }

    /// Nobody waits any more for what the last controller asked.
    fn on_controller_gone(&mut self) {
        for process in &mut self.processes {
            process.attach = None;
            if let Some(run) = &mut process.run {
                run.starting.clear();
                run.endings.iter_mut().for_each(|ending| ending.reqs.clear());
            }
        }
    }

    /// Tells the controller what came of a process's requests.
    pub(super) fn report(&mut self, id: &str, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            if matches!(outcome, Outcome::StartFailed { .. }) {
                self.forget(id);
            }
            let Some(conn) = &mut self.controller else { continue };
            match outcome {
                Outcome::Started { reqs } => reqs.iter().for_each(|&req| conn.send(kind::DONE, &Req { req })),
                Outcome::StartFailed { reqs, why } => {
                    reqs.iter().for_each(|&req| conn.send_error(Some(req), ErrorCode::StartFailed, why.as_str()));
                }
                Outcome::Ended { reqs, killed } => {
                    reqs.iter().for_each(|&req| conn.send(kind::ENDED, &Ended { req, killed }));
                }
                Outcome::NotEnded { reqs, why } => {
                    reqs.iter().for_each(|&req| conn.send_error(Some(req), ErrorCode::StillRunning, why.as_str()));
                }
            }
        }
    }

    pub(super) fn find(&mut self, id: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id && !process.gone)
    }

    /// Drops a process of which nothing runs, and its journal. Whoever waits for its end, or for what it says, is told: one
    /// that could not be started may have been asked for either already.
    pub(super) fn forget(&mut self, id: &str) {
        let Some(process) = self.find(id) else { return };
        let (run, attach) = (process.run.take(), process.attach.take());
        process.gone = true;
        if let Err(e) = process.journal.remove() {
            eprintln!("wharf-tether: the journal of {id} could not be removed: {e}");
        }
        self.files.release(id);
        let (Some(conn), Some(run)) = (&mut self.controller, run) else { return };
        if attach.is_some() {
            conn.send(kind::EXITED, &Exited { process: id.to_owned(), exit: Exit::default() });
        }
        for req in run.endings.into_iter().flat_map(|ending| ending.reqs) {
            conn.send(kind::ENDED, &Ended { req, killed: 0 });
        }
    }

    /// Sends each attached process's output in turn, as far as its credit and the connection's room go.
    fn send_output(&mut self) {
        let Some(conn) = &mut self.controller else { return };
        let count = self.processes.len();
        let mut more = true;
        while more && conn.has_room_for_output() && conn.broken.is_none() {
            more = false;
            for i in 0..count {
                let process = &mut self.processes[(self.turn + i) % count];
                match process.send_some(conn, &mut self.buffer) {
                    Ok(sent) => more |= sent,
                    Err(e) => {
                        eprintln!("wharf-tether: the journal of {} can't be read: {e}", process.id);
                        conn.fail(format!("the journal of {} can't be read: {e}", process.id));
                    }
                }
                if !conn.has_room_for_output() {
                    self.turn = (self.turn + i + 1) % count;
                    break;
                }
            }
        }
    }

    fn flush(&mut self) {
        let Some(conn) = &mut self.controller else { return };
        conn.flush();
        if conn.broken.is_some() {
            self.controller = None;
            self.on_controller_gone();
        }
    }
}
