//! How fast a loud session may go: it gives the others twice the time that it takes, as long as there are others.

use std::time::Duration;

use tokio::time::Instant;

/// From how many bytes on a commit is loud: the sessions that talk as people and agents do never are.
const LOUD: usize = 32 * 1024;

/// How many times as long as it took the others have.
const SHARE: u32 = 2;

/// What a session's output has taken lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many batches the store had taken, of all sessions, after the last loud one.
    batches: u64,
    /// Until when the output waits.
    until: Option<Instant>,
}

impl Pace {
    /// Output of so many bytes was taken; it took so long, and `batches` is what the store has taken of all sessions.
    pub(super) fn took(&mut self, bytes: usize, time: Duration, batches: u64) {
        if bytes < LOUD {
            return;
        }
        let others = batches.saturating_sub(self.batches) > 1;
        self.until = others.then(|| Instant::now() + time * SHARE);
        self.batches = batches;
    }

    /// When the next output is due; a time that is over where nobody else wants to write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_WHILE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn only_who_is_loud_beside_others_waits() {
        let mut pace = Pace::default();
        pace.took(LOUD, A_WHILE, 1);
        assert_eq!(pace.due(), None, "alone");
        pace.took(LOUD - 1, A_WHILE, 9);
        assert_eq!(pace.due(), None, "not loud");
        pace.took(LOUD, A_WHILE, 10);
        assert!(pace.due().is_some_and(|due| due > Instant::now()), "beside others");
        pace.took(LOUD, A_WHILE, 11);
        assert_eq!(pace.due(), None, "alone again");
    }
}
