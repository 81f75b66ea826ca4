//! The one writer: a thread that takes what is queued, applies it as one group, syncs once, and tells every waiter.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Shared, StoreError,
    census::Note,
    guarded,
    log::Part,
    order,
    plan::{Group, Outcome, Planner, Tails},
    queue::Job,
    registry::Seal,
    witness::{Commits, Witness},
};
use crate::crash::point;

/// How often a full disk is looked at while something waits for it.
const FULL_POLL: Duration = Duration::from_millis(200);

type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// What only the writer has.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) seal: Seal,
    /// The last durable commits.
    pub(super) commits: Commits,
    pub(super) witness: Witness,
    pub(super) tails: Tails,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while self.shared.queue.wait() {
            // A write that fails half way ends the store for good, so a full disk is noticed before one is begun.
            if let Err(full) = self.shared.room.to_go_on() {
                self.shared.queue.refuse(&full);
                self.shared.queue.pause(FULL_POLL);
                continue;
            }
            let mut jobs = self.shared.queue.take();
            while !jobs.is_empty() {
                self.group(&mut jobs);
            }
        }
        if self.shared.health().is_ok() {
            let path = self.shared.log.path().to_owned();
            let synced = guarded(&path, || {
                self.shared.log.sync()?;
                self.witness.sync().map_err(|e| StoreError::failed(format!("witness: {e}")))
            });
            if let Err(e) = synced {
                self.shared.fail(&e);
            }
        }
    }

    /// Takes as many of `jobs` as go together, writes them, and completes their waiters.
    fn group(&mut self, jobs: &mut VecDeque<Job>) {
        let mut waiters = Vec::with_capacity(jobs.len());
        let mut refused = Vec::new();
        let written = match self.shared.health() {
            Ok(()) => {
                let path = self.shared.dir.clone();
                guarded(&path, || {
                    let group = self.plan(jobs, &mut waiters, &mut refused);
                    let begun = Instant::now();
                    let written = self.write(group);
                    self.shared.latency.observe(begun.elapsed());
                    written
                })
            }
            Err(e) => {
                waiters.extend(jobs.drain(..).map(|job| job.done));
                Err(e)
            }
        };
        let result = written.map_err(|e| self.shared.fail(&e));
        for waiter in waiters {
            // Whoever no longer waits does not need the answer.
            let _ = waiter.send(result.clone());
        }
        // What a batch was refused for may be of this very group: who hears of it can read it now.
        for (waiter, e) in refused {
            let _ = waiter.send(result.clone().and(Err(e)));
        }
    }

    fn plan(
        &mut self,
        jobs: &mut VecDeque<Job>,
        waiters: &mut Vec<Waiter>,
        refused: &mut Vec<(Waiter, StoreError)>,
    ) -> Group {
        let mut planner = Planner::new(&self.shared.registry, &self.shared.log, &mut self.tails);
        while let Some(job) = jobs.pop_front() {
            match planner.add(&job.batch) {
                Outcome::Taken => waiters.push(job.done),
                Outcome::Next => {
                    jobs.push_front(job);
                    break;
                }
                Outcome::Refused(e) => refused.push((job.done, e)),
            }
        }
        planner.finish()
    }

    /// Makes a group durable: registry, log, registry, then the witness. Readers see all of it at the end, or nothing.
    ///
    /// A failure at any step leaves open what a restart finds, and what a client has read can't be taken back. That
    /// includes the last step: ext4 that becomes read-only in the middle of a sync lets it succeed without the data, and
    /// only the next write fails.
    pub(super) fn write(&mut self, group: Group) -> Result<(), StoreError> {
        let Group { before, after, mut log, order, notes } = group;
        let shared = Arc::clone(&self.shared);
        point("group-planned");
        if !before.is_empty() {
            self.seal = shared.registry.apply(&before, self.seal)?;
            self.commits.registry = self.seal.commit;
            point("registry-written");
        }
        if !log.is_empty() {
            let next = Commits { log: self.commits.log + 1, ..self.commits };
            if !order.is_empty() {
                log.insert((Part::Order, next.log.to_be_bytes().to_vec()), Some(order::encode(&order)));
            }
            shared.log.apply(log, next)?;
            self.commits = next;
            point("log-written");
        }
        if !after.is_empty() {
            self.seal = shared.registry.apply(&after, self.seal)?;
            self.commits.registry = self.seal.commit;
            point("registry-updated");
        }
        point("group-synced");
        self.bear_witness().map_err(|e| StoreError::failed(format!("witness: {e}")))?;
        // In this order: what is in the log has its session in the registry.
        shared.registry.show();
        shared.log.show();
        let made = notes.iter().any(Note::is_of_record);
        shared.census.write().unwrap_or_else(PoisonError::into_inner).take(notes);
        point("group-durable");
        shared.head.send_replace(self.commits.log);
        if made {
            shared.made.send_modify(|made| *made += 1);
        }
        Ok(())
    }

    fn bear_witness(&self) -> std::io::Result<()> {
        #[cfg(test)]
        self.shared.registry.faults.before_witness()?;
        self.witness.set(self.commits)
    }
}
