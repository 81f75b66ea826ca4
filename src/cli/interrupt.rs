//! Ctrl-C, from the moment that it is listened for: none is missed between two looks.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// The presses of Ctrl-C.
#[derive(Debug)]
pub(super) struct Interrupts(Signal);

impl Interrupts {
    /// From now on Ctrl-C does not end the program by itself.
    pub(super) fn listen() -> Result<Self, Failure> {
        signal(SignalKind::interrupt()).map(Self).map_err(|e| Failure::other(format!("cannot listen for Ctrl-C: {e}")))
    }

    /// The next one. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
