//! `GET /v1/agents`: which agents there are.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::Params;
use super::problem::Problem;
use crate::domain::Page;

/// An agent of the catalogue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Agent)]
pub struct AgentInfo {
    /// What `agent` of a new session takes.
    pub name: String,
    /// How it is driven: `acp`, `claude`, ….
    pub protocol: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The image of a workspace made for it, unless another is asked for.
    pub image: String,
    /// Whether the engine has the image; absent when the engine can't be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_present: Option<bool>,
    /// The command that makes the image, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The agents that a session can be made with.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", responses((status = 200, body = Page<AgentInfo>)))]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<AgentInfo>>, Problem> {
    query.only(&[])?;
    Ok(Json(Page { items: (api.agents)().await, next: None }))
}
