//! The task of one terminal: what its program writes goes to the screen, what is typed goes to the program.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::manager::Terminal;
use super::screen::Ended;
use crate::tether::client::{Attachment, ProcessEvent, TetherClient};

/// Before input that the program's side had no room for is offered again.
const RETRY: Duration = Duration::from_millis(100);

/// What a viewer wants of the program.
#[derive(Debug)]
pub(super) enum Order {
    Input(Bytes),
    EndInput,
    Resize { rows: u16, cols: u16 },
}

/// What is typed and was not taken yet. One at a time: the next one waits until it is.
struct Typed {
    n: u64,
    bytes: Bytes,
    /// When to offer it again.
    again: Option<Instant>,
}

/// Why there is nothing more to do for a program.
enum Over {
    /// It ended.
    Exited(Ended),
    /// What becomes of it can't be seen: its container stopped, or its connection is gone.
    OutOfSight,
}

pub(super) struct Task {
    client: TetherClient,
    terminal: Arc<Terminal>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Receiver<ProcessEvent>,
    last_input: u64,
    typed: Option<Typed>,
}

impl Task {
    pub(super) fn new(
        client: TetherClient,
        terminal: Arc<Terminal>,
        orders: mpsc::Receiver<Order>,
        attachment: Attachment,
    ) -> Self {
        let Attachment { last_input, events, .. } = attachment;
        Self { client, terminal, orders, events, last_input, typed: None }
    }

    /// Until the program has ended and somebody was told of it, or the daemon stops; `true`: there is nothing left of it.
    pub(super) async fn run(mut self, stop: CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            over = self.work() => match over {
                Over::Exited(ended) => self.terminal.screen.end(ended),
                // Who looks is told that it is lost; if it is not, it is found again.
                Over::OutOfSight => {
                    self.terminal.screen.end(Ended { lost: true, ..Ended::default() });
                    return true;
                }
            },
        }
        // From here on nobody can type any more.
        self.orders.close();
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = self.terminal.was_told() => {}
        }
        if let Err(error) = self.client.forget(&self.terminal.id).await {
            tracing::debug!(terminal = self.terminal.id, %error, "an ended terminal's journal stays for now");
        }
        true
    }

    async fn work(&mut self) -> Over {
        let mut reading = self.terminal.screen.reading();
        loop {
            reading.borrow_and_update();
            let room = self.terminal.screen.has_room();
            let again = self.typed.as_ref().and_then(|typed| typed.again);
            tokio::select! {
                event = self.events.recv(), if room => match event {
                    Some(event) => {
                        if let Some(over) = self.happened(event) {
                            return over;
                        }
                    }
                    None => return Over::OutOfSight,
                },
                _ = reading.changed(), if !room => {}
                order = self.orders.recv(), if self.typed.is_none() => match order {
                    Some(order) => self.obey(order).await,
                    // The manager holds the other end as long as the terminal is known.
                    None => return Over::OutOfSight,
                },
                () = until(again), if again.is_some() => self.offer().await,
            }
        }
    }

    /// Takes what came of the program; its end.
    fn happened(&mut self, event: ProcessEvent) -> Option<Over> {
        match event {
            ProcessEvent::Output { stream, bytes, .. } => {
                // What the screen keeps stays in the journal: the next daemon shows it, too.
                let [stdout, stderr] = self.terminal.screen.push(stream.index(), bytes);
                self.client.ack(&self.terminal.id, stdout, stderr);
            }
            ProcessEvent::InputTaken { n } => {
                self.last_input = self.last_input.max(n);
                self.typed.take_if(|typed| typed.n <= n);
            }
            ProcessEvent::InputRejected { .. } => {
                if let Some(typed) = &mut self.typed {
                    typed.again = Some(Instant::now() + RETRY);
                }
            }
            ProcessEvent::Waits { reason } => {
                tracing::warn!(terminal = self.terminal.id, reason, "a terminal's output waits");
            }
            ProcessEvent::Exited { code, signal, lost } => {
                return Some(Over::Exited(Ended { code, signal, lost }));
            }
            ProcessEvent::Detached { reason } => {
                tracing::debug!(terminal = self.terminal.id, reason, "a terminal is out of sight");
                return Some(Over::OutOfSight);
            }
        }
        None
    }

    async fn obey(&mut self, order: Order) {
        let process = &self.terminal.id;
        let done = match order {
            Order::Input(bytes) => {
                self.typed = Some(Typed { n: self.last_input + 1, bytes, again: None });
                return self.offer().await;
            }
            Order::EndInput => self.client.close_stdin(process).await,
            Order::Resize { rows, cols } => self.client.resize(process, rows, cols).await,
        };
        if let Err(error) = done {
            tracing::debug!(terminal = process, %error, "a terminal did not do what it was told");
        }
    }

    async fn offer(&mut self) {
        let Some(typed) = &mut self.typed else { return };
        typed.again = None;
        if let Err(error) = self.client.input(&self.terminal.id, typed.n, false, typed.bytes.clone()).await {
            tracing::debug!(terminal = self.terminal.id, %error, "what was typed into a terminal is lost");
            self.typed = None;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
