//! `/v1/sessions/{id}/prompts`: accept, list and withdraw.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::extract::{Id, JsonBody, Params, Sub, number};
use super::problem::Problem;
use super::{ApiState, wait};
use crate::domain::{Page, PromptRecord};
use crate::session::{Accepted, NewPrompt};

const MAX_WAIT: Duration = Duration::from_secs(600);
const MAX_KEY: usize = 255;

/// Accepts a prompt; it is on disk when this answers. Prompts run in order.
///
/// The same `Idempotency-Key` never makes a second prompt: it gives the first one's answer again.
/// With `wait` the answer is 200 with the turn's end if that comes in time, else 202; the turn runs on either way.
#[utoipa::path(post, path = "/v1/sessions/{id}/prompts", tag = "prompts", request_body = NewPrompt, params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("wait" = Option<String>, Query, description = "how long to wait for the turn's end: `60s`, `500ms`, `2m`; at most 10 minutes",
     example = "60s", pattern = "^[0-9]+(ms|s|m)?$"),
    ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters",
     pattern = "^[ -~]{1,255}$"),
), responses(
    (status = 202, description = "accepted", body = Accepted),
    (status = 200, description = "its turn ended while this waited", body = wait::TurnResult),
    (status = 409, description = "`session_busy` (with `when_busy` `reject`), `session_closed`, `session_failed`"),
    (status = 429, description = "`queue_full`"),
))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    headers: HeaderMap,
    JsonBody(prompt): JsonBody<NewPrompt>,
) -> Result<Response, Problem> {
    let wait = query.only(&["wait"])?.one("wait")?.map(duration).transpose()?;
    let key = idempotency_key(&headers)?;
    let Some(wait) = wait else {
        let accepted = api.sessions.prompt(&id, prompt, key).await?;
        return Ok((StatusCode::ACCEPTED, Json(accepted)).into_response());
    };
    let deadline = tokio::time::Instant::now() + wait;
    // Known before the prompt is: everything of its turn comes after this, unless the prompt is an old one.
    let before = api.sessions.get(&id).await?.last_seq;
    let fresh = key.is_none();
    let accepted = api.sessions.prompt(&id, prompt, key).await?;
    let turn = wait::turn(&api.sessions, &id, &accepted, before, fresh);
    let ended = tokio::select! {
        ended = tokio::time::timeout_at(deadline, turn) => ended.ok().transpose(),
        () = api.stop.cancelled() => Ok(None),
    };
    // The prompt is accepted, so a fault while waiting is no reason to answer with an error.
    match ended {
        Ok(Some(result)) => Ok(Json(result).into_response()),
        Ok(None) => Ok((StatusCode::ACCEPTED, Json(accepted)).into_response()),
        Err(e) => {
            tracing::warn!(error = %e, "waiting for a turn's end failed");
            Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
        }
    }
}

/// The queue and its history, oldest first.
#[utoipa::path(get, path = "/v1/sessions/{id}/prompts", tag = "prompts", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("after" = Option<u64>, Query, description = "the number of a prompt: those after it"),
    ("limit" = Option<u16>, Query, description = "items at most; 100 by default", minimum = 1, maximum = 1000),
), responses((status = 200, body = Page<PromptRecord>)))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
) -> Result<Json<Page<PromptRecord>>, Problem> {
    let query = query.only(&["after", "limit"])?;
    let after = query.number("after")?.unwrap_or(0);
    Ok(Json(api.sessions.prompts(&id, after, query.limit()?).await?))
}

/// Withdraws a pending prompt.
#[utoipa::path(delete, path = "/v1/sessions/{id}/prompts/{n}", tag = "prompts", params(
    ("id" = String, Path, description = "id, key or the agent's own session id"),
    ("n" = u64, Path, description = "the prompt's number"),
), responses((status = 200, body = PromptRecord),
             (status = 409, description = "`prompt_not_pending`: `cancel` ends a running turn")))]
pub(super) async fn withdraw(
    State(api): State<ApiState>,
    Id(id): Id,
    Sub(n): Sub,
    query: Params,
) -> Result<Json<PromptRecord>, Problem> {
    query.only(&[])?;
    let n = number(&n).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_path", "a prompt is named by its number, a whole one from 1")
    })?;
    Ok(Json(api.sessions.withdraw(&id, n).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let fits = |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
    match value.to_str().ok().filter(fits) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let detail = format!("`Idempotency-Key` has to be 1 to {MAX_KEY} printable ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail).with("header", "Idempotency-Key"))
        }
    }
}

fn duration(text: &str) -> Result<Duration, Problem> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let parsed = number(count).filter(|_| !count.is_empty()).zip(millis).and_then(|(n, m)| n.checked_mul(m));
    match parsed.map(Duration::from_millis) {
        Some(wait) if wait <= MAX_WAIT => Ok(wait),
        _ => Err(Problem::parameter("wait", "`wait` has to be like `60s`, `500ms` or `2m`, at most 10 minutes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_has_a_unit_and_a_bound() {
        for (text, ms) in [("60s", 60_000), ("500ms", 500), ("2m", 120_000), ("3", 3000), ("10m", 600_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "s", "-1s", "1h", "11m", "1.5s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_idempotency_key_is_bounded() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", value.parse().unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(with("a b-1").unwrap().as_deref(), Some("a b-1"));
        assert!(with("").is_err());
        assert!(with(&"x".repeat(256)).is_err());
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
    }
}
