//! One output of a process on its way into the journal: read when there is room, held back when there is none, never dropped.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;

use super::segments::{HEADER, StreamLog};
use crate::tether::frames::MAX_OUTPUT;

/// Between attempts to append while the volume refuses.
const RETRY: Duration = Duration::from_millis(500);

/// A pipe or terminal that a process writes to.
#[derive(Debug)]
pub(super) struct Source {
    /// None once all was read.
    fd: Option<OwnedFd>,
    /// Was read, and the volume refused it: the record with its time, and when to try again.
    held: Option<(Vec<u8>, i64, Instant)>,
    /// Why it was refused, until that is told.
    untold: Option<String>,
}

impl Source {
    pub(super) const fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, held: None, untold: None }
    }

    /// What to poll; none while `log` is at its limit.
    pub(super) fn wants(&self, log: &StreamLog, limit: u64) -> Option<&OwnedFd> {
        if self.held.is_some() || log.unacked() >= limit { None } else { self.fd.as_ref() }
    }

    /// The volume may have room again.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some((.., at)) = &mut self.held {
            *at = now;
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// All was read and is in the journal.
    pub(super) const fn is_done(&self) -> bool {
        self.fd.is_none() && self.held.is_none()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.held.as_ref().map(|(.., at)| *at)
    }

    /// Gives up on what has not come yet.
    pub(super) fn close(&mut self) {
        self.fd = None;
    }

    /// Takes one read's worth; `false` if nothing was there, or is wanted now. `record` is a buffer to work in.
    pub(super) fn take(&mut self, log: &mut StreamLog, limit: u64, record: &mut Vec<u8>, now: Instant) -> bool {
        let Some(fd) = self.wants(log, limit) else { return false };
        record.resize(HEADER + MAX_OUTPUT, 0);
        match rustix::io::read(fd, &mut record[HEADER..]) {
            Ok(0) => self.fd = None,
            Ok(n) => {
                let time = now_ms();
                if let Err(e) = log.append(&mut record[..HEADER + n], time) {
                    eprintln!("wharf-tether: output waits, the volume refuses it: {e}");
                    self.untold = Some(e.to_string());
                    self.held = Some((record[..HEADER + n].to_vec(), time, now + RETRY));
                }
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal whose other side is closed says EIO.
            Err(_) => self.fd = None,
        }
        false
    }

    /// Why the volume refused it, once for each time.
    pub(super) fn untold(&mut self) -> Option<String> {
        self.untold.take()
    }

    /// Tries again what the volume refused.
    pub(super) fn retry(&mut self, log: &mut StreamLog, now: Instant) {
        if let Some((record, time, at)) = &mut self.held
            && *at <= now
        {
            match log.append(record, *time) {
                Ok(()) => self.held = None,
                Err(_) => *at = now + RETRY,
            }
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0)
}
