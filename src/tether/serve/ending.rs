//! Ending processes, and proving it: SIGTERM, some grace, then SIGSTOP and SIGKILL in rounds until /proc shows none.

use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::procfs::{self, ProcId};

/// How long after the grace it may take before it is called a failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks during the grace.
const LOOK: Duration = Duration::from_millis(10);
/// Between rounds of killing.
const ROUND: Duration = Duration::from_millis(2);
/// How often a round stops what was born since the round began; what forks faster is killed in the next one.
const STOPS: usize = 16;

/// What is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of a process's tree.
    Tree,
    /// What of it was born since the mark.
    SinceMark,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To be called again at `Ending::next`.
    Wait,
    /// None was found, twice.
    Gone,
    /// It took too long, or /proc can't be read.
    Failed(String),
}

/// One ending under way.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) scope: Scope,
    /// The requests that wait for it.
    pub(super) reqs: Vec<u64>,
    /// When the next step is due.
    pub(super) next: Instant,
    kill_at: Instant,
    /// Those that were signalled.
    victims: HashSet<ProcId>,
    /// Looks in a row that found none: a single one can miss what forks while it looks.
    none: u32,
}

impl Ending {
    pub(super) fn new(scope: Scope, req: Option<u64>, grace: Duration, now: Instant) -> Self {
        Self {
            scope,
            reqs: req.into_iter().collect(),
            next: now,
            kill_at: now + grace,
            victims: HashSet::new(),
            none: 0,
        }
    }

    /// Another request for the same: the shorter grace counts.
    pub(super) fn join(&mut self, req: Option<u64>, grace: Duration, now: Instant) {
        self.reqs.extend(req);
        self.kill_at = self.kill_at.min(now + grace);
        self.next = now;
    }

    /// How many were ended.
    pub(super) fn killed(&self) -> usize {
        self.victims.len()
    }

    /// `find` finds those that are to be ended and are still there.
    pub(super) fn step(&mut self, now: Instant, find: impl Fn() -> io::Result<HashSet<ProcId>>) -> Step {
        match self.try_step(now, &find) {
            Ok(step) => step,
            Err(e) => Step::Failed(format!("can't look for processes or signal them: {e}")),
        }
    }

    fn try_step(&mut self, now: Instant, find: &impl Fn() -> io::Result<HashSet<ProcId>>) -> io::Result<Step> {
        let found = find()?;
        if found.is_empty() {
            self.none += 1;
            self.next = now + ROUND;
            return Ok(if self.none >= 2 { Step::Gone } else { Step::Wait });
        }
        self.none = 0;
        if now < self.kill_at {
            let fresh: Vec<ProcId> = found.difference(&self.victims).copied().collect();
            for id in fresh {
                procfs::signal(id, Signal::TERM)?;
                // One that is stopped would not get it.
                procfs::signal(id, Signal::CONT)?;
                self.victims.insert(id);
            }
            self.next = self.kill_at.min(now + LOOK);
            return Ok(Step::Wait);
        }
        if now >= self.kill_at + PATIENCE {
            let some: Vec<_> = found.iter().take(5).map(|id| id.pid.to_string()).collect();
            return Ok(Step::Failed(format!(
                "{} processes can't be ended, among them {}",
                found.len(),
                some.join(", ")
            )));
        }
        self.kill(found, find)?;
        self.next = now + ROUND;
        Ok(Step::Wait)
    }

    /// Stops them all first: what is stopped can't put another in its place while the others are killed.
    fn kill(&mut self, mut found: HashSet<ProcId>, find: &impl Fn() -> io::Result<HashSet<ProcId>>) -> io::Result<()> {
        let mut stopped = HashSet::new();
        for _ in 0..STOPS {
            let fresh: Vec<ProcId> = found.difference(&stopped).copied().collect();
            if fresh.is_empty() {
                break;
            }
            for &id in &fresh {
                procfs::signal(id, Signal::STOP)?;
            }
            stopped.extend(fresh);
            found = find()?;
        }
        for &id in stopped.union(&found) {
            procfs::signal(id, Signal::KILL)?;
            self.victims.insert(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_believed_only_twice_in_a_row() {
        let now = Instant::now();
        let mut ending = Ending::new(Scope::Tree, Some(1), Duration::ZERO, now);
        let none = || Ok(HashSet::new());
        assert_eq!(ending.step(now, none), Step::Wait);
        assert_eq!(ending.step(now, none), Step::Gone);
        assert_eq!(ending.killed(), 0);
    }

    #[test]
    fn what_stays_is_an_honest_failure_in_bounded_time() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = procfs::identify(i32::try_from(child.id()).unwrap()).unwrap();
        let (now, stays) = (Instant::now(), || Ok(HashSet::from([id])));
        let mut ending = Ending::new(Scope::Tree, None, Duration::ZERO, now);
        assert_eq!(ending.step(now, stays), Step::Wait);
        let Step::Failed(why) = ending.step(now + PATIENCE, stays) else { panic!("not failed") };
        assert!(why.contains(&id.pid.to_string()), "{why}");
        assert!(!child.wait().unwrap().success());
    }
}
