//! One prompt from posting to the end of its turn, across restarts and Ctrl-C.

use reqwest::Method;
use serde_json::json;

use super::client::{Client, Query};
use super::event::{Event, TurnEnded};
use super::failure::Failure;
use super::follow::Follow;
use super::ui::Ui;
use crate::domain::{PromptNumber, PromptRecord, PromptState, WhenBusy};
use crate::session::{Accepted, Cancelled, SessionView};

/// A prompt to send.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) when_busy: WhenBusy,
    /// The caller's `Idempotency-Key`; without one, a key of this call's own.
    pub(super) key: Option<String>,
}

/// A prompt that was accepted, and the place in the log from which all of its turn is seen.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    client: &'a Client,
    session: String,
    pub(super) accepted: Accepted,
    pub(super) follow: Follow<'a>,
    started: bool,
}

/// What happens next in a turn.
#[derive(Debug)]
pub(super) enum Step {
    /// An event of this turn, or of the session as a whole.
    Event(Event),
    /// The end; the event that says so, where there is one.
    End(Option<Event>, TurnEnded),
}

impl<'a> Turn<'a> {
    /// Posts a prompt. The place in the log is taken before, so that nothing of the turn is missed.
    pub(super) async fn post(client: &'a Client, ui: &'a Ui, session: &str, prompt: Prompt) -> Result<Self, Failure> {
        let view: SessionView = client.get_patiently(ui, &["v1", "sessions", session]).await?;
        let session = view.id.to_string();
        let own_key = prompt.key.is_none();
        let key = prompt.key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let body = json!({"content": prompt.text, "when_busy": prompt.when_busy});
        let accepted: Accepted = client.post_once(&["v1", "sessions", &session, "prompts"], &body, &key).await?;
        let mut after = view.last_seq;
        // A caller's key may name a prompt of long ago: then its turn is further up in the log.
        if !own_key && !queued_after(client, &session, accepted.id, after).await? {
            after = 0;
        }
        let follow = Follow::new(client, ui, &session, after);
        Ok(Self { client, session, accepted, follow, started: false })
    }

    /// The next step. May be dropped at any await and called again.
    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            let Some(event) = self.follow.next().await? else { return self.end_by_record().await };
            if let Some(ended) = event.ends(self.accepted.id) {
                return Ok(Step::End(Some(event), ended));
            }
            let mine = event.turn.as_deref() == Some(self.accepted.turn.as_str());
            self.started |= mine && event.kind == "turn.started";
            // Before our turn the session's own news are of interest too: a start that fails, for one.
            if mine || (event.turn.is_none() && event.prompt().is_none_or(|n| n == self.accepted.id)) {
                return Ok(Step::Event(event));
            }
        }
    }

    /// The log ended without the turn's end: the prompt's record knows.
    async fn end_by_record(&self) -> Result<Step, Failure> {
        let record = prompt_record(self.client, &self.session, self.accepted.id).await?;
        let status = record.as_ref().map_or(PromptState::Unknown, |r| r.state);
        let status = if status.is_final() { status } else { PromptState::Unknown };
        let (stop_reason, error) = record.map_or((None, None), |r| (r.stop_reason, r.error));
        Ok(Step::End(None, TurnEnded { prompt: self.accepted.id, status, stop_reason, error }))
    }

    /// Ends it: a turn that runs is cancelled, a prompt that waits is withdrawn, and no other's turn is touched.
    pub(super) async fn cancel(&self) -> Result<(), Failure> {
        if !self.started {
            let number = self.accepted.id.to_string();
            let path = ["v1", "sessions", &self.session, "prompts", &number];
            match self.client.call::<PromptRecord>(Method::DELETE, &path, &Query::new()).await {
                // It has begun meanwhile.
                Err(failure) if failure.code() == Some("prompt_not_pending") => {}
                done => return done.map(|_| ()),
            }
        }
        let path = ["v1", "sessions", &self.session, "cancel"];
        self.client.call::<Cancelled>(Method::POST, &path, &Query::new()).await.map(|_| ())
    }
}

async fn prompt_record(client: &Client, session: &str, n: PromptNumber) -> Result<Option<PromptRecord>, Failure> {
    let query = vec![("after", n.saturating_sub(1).to_string()), ("limit", "1".to_owned())];
    let page: crate::domain::Page<PromptRecord> = client.get(&["v1", "sessions", session, "prompts"], &query).await?;
    Ok(page.items.into_iter().find(|record| record.id == n))
}

async fn queued_after(client: &Client, session: &str, prompt: PromptNumber, after: u64) -> Result<bool, Failure> {
    let mut after = after;
    loop {
        let query = vec![("after", after.to_string()), ("type", "prompt.queued".to_owned())];
        let page: EventPage = client.get(&["v1", "sessions", session, "events"], &query).await?;
        if page.items.iter().any(|event| event.prompt() == Some(prompt)) {
            return Ok(true);
        }
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(false),
        }
    }
}

/// A page of events.
#[derive(Debug, serde::Deserialize)]
pub(super) struct EventPage {
    pub(super) items: Vec<Event>,
    pub(super) next: Option<u64>,
}
