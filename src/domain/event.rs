//! Events, and the runs that the log keeps: rendered once, and the same bytes go to the disk and to every subscriber.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Labels, PermissionOption, PromptNumber, SessionId, SessionKey, SessionStatus, Timestamp, TurnError, WorkspaceId,
};

/// What happened: the event's `type` and `data`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum EventData {
    /// The session was made.
    #[serde(rename = "session.created")]
    SessionCreated {
        /// Its agent.
        agent: String,
        /// Its workspace.
        workspace: WorkspaceId,
        /// Its key.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<SessionKey>,
        /// Its labels.
        #[serde(skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
    },
    /// Its status changed.
    #[serde(rename = "session.status")]
    SessionStatus {
        /// The new one.
        status: SessionStatus,
        /// Why, where it is `error`.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<TurnError>,
    },
    /// The agent's own session id became known and resumable.
    #[serde(rename = "session.linked")]
    SessionLinked {
        /// That id.
        agent_session_id: String,
    },
    /// A field of the session was changed.
    #[serde(rename = "session.changed")]
    SessionChanged {
        /// The changed fields and their new values.
        #[serde(flatten)]
        fields: serde_json::Map<String, serde_json::Value>,
    },
    /// The conversation was forgotten.
    #[serde(rename = "session.reset")]
    SessionReset {},
    /// The agent could not take its memory up again.
    #[serde(rename = "session.resume_failed")]
    SessionResumeFailed {
        /// What the agent said, and what to do.
        message: String,
    },
    /// The session was closed.
    #[serde(rename = "session.closed")]
    SessionClosed {},
    /// A prompt was accepted.
    #[serde(rename = "prompt.queued")]
    PromptQueued {
        /// Its number.
        prompt: PromptNumber,
        /// How many are before it, the running one included.
        position: usize,
    },
    /// A turn began.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// Its prompt.
        prompt: PromptNumber,
    },
    /// A turn ended.
    #[serde(rename = "turn.ended")]
    TurnEnded {
        /// Its prompt.
        prompt: PromptNumber,
        /// The prompt's final state: `done`, `failed`, `cancelled` or `unknown`.
        status: super::PromptState,
        /// ACP's stop reason; `null` where the agent gave none.
        stop_reason: Option<String>,
        /// What the agent reported of its use.
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<serde_json::Value>,
        /// Why it failed, or why its end is unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<TurnError>,
    },
    /// An ACP `SessionUpdate`, verbatim.
    #[serde(rename = "update")]
    Update(Box<RawValue>),
    /// The agent asks for a permission.
    #[serde(rename = "permission.requested")]
    PermissionRequested {
        /// The request's id, for the answer.
        id: String,
        /// ACP's `ToolCallUpdate`.
        tool_call: serde_json::Value,
        /// What may be answered.
        options: Vec<PermissionOption>,
    },
    /// A permission request came to its end.
    #[serde(rename = "permission.resolved")]
    PermissionResolved {
        /// The request's id.
        id: String,
        /// The chosen option; `null` when it was withdrawn.
        option_id: Option<String>,
        /// Who chose: `client`, `policy`, or `withdrawn`.
        by: &'static str,
    },
    /// An agent process was started.
    #[serde(rename = "agent.started")]
    AgentStarted {
        /// Its id in tether.
        process: String,
        /// Whether it takes up an earlier conversation.
        resumed: bool,
    },
    /// The agent wrote to its standard error.
    #[serde(rename = "agent.stderr")]
    AgentStderr {
        /// What it wrote; bytes that are not UTF-8 are replaced.
        text: String,
    },
    /// The agent process ended.
    #[serde(rename = "agent.exited")]
    AgentExited {
        /// Its id in tether.
        process: String,
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Whether its container went away under it.
        lost: bool,
        /// The last of what it wrote to standard error.
        #[serde(skip_serializing_if = "String::is_empty")]
        stderr: String,
    },
    /// A line of the agent that its adapter does not understand.
    #[serde(rename = "agent.unparsed")]
    AgentUnparsed {
        /// The line; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// The workspace's container changed.
    #[serde(rename = "workspace.status")]
    WorkspaceStatus {
        /// The workspace.
        workspace: WorkspaceId,
        /// What it is now.
        status: super::WorkspaceStatus,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// One entry of a session's log.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// From 1, without gaps.
    pub seq: u64,
    /// Its session.
    pub session: &'a SessionId,
    /// Its turn.
    pub turn: Option<String>,
    /// When.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub data: &'a EventData,
}

/// All events that one commit made durable for a session, rendered as server-sent events:
/// for each, `id: <seq>\ndata: <json>\n\n`. JSON has no raw line breaks, so the frames cut apart without parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The sequence number of its first event.
    pub first_seq: u64,
    /// How many events it holds, at least 1.
    pub count: u64,
    /// The rendered frames, one after another.
    pub bytes: Bytes,
}

impl Run {
    /// The sequence number of its last event.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.first_seq + self.count - 1
    }

    /// Renders one event as a frame onto `out`.
    pub fn render(event: &Event<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("id: {}\ndata: ", event.seq).as_bytes());
        // An event is made of strings and numbers, so rendering it can't fail.
        let _ = serde_json::to_writer(&mut *out, event);
        out.extend_from_slice(b"\n\n");
    }

    /// The events as `(seq, json)`, in order; a malformed frame ends the iteration.
    pub fn events(&self) -> impl Iterator<Item = (u64, &str)> {
        let text = std::str::from_utf8(&self.bytes).unwrap_or_default();
        text.split_terminator("\n\n").map_while(|frame| {
            let (id, data) = frame.strip_prefix("id: ")?.split_once('\n')?;
            Some((id.parse().ok()?, data.strip_prefix("data: ")?))
        })
    }

    /// The frames after sequence number `after`, as a cut of the same bytes.
    #[must_use]
    pub fn after(&self, after: u64) -> Bytes {
        if after < self.first_seq {
            return self.bytes.clone();
        }
        let mut skip = after + 1 - self.first_seq;
        let mut at = 0;
        while skip > 0 {
            let Some(end) = self.bytes[at..].windows(2).position(|w| w == b"\n\n") else { return Bytes::new() };
            at += end + 2;
            skip -= 1;
        }
        self.bytes.slice(at..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, count: u64) -> Run {
        let session = SessionId::new("demo");
        let mut bytes = Vec::new();
        for seq in first..first + count {
            let data = EventData::AgentStderr { text: format!("line\n\n{seq}") };
            Run::render(&Event { seq, session: &session, turn: None, time: Timestamp::now(), data: &data }, &mut bytes);
        }
        Run { first_seq: first, count, bytes: bytes.into() }
    }

    #[test]
    fn a_run_cuts_at_any_event() {
        let run = run(5, 4);
        assert_eq!(run.last_seq(), 8);
        assert_eq!(run.events().map(|(seq, _)| seq).collect::<Vec<_>>(), [5, 6, 7, 8]);
        for after in 0..10 {
            let cut = Run { first_seq: 0, count: 0, bytes: run.after(after) };
            let left: Vec<u64> = cut.events().map(|(seq, _)| seq).collect();
            assert_eq!(left, (5..9).filter(|s| *s > after).collect::<Vec<_>>(), "after {after}");
        }
    }

    #[test]
    fn an_update_is_verbatim() {
        let raw = r#"{"sessionUpdate":"x","b":1,"a":[1.50]}"#;
        let data = EventData::Update(RawValue::from_string(raw.to_owned()).unwrap());
        let session = SessionId::new("demo");
        let event = Event {
            seq: 1,
            session: &session,
            turn: Some("turn_1".into()),
            time: Timestamp::from_millis(0),
            data: &data,
        };
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.ends_with(&format!(r#""type":"update","data":{raw}}}"#)), "{json}");
    }
}
