//! What is done about steps that the store refuses again and again.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::SessionError;

/// How many refusals within that time are taken for a row: the session is then left alone, and says why.
const ROW: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// The refusals of a session's steps.
#[derive(Default)]
pub(super) struct Refusals {
    count: usize,
    last: Option<(Instant, String)>,
}

impl Refusals {
    /// Takes a refusal; `false`: not even that the session has failed could be written.
    pub(super) fn again(&mut self, error: &SessionError) -> bool {
        let fresh = self.last.as_ref().is_some_and(|(when, _)| when.elapsed() < WINDOW);
        self.count = if fresh { self.count + 1 } else { 1 };
        self.last = Some((Instant::now(), error.to_string()));
        self.count <= ROW
    }

    /// With what the session is to be left alone.
    pub(super) fn poison(&self) -> Option<String> {
        let (_, error) = self.last.as_ref().filter(|_| self.count >= ROW)?;
        Some(format!("what comes next could not be written {ROW} times: {error}: reset or close the session"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn the_third_in_a_row_leaves_the_session_alone_and_the_fourth_gives_up() {
        let error = SessionError::Store(StoreError::Closed);
        let mut refusals = Refusals::default();
        assert_eq!(refusals.poison(), None);
        for _ in 1..ROW {
            assert!(refusals.again(&error));
            assert_eq!(refusals.poison(), None);
        }
        assert!(refusals.again(&error));
        assert!(refusals.poison().is_some_and(|why| why.contains("the store is closed")));
        assert!(!refusals.again(&error));
    }
}
