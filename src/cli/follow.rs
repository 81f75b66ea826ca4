//! Follows a session's log, each event once and in order, across restarts of the daemon.

use std::collections::VecDeque;

use reqwest::Response;
use tokio::time::Instant;

use super::client::{Client, PATIENCE, Pause};
use super::event::Event;
use super::failure::Failure;
use super::sse::{Frame, Parser};
use super::ui::Ui;

/// A place in a log. `next` may be dropped at any await and called again: nothing is lost.
#[derive(Debug)]
pub(super) struct Follow<'a> {
    client: &'a Client,
    ui: &'a Ui,
    session: String,
    /// The last event that was given.
    after: u64,
    body: Option<(Response, Parser)>,
    ready: VecDeque<Frame>,
    /// Grows while connections bring no event.
    pause: Pause,
    /// Since when there is no connection.
    lost: Option<Instant>,
    told: bool,
}

impl<'a> Follow<'a> {
    /// Everything after event `after`.
    pub(super) fn new(client: &'a Client, ui: &'a Ui, session: &str, after: u64) -> Self {
        Self {
            client,
            ui,
            session: session.to_owned(),
            after,
            body: None,
            ready: VecDeque::new(),
            pause: Pause::default(),
            lost: None,
            told: false,
        }
    }

    /// The next event; `None`: the session is closed and everything was given.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            while let Some(frame) = self.ready.pop_front() {
                let seq = frame.seq().map_err(Failure::other)?;
                if seq <= self.after {
                    continue;
                }
                if seq != self.after + 1 {
                    let gap = format!("the log has a gap: event {seq} came after {}", self.after);
                    return Err(Failure::other(gap));
                }
                self.after = seq;
                self.pause = Pause::default();
                return Event::parse(frame.json).map(Some).map_err(Failure::other);
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Gets something into `ready`, or connects again; `false`: there will be nothing more.
    async fn more(&mut self) -> Result<bool, Failure> {
        let Some((response, parser)) = &mut self.body else {
            match self.client.stream(&self.session, self.after).await {
                Ok(None) => return Ok(false),
                Ok(Some(response)) => {
                    self.body = Some((response, Parser::default()));
                    self.found();
                }
                Err(failure) if failure.passes() => self.lost(failure).await?,
                Err(failure) => return Err(failure),
            }
            return Ok(true);
        };
        let problem = match response.chunk().await {
            Ok(Some(chunk)) => match parser.take(&chunk, &mut self.ready) {
                Ok(()) => return Ok(true),
                Err(problem) => problem,
            },
            Ok(None) => "the daemon ended the stream".to_owned(),
            Err(e) => e.to_string(),
        };
        self.lost(Failure::unreachable(problem)).await?;
        Ok(true)
    }

    /// The connection is gone: waits a little, and gives up when it is gone for too long.
    async fn lost(&mut self, failure: Failure) -> Result<(), Failure> {
        self.body = None;
        self.ready.clear();
        let since = *self.lost.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            return Err(failure);
        }
        // The end of a stream is usual when a session closes; a second failure is worth telling.
        if self.pause.tried() && !self.told {
            self.told = true;
            self.ui.note("the daemon does not answer; waiting for it to come back …");
        }
        self.pause.wait().await;
        Ok(())
    }

    fn found(&mut self) {
        if self.told {
            self.ui.note("the daemon is back");
        }
        (self.lost, self.told) = (None, false);
    }
}
