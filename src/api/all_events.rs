//! `GET /v1/events`: every session's events in the order in which they became durable, as pages, as a live stream, or as
//! a WebSocket.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::ApiState;
use super::events::{EventDoc, FrameDoc, answer, types, wants_stream};
use super::extract::Params;
use super::problem::Problem;
use super::sse::Frames;
use super::ws::Upgrade;
use crate::session::{AllEvents, AllPage, Cursor, From, SessionError};

/// A page of every session's events.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AllEventsPage)]
pub(super) struct AllEventsDoc {
    /// In the order in which they became durable; each session's own in the order of their `seq`.
    items: Vec<EventDoc>,
    /// Pass as `after` to read on; `null` where there is no more now.
    next: Option<String>,
    /// Where this page ends: pass as `after` later, for what will have happened by then.
    cursor: String,
}

/// The page with its events as they are.
#[derive(Serialize)]
struct Rendered {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    cursor: String,
}

impl Frames for AllEvents {
    async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        Self::next(self).await.map(Some)
    }

    /// An event has its cursor beside its own fields; how far the reading is without one comes as a cursor alone.
    fn messages(bytes: Bytes) -> Vec<Bytes> {
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        text.split_terminator("\n\n").filter_map(message).collect()
    }
}

fn message(frame: &str) -> Option<Bytes> {
    let cursor = frame.lines().find_map(|line| line.strip_prefix("id: "))?;
    let event = frame.lines().find_map(|line| line.strip_prefix("data: {"));
    Some(match event {
        // A cursor is digits and dots, and an event has fields: the two make one object.
        Some(fields) => format!("{{\"cursor\":\"{cursor}\",{fields}").into(),
        None => format!("{{\"cursor\":\"{cursor}\"}}").into(),
    })
}

/// Every session's events.
///
/// Each event once, in an order that every reader sees and that survives restarts; a session's own events come without
/// gaps. An event's place in it is an opaque cursor: the `id:` of the stream, `cursor` and `next` of a page. With
/// `Accept: text/event-stream` the stream is live and ends only with the daemon; `Last-Event-ID` wins over `after`.
/// With `Upgrade: websocket` each event is a text message, with its `cursor` beside the fields of the page's items; a
/// message of a `cursor` alone says how far the reading is where nothing fits for long. Pings and tokens are as of a
/// session's events. Events of purged sessions are gone. A cursor beyond the end is 400 `future_event_id`: it is not of this store.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(
    ("after" = Option<String>, Query, description = "a cursor: the events after it; the start by default; `now`: only \
        what happens from now on"),
    ("limit" = Option<u16>, Query, description = "items of a page at most; 100 by default", minimum = 1, maximum = 1000),
    ("workspace" = Option<String>, Query, description = "only of sessions in this workspace, by id or name"),
    ("session" = Option<String>, Query, description = "only of this session, by id, key or the agent's own session id"),
    ("type" = Option<Vec<String>>, Query, description = "only these types; may be repeated or comma-separated"),
    ("Last-Event-ID" = Option<String>, Header, description = "the `id` of the last event seen on a stream"),
), responses(
    (status = 200, content((AllEventsDoc = "application/json"), (FrameDoc = "text/event-stream"))),
    (status = 101, description = "a WebSocket of the same events"),
    (status = 404, description = "`session_not_found`, `workspace_not_found`"),
    (status = 409, description = "`ambiguous_id`"),
))]
pub(super) async fn read(
    State(api): State<ApiState>,
    query: Params,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "limit", "workspace", "session", "type"])?;
    let limit = query.limit()?;
    let stream = upgrade.wanted() || wants_stream(&headers);
    let seen = last_event_id(&headers)?.filter(|_| stream);
    let from =
        match (seen, query.one("after")?) {
            (Some(from), _) => from,
            (None, Some("now")) => From::Now,
            (None, Some(text)) => From::After(text.parse().map_err(|()| {
                Problem::parameter("after", "`after` has to be a cursor that came from here, or `now`")
            })?),
            (None, None) => From::After(Cursor::default()),
        };
    let filter = api.sessions.all_filter(query.one("session")?, query.one("workspace")?, types(&query)?)?;
    if !stream {
        let page = api.sessions.all_events(filter, from, limit).await.map_err(beyond)?;
        return Ok(Json(render(page)?).into_response());
    }
    if api.stop.is_cancelled() {
        return Err(Problem::stopping());
    }
    let subscription = api.sessions.subscribe_all(filter, from).map_err(beyond)?;
    answer(subscription, Vec::new(), &api, upgrade)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<From>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    match value.to_str().unwrap_or("x").trim() {
        "" => Ok(None),
        text => text.parse().map(|cursor| Some(From::After(cursor))).map_err(|()| {
            let detail = "`Last-Event-ID` has to be the `id` of the last event seen on this stream";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail).with("header", "Last-Event-ID")
        }),
    }
}

/// The stored events are JSON already.
fn render(page: AllPage) -> Result<Rendered, Problem> {
    let items = page.items.into_iter().map(RawValue::from_string).collect::<Result<_, _>>();
    let items = items.map_err(|e| {
        tracing::error!(error = %e, "a stored event is not JSON");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a stored event can't be read")
    })?;
    let cursor = page.cursor.to_string();
    Ok(Rendered { items, next: page.more.then(|| cursor.clone()), cursor })
}

fn beyond(e: SessionError) -> Problem {
    match e {
        SessionError::Invalid { field: "after", message } => {
            Problem::new(StatusCode::BAD_REQUEST, "future_event_id", message)
        }
        e => e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_event_with_its_cursor() {
        let frames = "id: 7.0.3\ndata: {\"seq\":3}\n\n: nothing that fits\nid: 9.0.0\n\n";
        let messages = AllEvents::messages(Bytes::from_static(frames.as_bytes()));
        assert_eq!(messages, [r#"{"cursor":"7.0.3","seq":3}"#, r#"{"cursor":"9.0.0"}"#]);
    }
}
