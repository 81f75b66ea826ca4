//! `keep`: the parent of one agent process and, as its subreaper, of all that the agent leaves behind.

use std::{
    collections::HashSet,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, Stdio, id},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, WaitOptions, getpid, set_child_subreaper, setsid, wait},
};
use serde::{Deserialize, Serialize};

use super::{handoff::Handoff, procfs};
use crate::tether::inside::System;

/// What a keeper tells tether, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The program runs.
    Started { pid: i32 },
    /// It could not be run.
    Failed { why: String },
    /// It ended; what it started may still run.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// Nothing of it is left; the keeper goes.
    Empty,
}

/// Starts what comes over stdin, a socket, and stays until nothing of it is left.
pub(crate) fn keep(system: System) -> Result<(), String> {
    let failed = |what: &'static str| move |e: io::Error| format!("the keeper can't {what}: {e}");
    let signals = (system.watch_signals)().map_err(failed("watch signals"))?;
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(failed("hold its socket"))?;
    setsid().map_err(|e| failed("begin a session")(e.into()))?;
    set_child_subreaper(Some(getpid())).map_err(|e| failed("become a subreaper")(e.into()))?;
    let (status, main) = start(&control).map_err(failed("start the launcher"))?;
    let keeper = Keeper { control, signals, status: Some(status), why: Vec::new(), main, exit: None };
    match keeper.run() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Keeper::abandon(),
        result => result,
    }
    .map_err(failed("go on"))
}

fn start(control: &UnixStream) -> io::Result<(UnixStream, i32)> {
    let handoff = Handoff::receive(control)?;
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg0("wharf-tether")
        .arg("launch")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    handoff.send(&ours)?;
    Ok((ours, i32::try_from(child.id()).map_err(io::Error::other)?))
}

struct Keeper {
    /// To tether. Its end means that tether is gone.
    control: UnixStream,
    signals: OwnedFd,
    /// From the launcher. Its end means that the program runs, or that `why` is whole.
    status: Option<UnixStream>,
    why: Vec<u8>,
    main: i32,
    /// Held back until it is known whether the program ever ran.
    exit: Option<Report>,
}

impl Keeper {
    fn run(mut self) -> io::Result<()> {
        loop {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.control, PollFlags::IN)];
            fds.extend(self.status.as_ref().map(|status| PollFd::new(status, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[1] {
                return Self::abandon();
            }
            if ready.get(2) == Some(&true) {
                self.on_status()?;
            }
            if ready[0] {
                while rustix::io::read(&self.signals, &mut [0; 64]).is_ok_and(|n| n > 0) {}
            }
            if !self.reap()? {
                // The launcher is gone, so its word is whole.
                while self.status.is_some() {
                    self.on_status()?;
                }
                return self.report(&Report::Empty);
            }
        }
    }

    fn on_status(&mut self) -> io::Result<()> {
        let Some(status) = &mut self.status else { return Ok(()) };
        let mut chunk = [0; 1024];
        let n = status.read(&mut chunk)?;
        if n > 0 && self.why.len() < 4096 {
            self.why.extend_from_slice(&chunk[..n]);
        }
        if n == 0 {
            self.status = None;
            if self.why.is_empty() {
                self.report(&Report::Started { pid: self.main })?;
                if let Some(exit) = self.exit.take() {
                    self.report(&exit)?;
                }
            } else {
                self.report(&Report::Failed { why: String::from_utf8_lossy(&self.why).into_owned() })?;
            }
        }
        Ok(())
    }

    /// Buries the dead; `false` when there is no child left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.main => {
                    let exit = Report::Exited { code: status.exit_status(), signal: status.terminating_signal() };
                    match (&self.status, self.why.is_empty()) {
                        (Some(_), _) => self.exit = Some(exit),
                        (None, true) => self.report(&exit)?,
                        (None, false) => {}
                    }
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return Ok(true),
                Err(rustix::io::Errno::CHILD) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.control.write_all(&line)
    }

    /// tether is gone, and where it was not the container's first process, nobody else ends what it held.
    fn abandon() -> io::Result<()> {
        let me = i32::try_from(id()).map_err(io::Error::other)?;
        loop {
            let tree = procfs::Snapshot::take()?.descendants(&[me], &HashSet::new());
            if tree.is_empty() {
                return Ok(());
            }
            for signal in [Signal::STOP, Signal::KILL] {
                for &victim in &tree {
                    procfs::signal(victim, signal)?;
                }
            }
            // Buries one; the others follow in the next rounds.
            let _ = wait(WaitOptions::empty());
        }
    }
}
