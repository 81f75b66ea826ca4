//! `/v1/workspaces/{id}/files`: files into a workspace and out of it.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LAST_MODIFIED};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::{Id, Params};
use super::problem::Problem;
use crate::workspace::{FoundKind, PutKind};

const TAR: &str = "application/x-tar";
const BYTES: &str = "application/octet-stream";
/// How long the next piece of a body may take.
const SILENCE: Duration = Duration::from_secs(60);

/// What was put into a workspace.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct FilesTaken {
    /// Files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A file as it is, or a directory as a tar archive; a file too comes as an archive where `Accept` names
/// `application/x-tar`.
///
/// The path is absolute (below `/workspace` or `/home/agent`) or relative to `/workspace`. What leads out, by `..` or by a
/// link, is refused. The workspace is started if need be.
#[utoipa::path(get, path = "/v1/workspaces/{id}/files", tag = "workspaces", params(
    ("id" = String, Path, description = "id or name"),
    ("path" = String, Query, description = "where"),
), responses(
    (status = 200, description = "its bytes", content(
        (Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/x-tar"))),
    (status = 404, description = "`workspace_not_found`, `path_not_found`"),
    (status = 409, description = "`image_missing`, `workspace_deleting`, `setup_failed`"),
    (status = 413, description = "`too_large`"),
    (status = 422, description = "`path_outside`, `path_kind`, `path_denied`, `invalid_field`"),
))]
pub(super) async fn get(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = path(query)?;
    let found = api.workspaces.get_file(&id, &path, names_tar(&headers, &ACCEPT)).await?;
    let mut response = Response::new(Body::from_stream(found.body));
    let headers = response.headers_mut();
    match found.kind {
        FoundKind::File => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
            headers.insert(CONTENT_LENGTH, found.size.into());
        }
        FoundKind::Tar => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(TAR));
        }
    }
    // What an agent wrote is never shown as a page of ours.
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("content-disposition"), HeaderValue::from_static("attachment"));
    let modified = i64::try_from(found.modified).ok().and_then(http_date);
    headers.extend(modified.map(|date| (LAST_MODIFIED, date)));
    Ok(response)
}

/// Puts a file where its path says, in one step; or, with `Content-Type: application/x-tar`, unpacks an archive into the
/// directory, each file in one step. Missing directories are made; all belongs to the agents' user.
///
/// The path is as for GET. An archive's entries that lead out, links included, are refused, and so are hard links and
/// devices.
#[utoipa::path(put, path = "/v1/workspaces/{id}/files", tag = "workspaces", params(
    ("id" = String, Path, description = "id or name"),
    ("path" = String, Query, description = "where"),
), request_body(description = "the file's bytes, or an archive", content(
    (Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/x-tar"))), responses(
    (status = 200, body = FilesTaken),
    (status = 404, description = "`workspace_not_found`, `path_not_found`"),
    (status = 409, description = "`image_missing`, `workspace_deleting`, `setup_failed`"),
    (status = 413, description = "`too_large`"),
    (status = 422, description = "`path_outside`, `path_kind`, `path_denied`, `archive_invalid`, `invalid_field`"),
    (status = 507, description = "`disk_full`"),
))]
pub(super) async fn put(
    State(api): State<ApiState>,
    Id(id): Id,
    query: Params,
    request: Request,
) -> Result<Json<FilesTaken>, Problem> {
    let path = path(query)?;
    let kind = if names_tar(request.headers(), &CONTENT_TYPE) { PutKind::Tar } else { PutKind::File };
    let body = request.into_body().into_data_stream();
    let pieces = stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok::<Bytes, String>(bytes), Some(body))),
            Ok(Some(Err(_))) => Some((Err("it broke off".to_owned()), None)),
            Ok(None) => None,
            Err(_) => Some((Err(format!("nothing of it came for {} s", SILENCE.as_secs())), None)),
        }
    });
    // What is not read of the body any more can't be told from the next request.
    let taken = api.workspaces.put_file(&id, &path, kind, pieces).await.map_err(|e| Problem::from(e).closing())?;
    Ok(Json(FilesTaken { files: taken.files, bytes: taken.bytes }))
}

fn path(query: Params) -> Result<String, Problem> {
    let path = query.only(&["path"])?.text("path")?;
    path.filter(|path| !path.is_empty())
        .ok_or_else(|| Problem::parameter("path", "`path` says which file or directory"))
}

fn names_tar(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case(TAR) || kind.eq_ignore_ascii_case("application/tar")
    })
}

fn http_date(seconds: i64) -> Option<HeaderValue> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    HeaderValue::from_str(&time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// The log, as text.
pub(super) fn text(lines: crate::workspace::LogStream, stop: tokio_util::sync::CancellationToken) -> Response {
    let lines = lines.map(Ok::<_, std::convert::Infallible>).take_until(stop.cancelled_owned());
    let mut response = (StatusCode::OK, Body::from_stream(lines)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_among_others() {
        let headers = |value: &str| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(value).unwrap())]);
        assert!(names_tar(&headers("application/x-tar"), &ACCEPT));
        assert!(names_tar(&headers("text/html, Application/X-Tar; q=0.5"), &ACCEPT));
        assert!(!names_tar(&headers("*/*"), &ACCEPT) && !names_tar(&HeaderMap::new(), &ACCEPT));
    }

    #[test]
    fn a_date_is_as_http_has_it() {
        assert_eq!(http_date(0).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
