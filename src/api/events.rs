//! `GET /v1/sessions/{id}/events`: the log as JSON pages, or live as server-sent events or a WebSocket.

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::{Id, Params, number};
use super::late;
use super::problem::Problem;
use super::sse::{EventStream, Frames};
use super::ws::{self, Upgrade};
use crate::session::{EventPage, SessionError};

/// The types of events, as `type` takes them.
pub(super) const TYPES: [&str; 18] = [
    "session.created",
    "session.status",
    "session.linked",
    "session.changed",
    "session.reset",
    "session.resume_failed",
    "session.closed",
    "prompt.queued",
    "turn.started",
    "turn.ended",
    "update",
    "permission.requested",
    "permission.resolved",
    "agent.started",
    "agent.stderr",
    "agent.exited",
    "agent.unparsed",
    "workspace.status",
];

/// One entry of a session's log.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventDoc {
    /// From 1, without gaps.
    #[schema(minimum = 1)]
    seq: u64,
    /// Its session.
    session: String,
    /// Its turn.
    turn: Option<String>,
    /// RFC 3339 with milliseconds, UTC.
    #[schema(format = DateTime)]
    time: String,
    /// `session.created`, `update`, `turn.ended`, ….
    #[serde(rename = "type")]
    kind: String,
    /// What belongs to the type; of an `update`, an ACP `SessionUpdate` verbatim.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

/// One event of a `text/event-stream`, by the fields of its lines.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = ServerSentEvent)]
pub(super) struct FrameDoc {
    /// The event's place in the stream, as `Last-Event-ID` takes it.
    id: Option<String>,
    /// The event, as JSON of an `Event`; absent where `id` alone says how far the stream is.
    data: Option<String>,
}

/// A page of a session's log.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = EventPage)]
pub(super) struct EventPageDoc {
    /// In order.
    items: Vec<EventDoc>,
    /// Pass as `after` to read on; `null` at the log's end.
    next: Option<u64>,
}

/// Events of a session after a sequence number.
///
/// With `Accept: text/event-stream` a live stream: each event once, in order, `id:` its `seq`; a comment after 15 s of
/// silence; it ends when the session is closed or the daemon stops. `Last-Event-ID` wins over `after`. On a closed
/// session with nothing left to give the answer is 204, at which a browser stops reconnecting.
/// With `Upgrade: websocket` the same events as text messages, a JSON document each, a ping every 15 s; it is closed with
/// 1000 when the session is, and with 1008 where four pings in a row got no answer. A browser, which can't set headers
/// there, offers the subprotocols `wharf` and `bearer.<token>`.
/// A number beyond the log's end is 400 `future_event_id`: this log is not the one that the client knew.
#[utoipa::path(get, path = "/v1/sessions/{id}/events", tag = "events", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("after" = Option<u64>, Query, description = "a sequence number: the events after it; 0, the start, by default"),
    ("limit" = Option<u16>, Query, description = "items of a page at most; 100 by default", minimum = 1, maximum = 1000),
    ("type" = Option<Vec<String>>, Query, description = "only these types; may be repeated or comma-separated"),
    ("wait" = Option<bool>, Query, description = "streams only: a key that no session has yet is waited for, and its \
        session's events come from the first one"),
    ("Last-Event-ID" = Option<u64>, Header, description = "the `id` of the last event seen on a stream"),
), responses(
    (status = 200, content(
        (EventPageDoc = "application/json"),
        (FrameDoc = "text/event-stream"),
    )),
    (status = 429, description = "`too_many_waiting` (with `wait`)"),
    (status = 101, description = "a WebSocket of the same events"),
    (status = 204, description = "the session is closed and all its events were seen (stream only)"),
))]
pub(super) async fn read(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "limit", "type", "wait"])?;
    let types = types(&query)?;
    let limit = query.limit()?;
    let wait = query.flag("wait")?;
    let after = query.number("after")?.unwrap_or(0);
    let socket = upgrade.wanted();
    let stream = socket || wants_stream(&headers);
    let seen = last_event_id(&headers)?;
    let after = seen.filter(|_| stream).unwrap_or(after);
    if stream && api.stop.is_cancelled() {
        return Err(Problem::stopping());
    }
    let session = match api.sessions.get(&id).await {
        Err(SessionError::NotFound { .. }) if wait => {
            if !stream {
                return Err(Problem::parameter("wait", "`wait` needs `Accept: text/event-stream` or a WebSocket"));
            }
            return answer(late::subscribe(&api, &id, after)?, types, &api, upgrade);
        }
        session => session?,
    };
    if after > session.last_seq {
        let detail =
            format!("event {after} does not exist: the log ends at {}; read it from the start", session.last_seq);
        let problem = Problem::new(StatusCode::BAD_REQUEST, "future_event_id", detail);
        return Err(problem.with("after", after).with("last_seq", session.last_seq));
    }
    if !stream {
        let page = api.sessions.events(session.id.as_str(), after, limit, &types).await?;
        return Ok(([(CONTENT_TYPE, "application/json")], render(&page)).into_response());
    }
    if !socket && session.closed.is_some() && after == session.last_seq {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    answer(api.sessions.subscribe(session.id.as_str(), after).await?, types, &api, upgrade)
}

/// An answer that streams: a WebSocket where that was asked for, else server-sent events.
pub(super) fn answer(
    frames: impl Frames,
    types: Vec<String>,
    api: &ApiState,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if upgrade.wanted() {
        return ws::events(upgrade, frames, types, api.ping);
    }
    let body = axum::body::Body::from_stream(EventStream::new(frames, types, api.ping, api.stop.clone()));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

pub(super) fn types(query: &Params) -> Result<Vec<String>, Problem> {
    let mut types = Vec::new();
    for name in query.all("type").flat_map(|list| list.split(',')).map(str::trim) {
        if !TYPES.contains(&name) {
            let name: String = name.chars().take(100).collect();
            let problem = Problem::parameter("type", format!("there is no event type `{name}`"));
            return Err(problem.with("allowed", &TYPES[..]));
        }
        types.push(name.to_owned());
    }
    Ok(types)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    match value.to_str().unwrap_or("x").trim() {
        "" => Ok(None),
        text => number(text).map(Some).ok_or_else(|| {
            let detail = "`Last-Event-ID` has to be a sequence number, the `id` of the last event seen";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail).with("header", "Last-Event-ID")
        }),
    }
}

/// Whether `Accept` names the stream; `*/*` does not.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    ranges
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .any(|r| r.eq_ignore_ascii_case("text/event-stream"))
}

/// The events are JSON already.
fn render(page: &EventPage) -> String {
    let next = page.next.map_or_else(|| "null".to_owned(), |n| n.to_string());
    format!("{{\"items\":[{}],\"next\":{next}}}", page.items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_json() {
        let page = EventPage { items: vec![r#"{"seq":1}"#.into(), r#"{"seq":2}"#.into()], next: Some(2) };
        assert_eq!(render(&page), r#"{"items":[{"seq":1},{"seq":2}],"next":2}"#);
        assert_eq!(render(&EventPage { items: vec![], next: None }), r#"{"items":[],"next":null}"#);
    }

    #[test]
    fn the_stream_is_asked_for_by_name() {
        let accept = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.parse().unwrap());
            wants_stream(&headers)
        };
        assert!(accept("text/event-stream") && accept("application/json, Text/Event-Stream;q=0.5"));
        assert!(!accept("*/*") && !accept("application/json"));
    }

    #[test]
    fn a_last_event_id_is_a_number_or_an_error() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", value.parse().unwrap());
            last_event_id(&headers)
        };
        assert_eq!(id("17").unwrap(), Some(17));
        assert_eq!(id("").unwrap(), None);
        for bad in ["-1", "x", "1.5", "99999999999999999999999"] {
            assert_eq!(id(bad).unwrap_err().code(), "invalid_header", "{bad}");
        }
    }
}
