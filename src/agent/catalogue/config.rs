//! An agent as the configuration has it.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use serde::Deserialize;

use super::Protocol;
use crate::domain::{FileSetting, Setting};

/// Where agents have their home, and where their work.
const HOME: &str = "/home/agent";
const WORK: &str = "/workspace";
/// How many files an agent may have.
const FILES_MAX: usize = 32;

/// How an agent is told of a model or a mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Way {
    /// As its protocol has it; what it announces may be chosen at any time.
    #[default]
    Protocol,
    /// By an environment variable, when it starts.
    Env(String),
    /// By an argument with the value behind it, when it starts.
    Arg(String),
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "protocol" => Ok(Self::Protocol),
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("arg", flag)) if !flag.is_empty() && !flag.contains('\0') => Ok(Self::Arg(flag.to_owned())),
            _ => Err(format!("{text:?} is not `protocol`, `env:NAME` or `arg:--FLAG`")),
        }
    }
}

impl TryFrom<String> for Way {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Whether an agent's conversations are taken up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// As the agent can.
    #[default]
    Auto,
    /// Never: a process that ends takes the conversation with it, and its session says so.
    Never,
}

/// An agent in the configuration: a new one, or what is to be different of a built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// How it is spoken to; `acp` if not given.
    pub protocol: Option<Protocol>,
    /// Program and arguments; what the protocol needs is added behind.
    pub argv: Option<Vec<String>>,
    /// Environment.
    pub env: BTreeMap<String, Setting>,
    /// A file with more of it, a `NAME=value` a line, absolute; `env` goes before it.
    pub env_file: Option<PathBuf>,
    /// Names of variables that are handed on from the daemon's own environment, where they are set there.
    pub pass_env: Option<Vec<String>>,
    /// Files that its processes find in their container.
    pub files: Vec<FileSetting>,
    /// The image of a workspace made for it.
    pub image: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// How it is told of the model.
    pub model: Option<Way>,
    /// How it is told of the mode.
    pub mode: Option<Way>,
    /// Whether its conversations are taken up again.
    pub resume: Option<Resume>,
}

/// A configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A name that can't be an agent's.
    #[error("{0:?} can't be the name of an agent")]
    Name(String),
    /// An agent without a program.
    #[error("agent {0}: argv needs a program")]
    Argv(String),
    /// A variable's name that can't be one.
    #[error("agent {agent}: {variable:?} can't be the name of an environment variable")]
    Variable {
        /// The agent.
        agent: String,
        /// The variable.
        variable: String,
    },
    /// A file that can't be placed.
    #[error("agent {agent}: {why}")]
    File {
        /// The agent.
        agent: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Checks an agent's files and gives them absolute paths.
pub(super) fn place(files: Vec<FileSetting>) -> Result<Vec<FileSetting>, String> {
    if files.len() > FILES_MAX {
        return Err(format!("{} files, and {FILES_MAX} are the most", files.len()));
    }
    files.into_iter().map(|file| Ok(FileSetting { path: absolute(&file.path)?, ..file })).collect()
}

fn absolute(path: &str) -> Result<String, String> {
    let whole = path.strip_prefix("~/").map_or_else(|| path.to_owned(), |rest| format!("{HOME}/{rest}"));
    let below = [HOME, WORK].iter().find_map(|dir| whole.strip_prefix(&format!("{dir}/")));
    let contained = below.is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && !rest.contains('\0')
    });
    if contained && whole.len() <= 1024 {
        Ok(whole)
    } else {
        Err(format!("the file {path:?} has to be below `~/` or `{WORK}/`, without `.` and `..`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_in_their_place() {
        assert_eq!(absolute("~/.codex/auth.json"), Ok("/home/agent/.codex/auth.json".into()));
        assert_eq!(absolute("/workspace/.env"), Ok("/workspace/.env".into()));
        for bad in ["", "~", "~/", "/etc/passwd", "~/../root/x", "/workspace", "/workspace/./a", "/workspace//a", "x"] {
            assert!(absolute(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ways_are_read() {
        assert_eq!("protocol".parse(), Ok(Way::Protocol));
        assert_eq!("env:MODEL".parse(), Ok(Way::Env("MODEL".into())));
        assert_eq!("arg:--model".parse(), Ok(Way::Arg("--model".into())));
        for bad in ["", "env:", "env:A=B", "arg:", "flag:--model", "Protocol"] {
            assert!(bad.parse::<Way>().is_err(), "{bad}");
        }
    }
}
