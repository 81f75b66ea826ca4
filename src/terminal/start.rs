//! What is started as a terminal: checked, and given its environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TerminalError;
use crate::tether::client::StartProcess;
use crate::workspace::Footing;

const MAX_ARGV: usize = 64 * 1024;

/// A terminal to start.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewTerminal {
    /// Program and arguments; a login shell without any.
    pub argv: Vec<String>,
    /// Columns.
    #[schema(minimum = 1, maximum = 1000)]
    pub cols: u16,
    /// Rows.
    #[schema(minimum = 1, maximum = 1000)]
    pub rows: u16,
    /// More environment; `TERM` is `xterm-256color` unless it is said here.
    pub env: BTreeMap<String, String>,
    /// Where it starts, absolute; `/workspace` without one, on the host the directory that sessions work in.
    pub cwd: Option<String>,
    /// Whether it gets a terminal; without one it has pipes, with standard error for itself.
    pub pty: bool,
}

impl Default for NewTerminal {
    fn default() -> Self {
        Self { argv: Vec::new(), cols: 80, rows: 24, env: BTreeMap::new(), cwd: None, pty: true }
    }
}

/// The best shell that the image has.
fn shell() -> Vec<String> {
    let best = "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l";
    ["/bin/sh", "-c", best].map(str::to_owned).into()
}

/// The process of a terminal; `workspace` is the environment of everything in its workspace.
pub(super) fn process(
    id: String,
    footing: &Footing,
    workspace: Vec<(String, String)>,
    new: NewTerminal,
) -> StartProcess {
    let mut env = footing.env();
    if new.pty {
        env.push(("TERM".to_owned(), "xterm-256color".to_owned()));
    }
    env.extend(workspace);
    env.extend(new.env);
    let argv = if new.argv.is_empty() { shell() } else { new.argv };
    let cwd = new.cwd.unwrap_or_else(|| footing.work.clone());
    let pty = new.pty.then_some((new.rows, new.cols));
    StartProcess { id, argv, env, files: Vec::new(), cwd, uid: footing.uid, gid: footing.gid, pty }
}

/// What can be said before anything is started.
pub(super) fn check(new: &NewTerminal) -> Result<(), TerminalError> {
    let invalid = |field, message: &str| Err(TerminalError::Invalid { field, message: message.to_owned() });
    if new.argv.first().is_some_and(String::is_empty) || new.argv.iter().any(|word| word.contains('\0')) {
        return invalid("argv", "begins with a program, and holds no zero byte");
    }
    let size = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.len() + 1).sum::<usize>();
    if size(&mut new.argv.iter()) > MAX_ARGV {
        return invalid("argv", "is longer than 64 KiB");
    }
    if size(&mut new.env.iter().flat_map(|(name, value)| [name, value])) > MAX_ARGV {
        return invalid("env", "is longer than 64 KiB");
    }
    let wrong = |name: &String, value: &String| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    if new.env.iter().any(|(name, value)| wrong(name, value)) {
        return invalid("env", "a name is not empty and has no `=`, and neither name nor value has a zero byte");
    }
    for (field, cells) in [("cols", new.cols), ("rows", new.rows)] {
        if !(1..=1000).contains(&cells) {
            return invalid(field, "a number from 1 to 1000");
        }
    }
    match &new.cwd {
        Some(cwd) if !cwd.starts_with('/') || cwd.contains('\0') => invalid("cwd", "an absolute path in the workspace"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_started_is_named() {
        let with = |change: fn(&mut NewTerminal)| {
            let mut new = NewTerminal::default();
            change(&mut new);
            match check(&new) {
                Err(TerminalError::Invalid { field, .. }) => Some(field),
                _ => None,
            }
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|new| new.argv = vec![String::new()]), Some("argv"));
        assert_eq!(with(|new| new.argv = vec!["x".repeat(70_000)]), Some("argv"));
        assert_eq!(with(|new| new.cols = 0), Some("cols"));
        assert_eq!(with(|new| new.rows = 1001), Some("rows"));
        assert_eq!(with(|new| new.cwd = Some("x".into())), Some("cwd"));
        assert_eq!(with(|new| drop(new.env.insert("A=B".into(), String::new()))), Some("env"));
    }
}
