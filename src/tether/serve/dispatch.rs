//! What the controller asks for, frame by frame.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getgid, getuid};

use super::{
    conn::Conn,
    ending::Scope,
    host,
    journal::{Journal, Meta},
    process::{Attachment, Process, Run},
    procfs,
    segments::Cursor,
    server::Server,
    source::now_ms,
    spawn, strays,
};
use crate::tether::{
    frames::{Frame, FrameError, Input, MAX_PROCESSES, OLDEST_VERSION, Stream, VERSION, is_process_id, kind},
    messages::{
        Ack, Attach, Attached, Credit, End, Ended, Error, ErrorCode, Hello, InputTaken, OfProcess, Ping, ProcessInfo,
        Processes, Req, Resize, Resolve, Resolved, SendSignal, Start, Welcome,
    },
};

/// Why a request is refused.
type Refusal = (ErrorCode, String);
/// The longest grace, in milliseconds.
const MAX_GRACE_MS: u64 = 600_000;

fn not_found(id: &str) -> Refusal {
    (ErrorCode::NotFound, format!("no process is called `{}`", id.chars().take(100).collect::<String>()))
}

fn ended(id: &str) -> Refusal {
    (ErrorCode::NotRunning, format!("the process `{id}` has ended"))
}

impl Server {
    /// The answer to a connection's first frame; `None` if it is to be closed.
    pub(super) fn welcome(&self, conn: &mut Conn, frame: &Frame) -> Option<Welcome> {
        let hello = match frame.json::<Hello>() {
            Ok(hello) if frame.kind == kind::HELLO => hello,
            Ok(_) | Err(_) => {
                conn.send_error(None, ErrorCode::Invalid, "the first frame must be a hello");
                return None;
            }
        };
        if hello.version < OLDEST_VERSION {
            let message = format!("this tether speaks versions {OLDEST_VERSION} to {VERSION}, not {}", hello.version);
            conn.send_error(None, ErrorCode::Unsupported, message);
            return None;
        }
        Some(Welcome {
            version: hello.version.min(VERSION),
            tether: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.generation.clone(),
            boot_id: self.boot_id.clone(),
            processes: self.infos(),
            host: self.host.clone(),
        })
    }

    fn infos(&self) -> Vec<ProcessInfo> {
        self.processes.iter().filter(|process| !process.gone).map(Process::info).collect()
    }

    /// Does what the controller's frames say.
    pub(super) fn obey(&mut self, now: Instant) {
        while let Some(conn) = &mut self.controller {
            match conn.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(e) = self.on_frame(&frame, now)
                        && let Some(conn) = &mut self.controller
                    {
                        conn.send_error(None, ErrorCode::Invalid, e.to_string());
                    }
                }
                Ok(None) => return,
                Err(e) => {
                    conn.send_error(None, ErrorCode::Invalid, e.to_string());
                    conn.flush();
                    return conn.fail(e.to_string());
                }
            }
        }
    }

    fn on_frame(&mut self, frame: &Frame, now: Instant) -> Result<(), FrameError> {
        match frame.kind {
            kind::START | kind::START_WITH_FILES => {
                let mut start: Start = frame.json()?;
                match self.start(&mut start) {
                    Ok(true) => self.done(start.req, Ok(())),
                    Ok(false) => {}
                    Err(refusal) => self.done(start.req, Err(refusal)),
                }
            }
            kind::ATTACH => self.attach(&frame.json()?),
            kind::INPUT => self.input(&Input::decode(frame)?),
            kind::ACK => self.ack(&frame.json()?, now),
            kind::CREDIT => {
                let credit: Credit = frame.json()?;
                if let Some(attach) = self.find(&credit.process).and_then(|process| process.attach.as_mut()) {
                    attach.credit = attach.credit.saturating_add(credit.add);
                }
            }
            kind::END => self.end(&frame.json()?, now),
            kind::CLOSE_STDIN => {
                let of: OfProcess = frame.json()?;
                let known = self.find(&of.process).map(|process| process.run.as_mut().map(|run| run.stdin.close()));
                self.done(of.req, known.map(|_| ()).ok_or_else(|| not_found(&of.process)));
            }
            kind::SIGNAL => {
                let signal: SendSignal = frame.json()?;
                self.on_running(frame, |run| send_signal(run, &signal))?;
            }
            kind::RESIZE => {
                let resize: Resize = frame.json()?;
                self.on_running(frame, |run| match run.stdin.terminal() {
                    Some(terminal) => spawn::resize(terminal, resize.size).map_err(failed("set the size")),
                    None => Err((ErrorCode::Invalid, "the process has no terminal".to_owned())),
                })?;
            }
            kind::FORGET => self.on_forget(&frame.json()?),
            kind::DETACH => {
                let of: OfProcess = frame.json()?;
                if let Some(process) = self.find(&of.process) {
                    process.attach = None;
                }
                self.done(of.req, Ok(()));
            }
            kind::LIST => {
                let (req, processes) = (frame.json::<Req>()?.req, self.infos());
                self.reply(kind::PROCESSES, &Processes { req, processes });
            }
            kind::PING => self.reply(kind::PONG, &frame.json::<Ping>()?),
            kind::RESOLVE if self.host.is_some() => self.resolve(&frame.json()?),
            kind::STOP => {
                self.done(frame.json::<Req>()?.req, Ok(()));
                self.go_down(now);
            }
            other => self.unknown(frame, other),
        }
        Ok(())
    }

    /// A newer daemon's frame: refused in words, so that the daemon can do without.
    fn unknown(&mut self, frame: &Frame, kind: u8) {
        let req = frame.json::<Req>().ok().map(|of| of.req);
        if let Some(conn) = &mut self.controller {
            conn.send_error(req, ErrorCode::Unsupported, format!("this tether does not know frames of kind {kind}"));
        }
    }

    fn on_forget(&mut self, of: &OfProcess) {
        let running = self.find(&of.process).is_some_and(|process| process.run.is_some());
        if !running {
            self.forget(&of.process);
        }
        let refusal = (ErrorCode::Running, format!("the process `{}` has not ended", of.process));
        self.done(of.req, if running { Err(refusal) } else { Ok(()) });
    }

    fn resolve(&mut self, resolve: &Resolve) {
        let Some(options) = &self.options.host else { return };
        match host::resolve(options, &resolve.path) {
            Ok(path) => self.reply(kind::RESOLVED, &Resolved { req: resolve.req, path }),
            Err(why) => self.done(resolve.req, Err((ErrorCode::Invalid, why))),
        }
    }

    fn reply<T: serde::Serialize>(&mut self, kind: u8, message: &T) {
        if let Some(conn) = &mut self.controller {
            conn.send(kind, message);
        }
    }

    fn done(&mut self, req: u64, result: Result<(), Refusal>) {
        match (result, &mut self.controller) {
            (Ok(()), Some(conn)) => conn.send(kind::DONE, &Req { req }),
            (Err((code, message)), Some(conn)) => conn.send_error(Some(req), code, message),
            (_, None) => {}
        }
    }

    fn on_running(
        &mut self,
        frame: &Frame,
        act: impl FnOnce(&mut Run) -> Result<(), Refusal>,
    ) -> Result<(), FrameError> {
        let of: OfProcess = frame.json()?;
        let result = match self.find(&of.process) {
            None => Err(not_found(&of.process)),
            Some(Process { run: Some(run), .. }) if run.is_alive() => act(run),
            Some(_) => Err(ended(&of.process)),
        };
        self.done(of.req, result);
        Ok(())
    }

    /// `true`: it runs, or ran, already. `false`: the answer comes when the keeper reports.
    fn start(&mut self, start: &mut Start) -> Result<bool, Refusal> {
        check_start(start, self.host.is_some()).map_err(|why| (ErrorCode::Invalid, why))?;
        if let Some(process) = self.find(&start.id) {
            return Ok(match &mut process.run {
                Some(run) if !run.begun && run.is_alive() => {
                    run.starting.push(start.req);
                    false
                }
                _ => true,
            });
        }
        if self.stopping {
            return Err((ErrorCode::NotRunning, "tether is stopping".to_owned()));
        }
        if self.processes.len() >= MAX_PROCESSES {
            return Err((ErrorCode::Full, format!("tether holds {MAX_PROCESSES} processes already: forget some")));
        }
        if let Some(options) = &self.options.host {
            // What was no link when the session was made may be one now.
            start.cwd = host::resolve(options, &start.cwd).map_err(|why| (ErrorCode::StartFailed, why))?;
            start.env.push(strays::variable(&self.options.state));
        }
        let meta = Meta { argv: start.argv.clone(), started: now_ms(), exit: None };
        let journal = Journal::create(&self.processes_dir, &start.id, meta)
            .map_err(|e| (ErrorCode::Journal, format!("can't begin a journal: {e}")))?;
        let spawned = self.files.place(start).map_err(io::Error::other).and_then(|()| spawn::spawn(start));
        let run = match spawned {
            Ok(spawned) => Run::new(spawned, start.pty.is_some(), start.req),
            Err(e) => {
                self.files.release(&start.id);
                let removed = journal.remove();
                let why = format!(
                    "can't start a process: {e}{}",
                    removed.err().map(|e| format!("; {e}")).unwrap_or_default()
                );
                return Err((ErrorCode::StartFailed, why));
            }
        };
        self.processes.push(Process::new(start.id.clone(), journal, Some(run)));
        Ok(false)
    }

    fn attach(&mut self, attach: &Attach) {
        let wants = [attach.stdout, attach.stderr];
        let result = match self.find(&attach.process) {
            None => Err(not_found(&attach.process)),
            Some(process) => {
                let running = process.run.is_some();
                let wrong = Stream::ALL.into_iter().find(|stream| {
                    let (span, want) = (process.journal.stream(*stream).span(), wants[stream.index()]);
                    // After a crash of the machine the daemon may know more of an ended process than tether.
                    want < span.start || (running && want > span.end)
                });
                match wrong {
                    Some(stream) => {
                        let (span, want) = (process.journal.stream(stream).span(), wants[stream.index()]);
                        Err((ErrorCode::Offset, format!("{stream:?} holds {} to {}, not {want}", span.start, span.end)))
                    }
                    None => {
                        process.attach = Some(Attachment { cursors: wants.map(Cursor::at), credit: attach.credit });
                        Ok(process.info())
                    }
                }
            }
        };
        match result {
            Ok(info) => self.reply(kind::ATTACHED, &Attached { req: attach.req, info }),
            Err(refusal) => self.done(attach.req, Err(refusal)),
        }
    }

    fn ack(&mut self, ack: &Ack, now: Instant) {
        let Some(process) = self.find(&ack.process) else { return };
        for (log, offset) in process.journal.streams.iter_mut().zip([ack.stdout, ack.stderr]) {
            if let Err(e) = log.ack(offset) {
                eprintln!("wharf-tether: the journal of {} can't be shortened: {e}", ack.process);
            }
        }
        if let Some(run) = &mut process.run {
            run.sources.iter_mut().for_each(|source| source.hurry(now));
        }
    }

    fn input(&mut self, input: &Input<'_>) {
        match self
            .find(input.process)
            .map_or_else(|| Err(not_found(input.process)), |process| take_input(process, input))
        {
            Ok(()) => self.reply(kind::INPUT_TAKEN, &InputTaken { process: input.process.to_owned(), n: input.n }),
            Err((code, message)) => {
                let (process, n) = (Some(input.process.to_owned()), Some(input.n));
                self.reply(kind::ERROR, &Error { req: None, process, n, code, message });
            }
        }
    }

    fn end(&mut self, end: &End, now: Instant) {
        let scope = if end.since_mark { Scope::SinceMark } else { Scope::Tree };
        let grace = Duration::from_millis(end.grace_ms.min(MAX_GRACE_MS));
        let left = match self.find(&end.process) {
            None => return self.done(end.req, Err(not_found(&end.process))),
            Some(Process { run: Some(run), .. }) if scope == Scope::Tree || run.is_marked() => Some(run),
            // Nothing runs, or nothing was ever marked and so nothing was born since.
            Some(_) => None,
        };
        match left {
            Some(run) => run.end(scope, Some(end.req), grace, now),
            None => self.reply(kind::ENDED, &Ended { req: end.req, killed: 0 }),
        }
    }
}

/// Takes an input once: in the journal before its first byte is written.
fn take_input(process: &mut Process, input: &Input<'_>) -> Result<(), Refusal> {
    let last = process.journal.last_input();
    if input.n <= last {
        return Ok(());
    }
    if input.n != last + 1 {
        return Err((ErrorCode::InputGap, format!("input {} after input {last}", input.n)));
    }
    let Some(run) = process.run.as_mut().filter(|run| run.is_alive()) else { return Err(ended(&process.id)) };
    if !run.stdin.has_room(input.bytes.len()) {
        return Err((ErrorCode::Full, "the process does not read its input: too much of it waits".to_owned()));
    }
    if input.mark {
        run.set_mark().map_err(failed("look for processes"))?;
    }
    process.journal.take_input(input.n).map_err(|e| (ErrorCode::Journal, format!("can't record the input: {e}")))?;
    run.stdin.push(input.bytes.to_vec());
    Ok(())
}

fn send_signal(run: &Run, signal: &SendSignal) -> Result<(), Refusal> {
    let known = Signal::from_named_raw(signal.signal);
    let known = known.ok_or_else(|| (ErrorCode::Invalid, format!("no signal has the number {}", signal.signal)))?;
    match run.main {
        Some(main) => procfs::signal(main, known).map_err(failed("send the signal")),
        None => Err((ErrorCode::NotRunning, "the process has not begun".to_owned())),
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |e| (ErrorCode::Other, format!("can't {what}: {e}"))
}

fn check_start(start: &Start, on_host: bool) -> Result<(), String> {
    let texts = start.argv.iter().chain(start.env.iter().flat_map(|(k, v)| [k, v])).chain([&start.cwd]);
    if !is_process_id(&start.id) {
        return Err("a process id is 1 to 96 of a-z, 0-9, `_`, `-`".to_owned());
    }
    if start.argv.first().is_none_or(String::is_empty) {
        return Err("no program is named".to_owned());
    }
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err("an argument, a variable or the directory holds a NUL".to_owned());
    }
    if let Some((name, _)) = start.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(format!("`{name}` can't be a variable's name"));
    }
    if let Some(file) = start.files.iter().find(|file| !file.path.starts_with('/') || file.path.contains('\0')) {
        return Err(format!("the file `{}` has no absolute path", file.path));
    }
    if !start.cwd.starts_with('/') {
        return Err(format!("the directory `{}` is not absolute", start.cwd));
    }
    let me = getuid();
    if on_host {
        let own = start.uid == me.as_raw() && start.gid == getgid().as_raw();
        return if own { Ok(()) } else { Err("on a host a process runs as tether's own user and group".to_owned()) };
    }
    if me.is_root() && (start.uid == 0 || start.gid == 0) {
        return Err("a process never runs as root: give it a user and a group of its own".to_owned());
    }
    if !me.is_root() && start.uid != me.as_raw() {
        return Err(format!("this tether is not root and can start processes as user {} only", me.as_raw()));
    }
    Ok(())
}
