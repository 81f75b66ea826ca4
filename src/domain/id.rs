//! Ids: made here, checked here, and never longer or stranger than their form allows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A prompt's number within its session, from 1; its turn is `turn_<number>`.
pub type PromptNumber = u64;

/// Why a text is no id, name or key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` is not valid: {rule}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// The id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
    };
}

text_id! {
    /// A session's id: the agent's name and a UUID v7, `claude_0199…`.
    SessionId
}

impl SessionId {
    /// A new id for a session of `agent`; ids of one agent sort by the time they were made.
    #[must_use]
    pub fn new(agent: &str) -> Self {
        Self(format!("{agent}_{}", Uuid::now_v7()))
    }
}

impl SessionId {
    /// The name of its agent.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.0.rsplit_once('_').map_or("", |(agent, _)| agent)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text
            .rsplit_once('_')
            .is_some_and(|(agent, uuid)| is_agent_name(agent) && uuid.len() == 36 && Uuid::try_parse(uuid).is_ok());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("session id", text, "`<agent>_<uuid>`")) }
    }
}

/// Whether `name` can name an agent: 1 to 32 of `a-z`, `0-9`, `-`, beginning with a letter.
#[must_use]
pub fn is_agent_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

text_id! {
    /// A workspace's id: `ws_` and a UUID v7.
    WorkspaceId
}

impl WorkspaceId {
    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(format!("ws_{}", Uuid::now_v7()))
    }

    /// Whether `name` can name a workspace: 1 to 63 of letters, digits, `.`, `_`, `-`, beginning with a letter or digit,
    /// and not of the form of an id.
    ///
    /// # Errors
    /// `InvalidId` with the rule.
    pub fn check_name(name: &str) -> Result<(), InvalidId> {
        let rule =
            "1 to 63 of letters, digits, `.`, `_`, `-`, beginning with a letter or digit, and not like `ws_<uuid>`";
        let valid = (1..=63).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && name.parse::<Self>().is_err();
        if valid { Ok(()) } else { Err(InvalidId::new("workspace name", name, rule)) }
    }
}

impl Default for WorkspaceId {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for WorkspaceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text.strip_prefix("ws_").is_some_and(|uuid| uuid.len() == 36 && Uuid::try_parse(uuid).is_ok());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("workspace id", text, "`ws_<uuid>`")) }
    }
}

text_id! {
    /// Which daemon made an object in the engine: 16 hexadecimal digits, fixed when its store was made.
    InstanceId
}

impl InstanceId {
    /// A new, random one.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string()[..16].to_owned())
    }
}

impl Default for InstanceId {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("instance id", text, "16 hexadecimal digits"))
        }
    }
}

text_id! {
    /// A session's key, `app:name`; a bare `name` is `default:name`; split at the first colon.
    SessionKey
}

impl SessionKey {
    /// The part before the first colon.
    #[must_use]
    pub fn app(&self) -> &str {
        self.0.split_once(':').map_or("default", |(app, _)| app)
    }

    /// The part after the first colon.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, name)| name)
    }
}

impl FromStr for SessionKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let full = if text.contains(':') { text.to_owned() } else { format!("default:{text}") };
        let (app, name) = full.split_once(':').unwrap_or(("", ""));
        let valid = !app.is_empty() && !name.is_empty() && full.len() <= 256 && !full.chars().any(char::is_control);
        if valid {
            Ok(Self(full))
        } else {
            Err(InvalidId::new("session key", text, "`app:name` or `name`, at most 256 bytes, no control characters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_splits_at_the_first_colon() {
        let key: SessionKey = "slack:C1:ts".parse().unwrap();
        assert_eq!((key.app(), key.name()), ("slack", "C1:ts"));
        let bare: SessionKey = "main".parse().unwrap();
        assert_eq!(bare.as_str(), "default:main");
        for bad in ["", ":", "a:", ":b", "a\nb", &"x".repeat(300)] {
            assert!(bad.parse::<SessionKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_told_apart() {
        let session = SessionId::new("my-agent");
        assert_eq!(session.as_str().parse::<SessionId>().unwrap(), session);
        assert!("claude_x".parse::<SessionId>().is_err());
        let workspace = WorkspaceId::new();
        assert_eq!(workspace.as_str().parse::<WorkspaceId>().unwrap(), workspace);
        assert!(WorkspaceId::check_name("ok-1").is_ok());
        assert!(WorkspaceId::check_name(workspace.as_str()).is_err());
        for bad in ["", "-a", "a/b", "ü", &"x".repeat(64)] {
            assert!(WorkspaceId::check_name(bad).is_err(), "{bad:?}");
        }
    }
}
