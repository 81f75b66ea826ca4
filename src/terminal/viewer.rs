//! Somebody who looks at a terminal and types into it; as long as there is one, its workspace is held.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::TerminalError;
use super::manager::Terminal;
use super::screen::{Ended, Next};
use super::task::Order;

/// What a viewer sees.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many bytes were dropped: it is slower than another viewer, or was away for too long.
    Skipped(u64),
    /// What the program wrote to standard output or its terminal.
    Output(Bytes),
    /// What it wrote to standard error, where it has no terminal.
    Error(Bytes),
    /// It ended, and all output came before.
    Ended(Ended),
}

/// A viewer of one terminal; dropped, it has left.
pub struct Viewer {
    terminal: Arc<Terminal>,
    id: u64,
    places: [u64; 2],
    written: watch::Receiver<u64>,
    /// The workspace is not swept while this is held.
    _hold: Box<dyn Send + Sync>,
}

impl Viewer {
    pub(super) fn new(terminal: Arc<Terminal>, from: [Option<u64>; 2], hold: Box<dyn Send + Sync>) -> Self {
        let (id, places, written) = terminal.screen.enter(from);
        Self { terminal, id, places, written, _hold: hold }
    }

    /// Where it reads on: offsets of standard output (or the terminal) and of standard error.
    #[must_use]
    pub const fn places(&self) -> [u64; 2] {
        self.places
    }

    /// What comes next; waits while there is nothing. Cancel-safe.
    pub async fn next(&mut self) -> Option<Seen> {
        loop {
            self.written.borrow_and_update();
            match self.terminal.screen.next(self.id, &mut self.places) {
                Next::Skipped(bytes) => return Some(Seen::Skipped(bytes)),
                Next::Output(0, bytes) => return Some(Seen::Output(bytes)),
                Next::Output(_, bytes) => return Some(Seen::Error(bytes)),
                Next::Ended(ended) => return Some(Seen::Ended(ended)),
                Next::Nothing => {}
            }
            if self.written.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Whoever is behind it was told of the end: the terminal may be forgotten.
    pub fn was_told(&self) {
        self.terminal.told();
    }

    /// What is typed, while somebody else looks.
    #[must_use]
    pub fn keyboard(&self) -> Keyboard {
        Keyboard(self.terminal.orders.clone())
    }
}

/// The other direction of a viewer.
#[derive(Clone, Debug)]
pub struct Keyboard(mpsc::Sender<Order>);

impl Keyboard {
    /// Types; waits while the program does not read.
    ///
    /// # Errors
    /// `Over`.
    pub async fn input(&self, bytes: Bytes) -> Result<(), TerminalError> {
        self.order(Order::Input(bytes)).await
    }

    /// Ends the program's input.
    ///
    /// # Errors
    /// `Over`.
    pub async fn end_input(&self) -> Result<(), TerminalError> {
        self.order(Order::EndInput).await
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `Over`.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<(), TerminalError> {
        self.order(Order::Resize { rows: rows.max(1), cols: cols.max(1) }).await
    }

    async fn order(&self, order: Order) -> Result<(), TerminalError> {
        self.0.send(order).await.map_err(|_| TerminalError::Over)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.terminal.screen.leave(self.id);
    }
}
