//! What handlers take out of a request: path ids, query parameters and JSON bodies, all bounded, all with errors that
//! say what would be right.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use super::body::Input;
use super::problem::Problem;

/// Time in which a body has to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an id in a path: a key has at most 256.
const MAX_ID: usize = 512;
/// Items of a page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most.
pub(super) const MAX_LIMIT: usize = 1000;

/// The first id in the path, percent-decoded.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_id(parts, state, 0).await.map(Self)
    }
}

/// The second id in the path, percent-decoded.
pub(super) struct Sub(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Sub {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_id(parts, state, 1).await.map(Self)
    }
}

async fn path_id<S: Send + Sync>(parts: &mut Parts, state: &S, n: usize) -> Result<String, Problem> {
    let invalid = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_path", detail);
    let params = RawPathParams::from_request_parts(parts, state).await;
    let params = params.map_err(|_| invalid("the path is not UTF-8 once its percent-encoding is undone"))?;
    let id = params.iter().nth(n).map(|(_, value)| value.to_owned()).unwrap_or_default();
    if id.len() > MAX_ID { Err(invalid("an id in the path is longer than 512 bytes")) } else { Ok(id) }
}

/// The query's parameters.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(pairs)| Self(pairs))
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", e.to_string()))
    }
}

impl Params {
    /// Refuses parameters that are not in `known`.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, _)) => {
                let name: String = name.chars().take(100).collect();
                let detail = if known.is_empty() {
                    format!("there is no parameter `{name}` here: it takes none")
                } else {
                    format!("there is no parameter `{name}` here; there are {}", known.join(", "))
                };
                let problem = Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail);
                Err(problem.with("parameter", name).with("allowed", known))
            }
        }
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(Problem::parameter(name, format!("`{name}` is given more than once")));
        }
        Ok(value)
    }

    /// As `one`, owned.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.one(name)?.map(str::to_owned))
    }

    /// A whole number, 0 or more.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        number(text)
            .map(Some)
            .ok_or_else(|| Problem::parameter(name, format!("`{name}` has to be a whole number, 0 or more")))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::parameter(name, format!("`{name}` has to be true or false"))),
        }
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `limit`: items of a page.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.number("limit")? {
            None => Ok(DEFAULT_LIMIT),
            Some(n) => usize::try_from(n)
                .ok()
                .filter(|n| (1..=MAX_LIMIT).contains(n))
                .ok_or_else(|| Problem::parameter("limit", format!("`limit` has to be from 1 to {MAX_LIMIT}"))),
        }
    }
}

/// Digits only: no sign, no blanks, and no more than fits.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: Input> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(number);
        if announced.is_some_and(|length| length > T::LIMIT as u64) {
            return Err(Problem::too_large(T::LIMIT));
        }
        let bytes = tokio::time::timeout(BODY_TIMEOUT, read(request, T::LIMIT)).await.map_err(|_| {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail).closing()
        })??;
        T::parse(&bytes).map(Self)
    }
}

/// No content type counts as JSON; one that a browser sends without asking (a form's, plain text) does not.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let essence: String = essence.chars().take(100).collect();
    let detail = format!("the body's type is `{essence}`: send JSON with `Content-Type: application/json`");
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    Err(problem.with("allowed", vec!["application/json"]).closing())
}

/// Stops reading at the limit, whatever was announced.
async fn read(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body ended before its announced length")
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Problem::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn query(text: &str) -> Params {
        let (mut parts, ()) = axum::http::Request::builder().uri(format!("/x{text}")).body(()).unwrap().into_parts();
        Params::from_request_parts(&mut parts, &()).await.unwrap_or_else(|e| panic!("{e:?}"))
    }

    #[tokio::test]
    async fn parameters_are_checked_by_name_and_form() {
        let q = query("?after=7&type=a,b&type=c&queue=true&bare&limit=1000").await;
        assert_eq!(q.number("after").unwrap(), Some(7));
        assert_eq!(q.all("type").collect::<Vec<_>>(), ["a,b", "c"]);
        assert!(q.flag("queue").unwrap() && !q.flag("absent").unwrap());
        assert!(q.flag("bare").is_err());
        assert_eq!(q.limit().unwrap(), 1000);
        assert_eq!(q.one("type").unwrap_err().code(), "invalid_parameter");
        assert_eq!(q.only(&["after"]).err().unwrap().code(), "unknown_parameter");
        for bad in ["-1", "+1", "1.0", "x", " 1", "", "99999999999999999999999"] {
            assert!(
                query(&format!("?after={}", bad.replace("+", "%2B").replace(" ", "%20")))
                    .await
                    .number("after")
                    .is_err(),
                "{bad:?}"
            );
        }
        for bad in ["0", "1001", "x"] {
            assert!(query(&format!("?limit={bad}")).await.limit().is_err(), "{bad}");
        }
        assert_eq!(query("").await.limit().unwrap(), DEFAULT_LIMIT);
    }
}
