//! Follows one turn in a session's log to its end and gathers what the agent said.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::{PromptNumber, PromptState, Run, TurnError};
use crate::session::{Accepted, SessionError, Sessions};

/// Bytes of text kept of one turn.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Events read at once to find out whether a prompt is an old one.
const PAGE: usize = 1000;

/// How a turn ended and what was said in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TurnResult {
    /// The prompt's number.
    pub id: PromptNumber,
    /// Its turn.
    pub turn: String,
    /// `done`, `failed`, `cancelled` or `unknown`.
    #[schema(value_type = PromptState)]
    pub status: Option<PromptState>,
    /// ACP's stop reason; `null` where the agent gave none.
    pub stop_reason: Option<String>,
    /// What the agent said, without thoughts and tool calls; the log has everything.
    pub text: String,
    /// Whether `text` was cut at 4 MiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What the agent reported of its use, in ACP's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub usage: Option<serde_json::Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    turn: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Update {
    #[serde(rename = "sessionUpdate")]
    kind: String,
    #[serde(default)]
    content: serde_json::Value,
}

#[derive(Deserialize)]
struct Ended {
    prompt: PromptNumber,
    status: PromptState,
    stop_reason: Option<String>,
    usage: Option<serde_json::Value>,
    error: Option<TurnError>,
}

#[derive(Deserialize)]
struct Queued {
    prompt: PromptNumber,
}

/// Waits for the end of the accepted prompt's turn. `before`: a sequence number from before it was accepted; `fresh`:
/// it is known to be new. `None`: the session ended without that turn's end in its log.
pub(super) async fn turn(
    sessions: &Sessions,
    id: &str,
    accepted: &Accepted,
    before: u64,
    fresh: bool,
) -> Result<Option<TurnResult>, SessionError> {
    // A repeated Idempotency-Key names a prompt whose turn may lie before `before`: read from the start then.
    let from = if fresh || queued_after(sessions, id, accepted.id, before).await? { before } else { 0 };
    let mut subscription = sessions.subscribe(id, from).await?;
    let mut follower = Follower::new(accepted);
    while let Some(bytes) = subscription.next().await? {
        if follower.take(bytes) {
            return Ok(Some(follower.result));
        }
    }
    Ok(None)
}

async fn queued_after(
    sessions: &Sessions,
    id: &str,
    prompt: PromptNumber,
    mut after: u64,
) -> Result<bool, SessionError> {
    let types = ["prompt.queued".to_owned()];
    loop {
        let page = sessions.events(id, after, PAGE, &types).await?;
        let queued = |json: &String| {
            let seen: Seen<'_> = serde_json::from_str(json).ok()?;
            Some(serde_json::from_str::<Queued>(seen.data.get()).ok()?.prompt == prompt)
        };
        if page.items.iter().any(|json| queued(json) == Some(true)) {
            return Ok(true);
        }
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(false),
        }
    }
}

struct Follower {
    result: TurnResult,
}

impl Follower {
    fn new(accepted: &Accepted) -> Self {
        Self { result: TurnResult { id: accepted.id, turn: accepted.turn.clone(), ..TurnResult::default() } }
    }

    /// Takes frames; `true`: the turn has ended.
    fn take(&mut self, bytes: Bytes) -> bool {
        // Only the frames are looked at, so the run's numbers do not matter.
        let run = Run { first_seq: 0, count: 0, bytes };
        run.events().any(|(_, json)| self.event(json).unwrap_or(false))
    }

    fn event(&mut self, json: &str) -> Option<bool> {
        let seen: Seen<'_> = serde_json::from_str(json).ok()?;
        match &*seen.kind {
            "update" if seen.turn.as_deref() == Some(&self.result.turn) => {
                let update: Update = serde_json::from_str(seen.data.get()).ok()?;
                if update.kind == "agent_message_chunk" {
                    self.say(update.content.get("text")?.as_str()?);
                }
                Some(false)
            }
            "turn.ended" => {
                let ended: Ended = serde_json::from_str(seen.data.get()).ok()?;
                if ended.prompt != self.result.id {
                    return Some(false);
                }
                self.result.status = Some(ended.status);
                self.result.stop_reason = ended.stop_reason;
                self.result.usage = ended.usage;
                self.result.error = ended.error;
                Some(true)
            }
            _ => Some(false),
        }
    }

    fn say(&mut self, text: &str) {
        let room = MAX_TEXT - self.result.text.len();
        let fits = text.floor_char_boundary(room);
        self.result.text.push_str(&text[..fits]);
        self.result.truncated |= fits < text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Event, EventData, SessionId, Timestamp};

    fn frames(events: Vec<(Option<&str>, EventData)>) -> Bytes {
        let session = SessionId::new("demo");
        let mut out = Vec::new();
        for (seq, (turn, data)) in (1..).zip(events) {
            let turn = turn.map(str::to_owned);
            Run::render(&Event { seq, session: &session, turn, time: Timestamp::now(), data: &data }, &mut out);
        }
        out.into()
    }

    fn chunk(kind: &str, text: &str) -> EventData {
        let update = serde_json::json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}});
        EventData::Update(RawValue::from_string(update.to_string()).unwrap())
    }

    fn ended(prompt: u64, status: PromptState) -> EventData {
        EventData::TurnEnded { prompt, status, stop_reason: Some("end_turn".into()), usage: None, error: None }
    }

    fn follower() -> Follower {
        Follower::new(&Accepted { id: 2, turn: "turn_2".into(), position: 1 })
    }

    #[test]
    fn a_turn_is_told_from_its_neighbours() {
        let mut follower = follower();
        let first = frames(vec![
            (Some("turn_1"), chunk("agent_message_chunk", "old ")),
            (Some("turn_1"), ended(1, PromptState::Failed)),
            (Some("turn_2"), chunk("user_message_chunk", "question")),
            (Some("turn_2"), chunk("agent_thought_chunk", "hm")),
            (Some("turn_2"), chunk("agent_message_chunk", "a\n\n")),
        ]);
        assert!(!follower.take(first));
        let second = frames(vec![
            (Some("turn_2"), chunk("agent_message_chunk", "nswer")),
            (Some("turn_2"), ended(2, PromptState::Done)),
            (Some("turn_3"), chunk("agent_message_chunk", "new")),
        ]);
        assert!(follower.take(second));
        assert_eq!(follower.result.text, "a\n\nnswer");
        assert_eq!(follower.result.status, Some(PromptState::Done));
        assert_eq!(follower.result.stop_reason.as_deref(), Some("end_turn"));
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut follower = follower();
        let big = "ü".repeat(MAX_TEXT / 2 - 1) + "x";
        follower.take(frames(vec![(Some("turn_2"), chunk("agent_message_chunk", &big))]));
        assert!(!follower.result.truncated);
        follower.take(frames(vec![(Some("turn_2"), chunk("agent_message_chunk", "üü"))]));
        assert!(follower.result.truncated);
        assert_eq!(follower.result.text.len(), MAX_TEXT - 1);
    }
}
