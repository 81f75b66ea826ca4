//! How long groups took to become durable, counted in buckets.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Store;

/// The upper ends of the buckets, in seconds; what took longer counts in one more.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[derive(Debug, Default)]
pub(super) struct Latency {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// Durations of the store's group commits since the daemon started.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitLatency {
    /// Upper end of each bucket in seconds, and how many commits are in it alone; the last end is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// All durations together, in seconds.
    pub sum: f64,
}

impl Latency {
    pub(super) fn observe(&self, took: Duration) {
        let at = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn read(&self) -> CommitLatency {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.counts).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect();
        CommitLatency { buckets, sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64() }
    }
}

impl Store {
    /// How long commits took.
    #[must_use]
    pub fn commit_latency(&self) -> CommitLatency {
        self.shared().latency.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_that_holds_it() {
        let latency = Latency::default();
        for millis in [1, 3, 3, 60_000] {
            latency.observe(Duration::from_millis(millis));
        }
        let read = latency.read();
        let filled: Vec<(f64, u64)> = read.buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 1), (0.005, 2), (f64::INFINITY, 1)]);
        assert!((read.sum - 60.007).abs() < 1e-6);
    }
}
