//! `/v1/workspaces/{id}/terminals`: start, list and end; as a WebSocket, look and type.

use axum::Json;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::{Id, JsonBody, Params, Sub};
use super::problem::Problem;
use super::ws::{self, Alive, Pings, SILENT, Upgrade};
use crate::domain::Page;
use crate::terminal::{Ended, Keyboard, NewTerminal, Seen, TerminalError, TerminalView, Viewer};

/// The longest message of a client: what is pasted at once is more than what is typed.
const MAX_MESSAGE: usize = 1 << 20;
/// What goes to the program at once.
const PIECE: usize = 64 * 1024;

/// What a client of a terminal says in text messages; binary ones are what it types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalInput {
    /// The client's window has this size now.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// There will be no more input.
    Eof,
}

/// What a terminal says in text messages; binary ones are its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalOutput {
    /// The first message: the offsets at which the output that follows begins. Who comes again says where it was.
    Attached {
        /// Of standard output, or the terminal.
        stdout: u64,
        /// Of standard error.
        stderr: u64,
    },
    /// Standard error, of a program without a terminal.
    Stderr {
        /// In base64.
        base64: String,
    },
    /// So many bytes were dropped, because this client was away or slower than another.
    Skipped {
        /// How many.
        bytes: u64,
    },
    /// It ended; all output came before, and nothing comes after.
    Exit(Ended),
}

/// Starts a terminal, or with `pty` false a program with pipes, and its workspace where that rests.
///
/// It runs on when its starter goes away, and can be looked at again. What nobody looks at never waits: of its output the
/// last 256 KiB are kept. Once it has ended and a client was told so, it is forgotten.
#[utoipa::path(post, path = "/v1/workspaces/{id}/terminals", tag = "terminals", request_body = NewTerminal,
    params(("id" = String, Path, description = "id or name of the workspace")),
    responses((status = 201, description = "started", body = TerminalView),
              (status = 409, description = "`too_many_terminals`, `image_missing`, `workspace_deleting`"),
              (status = 422, description = "`start_failed`: the program could not be run; `unknown_field`, `invalid_field`; `host_disabled`")))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    JsonBody(new): JsonBody<NewTerminal>,
) -> Result<(StatusCode, Json<TerminalView>), Problem> {
    query.only(&[])?;
    Ok((StatusCode::CREATED, Json(api.terminals.create(&id, new).await?)))
}

/// The terminals of a workspace, oldest first; also those that an earlier daemon started.
#[utoipa::path(get, path = "/v1/workspaces/{id}/terminals", tag = "terminals",
    params(("id" = String, Path, description = "id or name of the workspace")),
    responses((status = 200, body = Page<TerminalView>)))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<Page<TerminalView>>, Problem> {
    query.only(&[])?;
    Ok(Json(Page { items: api.terminals.list(&id).await?, next: None }))
}

/// Ends a terminal with everything that was started in it; answers when nothing of that is left.
#[utoipa::path(delete, path = "/v1/workspaces/{id}/terminals/{tid}", tag = "terminals",
    params(("id" = String, Path, description = "id or name of the workspace"),
           ("tid" = String, Path, description = "the terminal's id")),
    responses((status = 200, body = TerminalView), (status = 409, description = "`image_missing`, `workspace_deleting`")))]
pub(super) async fn end(
    State(api): State<ApiState>,
    Id(id): Id,
    Sub(tid): Sub,
    query: Params,
) -> Result<Json<TerminalView>, Problem> {
    query.only(&[])?;
    Ok(Json(api.terminals.end(&id, &tid).await?))
}

/// Looks at a terminal, as a WebSocket (`Upgrade: websocket`).
///
/// Binary messages are bytes, in both directions; text messages are JSON: a client's are `TerminalInput`, the terminal's
/// are `TerminalOutput`. It ends with `exit` and is closed with 1000. While a client looks, the workspace is not idle; the
/// program waits for its quickest client, as a program on a slow line does.
#[utoipa::path(get, path = "/v1/workspaces/{id}/terminals/{tid}", tag = "terminals",
    params(("id" = String, Path, description = "id or name of the workspace"),
           ("tid" = String, Path, description = "the terminal's id"),
           ("stdout" = Option<u64>, Query, description = "go on from this offset; all that is kept by default"),
           ("stderr" = Option<u64>, Query, description = "the same of standard error")),
    responses((status = 101, description = "a WebSocket; the schemas are of its text messages", content(
                  (TerminalOutput = "application/vnd.wharf.terminal-output+json"),
                  (TerminalInput = "application/vnd.wharf.terminal-input+json"))),
              (status = 409, description = "`image_missing`, `workspace_deleting`"),
              (status = 426, description = "`upgrade_required`: this is a WebSocket")))]
pub(super) async fn attach(
    State(api): State<ApiState>,
    Id(id): Id,
    Sub(tid): Sub,
    query: Params,
    mut upgrade: Upgrade,
) -> Result<Response, Problem> {
    let query = query.only(&["stdout", "stderr"])?;
    let from = [query.number("stdout")?, query.number("stderr")?];
    let ws = upgrade.accept(MAX_MESSAGE)?;
    let viewer = api.terminals.attach(&id, &tid, from).await?;
    let Upgrade { caller, link, .. } = upgrade;
    Ok(ws.on_upgrade(move |mut socket| async move {
        let (code, why) = tokio::select! {
            biased;
            () = caller.ended.cancelled() => (close_code::AWAY, "the daemon stops, or the token was revoked"),
            why = converse(&mut socket, viewer, Pings::new(api.ping)) => why,
        };
        ws::close(&mut socket, code, why).await;
        drop(link);
    }))
}

/// Both directions at once: who types much must be able to read meanwhile.
async fn converse(socket: &mut WebSocket, viewer: Viewer, mut pings: Pings) -> (u16, &'static str) {
    let [stdout, stderr] = viewer.places();
    if socket.send(text(&TerminalOutput::Attached { stdout, stderr })).await.is_err() {
        return GONE;
    }
    let keyboard = viewer.keyboard();
    let (out, keys) = socket.split();
    let alive = pings.alive();
    tokio::select! {
        why = screen(out, viewer, &mut pings) => why,
        why = type_in(keys, keyboard, &alive) => why,
    }
}

/// The client is.
const GONE: (u16, &str) = (close_code::NORMAL, "");

async fn screen(
    mut out: SplitSink<&mut WebSocket, Message>,
    mut viewer: Viewer,
    pings: &mut Pings,
) -> (u16, &'static str) {
    loop {
        let (message, last) = tokio::select! {
            seen = viewer.next() => match seen {
                Some(Seen::Output(bytes)) => (Message::Binary(bytes), None),
                Some(Seen::Error(bytes)) => (text(&TerminalOutput::Stderr { base64: STANDARD.encode(bytes) }), None),
                Some(Seen::Skipped(bytes)) => (text(&TerminalOutput::Skipped { bytes }), None),
                Some(Seen::Ended(ended)) => (text(&TerminalOutput::Exit(ended)), Some(())),
                None => return GONE,
            },
            ping = pings.next() => match ping {
                Some(ping) => (ping, None),
                None => return SILENT,
            },
        };
        if pings.sent(out.send(message)).await.is_err() {
            return GONE;
        }
        if last.is_some() {
            // Only now: who was cut off before asks again, and is told again.
            viewer.was_told();
            return (close_code::NORMAL, "it has ended");
        }
    }
}

async fn type_in(mut keys: SplitStream<&mut WebSocket>, keyboard: Keyboard, alive: &Alive) -> (u16, &'static str) {
    while let Some(Ok(message)) = keys.next().await {
        // A program that does not read is waited for, and its client's answers with it: that is not the client's silence.
        let waiting = alive.excused();
        let done = match message {
            Message::Binary(bytes) => typed(&keyboard, bytes).await,
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(TerminalInput::Resize { cols, rows }) => keyboard.resize(rows, cols).await,
                Ok(TerminalInput::Eof) => keyboard.end_input().await,
                Err(_) => {
                    return (close_code::INVALID, "a text message is {\"type\":\"resize\",…} or {\"type\":\"eof\"}");
                }
            },
            Message::Close(_) => return GONE,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        };
        if done.is_err() {
            // It has ended, and its screen says so in a moment.
            std::future::pending::<()>().await;
        }
        drop(waiting);
    }
    GONE
}

async fn typed(keyboard: &Keyboard, mut bytes: Bytes) -> Result<(), TerminalError> {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        keyboard.input(piece).await?;
    }
    Ok(())
}

fn text(message: &TerminalOutput) -> Message {
    // It is made of numbers and plain text, so rendering it can't fail.
    Message::Text(Utf8Bytes::from(serde_json::to_string(message).unwrap_or_default()))
}
