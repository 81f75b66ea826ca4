//! `GET /v1/agents`: which agents there are, whether they are in their image, and what they can do.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::Params;
use super::problem::Problem;
use crate::domain::Page;

/// The longest reference of an image, in bytes.
const IMAGE_MAX: usize = 512;

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
    /// The image that the rest is about: that of a workspace made for it, unless another was asked about.
    pub image: String,
    /// Whether the engine has the image; absent when the engine can't be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_present: Option<bool>,
    /// The command that makes the image, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the image has this agent, by its label `wharf.agent.NAME`; `null` when the image can't tell.
    pub in_image: Option<bool>,
    /// The agent's version in that image; `null` when the image can't tell.
    pub version: Option<String>,
    /// What it can do.
    pub can: AgentAbilities,
}

/// What an agent can do. `null`: it announces that when it runs, and a request that it can't follow is refused then.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AgentAbilities {
    /// Take a conversation up again.
    pub resume: Option<bool>,
    /// End a running turn; wharf sees to it for every agent.
    pub cancel: bool,
    /// When a model can be chosen.
    pub model: Option<When>,
    /// When a mode can be chosen.
    pub mode: Option<When>,
    /// Its modes.
    pub modes: Option<Vec<String>>,
    /// Ask for permissions.
    pub permissions: Option<bool>,
    /// Take images in prompts.
    pub images: Option<bool>,
    /// How it reaches MCP servers: `stdio`, `http`, `sse`.
    pub mcp: Option<Vec<String>>,
}

/// When something can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// When the agent starts.
    AtStart,
    /// In the middle of a conversation too.
    AnyTime,
}

/// The agents that a session can be made with; `image` asks about another image than their own.
#[utoipa::path(
    get, path = "/v1/agents", tag = "agents",
    params(("image" = Option<String>, Query, description = "an image to look into, instead of each agent's own",
     min_length = 1, max_length = 512, pattern = "^[A-Za-z0-9/:@._-]+$")),
    responses((status = 200, body = Page<AgentInfo>)),
)]
pub(super) async fn list(State(api): State<ApiState>, query: Params) -> Result<Json<Page<AgentInfo>>, Problem> {
    let image = query.only(&["image"])?.text("image")?;
    if image.as_ref().is_some_and(|image| !is_image(image)) {
        return Err(Problem::parameter(
            "image",
            "`image` has to be like `NAME:TAG` or `NAME@sha256:DIGEST`".to_owned(),
        ));
    }
    Ok(Json(Page { items: (api.agents)(image).await, next: None }))
}

/// Whether it can be the reference of an image: it becomes a part of a path that the engine is asked for.
fn is_image(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "/:@._-".contains(c);
    (1..=IMAGE_MAX).contains(&text.len()) && text.chars().all(known) && !text.contains("..")
}
