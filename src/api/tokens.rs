//! `/v1/tokens`: make, list, rotate and revoke; for admins only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::{Id, JsonBody, Params};
use super::grants::{TokenError, TokenView};
use super::problem::Problem;
use super::scope::Scope;
use crate::domain::Page;

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// A unique name: 1 to 63 of letters, digits, `.`, `_`, `-`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    pub name: String,
    /// What it may do.
    pub scope: Scope,
}

/// A token with its secret, which is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// What is known of it.
    #[serde(flatten)]
    pub view: TokenView,
    /// The token itself: for `Authorization: Bearer`.
    pub token: String,
}

/// All tokens, by name; never the tokens themselves.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses((status = 200, body = Page<TokenView>)))]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<TokenView>>, Problem> {
    query.only(&[])?;
    std::future::ready(Ok(Json(Page { items: api.tokens.list(), next: None }))).await
}

/// Makes a token, and shows it this once: only its hash is kept.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 201, description = "made", body = MadeToken),
    (status = 409, description = "`token_taken`, `too_many_tokens`"),
))]
pub(super) async fn create(
    State(api): State<ApiState>,
    query: Params,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    query.only(&[])?;
    let (view, token) = api.tokens.create(&new.name, new.scope).await?;
    tracing::info!(token = view.name, scope = view.scope.name(), "a token was made");
    Ok((StatusCode::CREATED, Json(MadeToken { view, token })))
}

/// Gives a token another secret; the old one is refused at once, and what it has open is ended. The new one of the token
/// `default` is in `<state-dir>/token`, too.
#[utoipa::path(post, path = "/v1/tokens/{name}/rotate", tag = "tokens",
    params(("name" = String, Path, description = "the token's name")),
    responses((status = 200, body = MadeToken)))]
pub(super) async fn rotate(
    State(api): State<ApiState>,
    Id(name): Id,
    query: Params,
) -> Result<Json<MadeToken>, Problem> {
    query.only(&[])?;
    let (view, token) = api.tokens.rotate(&name).await?;
    tracing::info!(token = view.name, "a token was rotated");
    Ok(Json(MadeToken { view, token }))
}

/// Revokes a token: it is refused at once, and its open streams, waits and terminals are ended.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "the token's name")),
    responses((status = 200, body = TokenView), (status = 409, description = "`token_needed`: `default` is rotated instead")))]
pub(super) async fn revoke(
    State(api): State<ApiState>,
    Id(name): Id,
    query: Params,
) -> Result<Json<TokenView>, Problem> {
    query.only(&[])?;
    let view = api.tokens.revoke(&name).await?;
    tracing::info!(token = view.name, "a token was revoked");
    Ok(Json(view))
}

impl From<TokenError> for Problem {
    fn from(e: TokenError) -> Self {
        let detail = e.to_string();
        match e {
            TokenError::NotFound(name) => {
                Self::new(StatusCode::NOT_FOUND, "token_not_found", detail).with("looked_up", name)
            }
            TokenError::Taken(name) => Self::new(StatusCode::CONFLICT, "token_taken", detail).with("name", name),
            TokenError::Full => Self::new(StatusCode::CONFLICT, "too_many_tokens", detail),
            TokenError::First => Self::new(StatusCode::CONFLICT, "token_needed", detail),
            TokenError::Name => Self::field("name", detail),
            TokenError::Store(e) => Self::from(e),
            TokenError::File { .. } => {
                tracing::error!(error = detail, "the token's file could not be written");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", detail).retry()
            }
        }
    }
}
