//! What a token may do: three scopes, each of which includes the one before, and which of them a route asks for.

use std::str::FromStr;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a token may do; each scope includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See everything, change nothing.
    Read,
    /// Make sessions, and do with them what a client of a conversation does.
    Prompt,
    /// Everything: workspaces, terminals, tokens, and what ends things.
    Admin,
}

impl Scope {
    /// All of them, smallest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Prompt, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Prompt => "prompt",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| format!("`{text}` is no scope: there are read, prompt and admin"))
    }
}

/// What a client of a conversation does, by method and route.
const PROMPT: [(Method, &str); 8] = [
    (Method::POST, "/v1/sessions"),
    (Method::PATCH, "/v1/sessions/{id}"),
    (Method::POST, "/v1/sessions/{id}/prompts"),
    (Method::DELETE, "/v1/sessions/{id}/prompts/{n}"),
    (Method::POST, "/v1/sessions/{id}/permissions/{pid}"),
    (Method::POST, "/v1/sessions/{id}/cancel"),
    (Method::POST, "/v1/sessions/{id}/restore"),
    (Method::POST, "/v1/sessions/{id}/reset"),
];

/// What only an admin may even look at: who else has access, and a shell.
const ADMIN_READS: [&str; 2] = ["/v1/tokens", "/v1/workspaces/{id}/terminals/{tid}"];

/// The scope that a route asks for. One that is not listed asks for the most that its method can mean.
pub(super) fn required(method: &Method, route: &str) -> Scope {
    if method.is_safe() {
        return if ADMIN_READS.contains(&route) { Scope::Admin } else { Scope::Read };
    }
    let prompts = PROMPT.iter().any(|(listed, path)| listed == method && *path == route);
    if prompts { Scope::Prompt } else { Scope::Admin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_includes_the_one_before() {
        assert!(Scope::Read < Scope::Prompt && Scope::Prompt < Scope::Admin);
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert!("root".parse::<Scope>().is_err());
    }

    #[test]
    fn what_is_not_listed_asks_for_the_most() {
        assert_eq!(required(&Method::GET, "/v1/sessions"), Scope::Read);
        assert_eq!(required(&Method::HEAD, "/v1/new"), Scope::Read);
        assert_eq!(required(&Method::GET, "/v1/tokens"), Scope::Admin);
        assert_eq!(required(&Method::POST, "/v1/sessions/{id}/prompts"), Scope::Prompt);
        assert_eq!(required(&Method::DELETE, "/v1/sessions/{id}"), Scope::Admin);
        assert_eq!(required(&Method::POST, "/v1/new"), Scope::Admin);
    }
}
