//! What an agent is given from outside of the catalogue when it starts.

use std::{collections::BTreeMap, path::Path};

use crate::{agent::secrets::Secrets, domain::Setting};

/// Where the daemon looks up what an agent is to be given. It is asked at each start of an agent: a secret that was
/// changed in its place is a new one from the next start on.
pub trait Surroundings: Send + Sync {
    /// A variable of the daemon's own environment, where it is set.
    fn variable(&self, name: &str) -> Option<String>;

    /// A credential that the service manager gives.
    ///
    /// # Errors
    /// Why it can't be had, in words; nothing of its content.
    fn credential(&self, name: &str) -> Result<String, String>;

    /// A file of the daemon's machine.
    ///
    /// # Errors
    /// Why it can't be had, in words; nothing of its content.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// What an agent needs and does not get.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} needs {what}: {why}")]
pub struct MissingSecret {
    /// Where it is asked for: `agents.claude.env.ANTHROPIC_API_KEY`.
    pub place: String,
    /// What: "the credential `anthropic`".
    pub what: String,
    /// Why it can't be had, and what to do.
    pub why: String,
}

/// A setting's value; what is kept in a place for secrets is one.
pub(super) fn resolve(
    setting: &Setting,
    place: &dyn Fn() -> String,
    from: &dyn Surroundings,
    secrets: &mut Secrets,
) -> Result<String, MissingSecret> {
    let (what, found) = match setting {
        Setting::Text(text) => return Ok(text.clone()),
        Setting::Credential(name) => (format!("the credential `{name}`"), from.credential(name)),
        Setting::File(path) => (format!("the file {}", path.display()), from.file(path)),
    };
    let text = found.map_err(|why| MissingSecret { place: place(), what, why })?;
    secrets.content(&text);
    Ok(text)
}

/// A variable's value: a line break at the end of a file is not a part of it.
pub(super) fn variable(
    name: &str,
    setting: &Setting,
    place: &dyn Fn() -> String,
    from: &dyn Surroundings,
    secrets: &mut Secrets,
) -> Result<String, MissingSecret> {
    let mut value = resolve(setting, place, from, secrets)?;
    if !matches!(setting, Setting::Text(_)) {
        let kept = value.strip_suffix('\n').map_or(value.as_str(), |v| v.strip_suffix('\r').unwrap_or(v)).len();
        value.truncate(kept);
    }
    if value.contains('\0') {
        let (what, why) = ("a text".to_owned(), "its value holds a NUL byte".to_owned());
        return Err(MissingSecret { place: place(), what, why });
    }
    secrets.named(name, &value);
    Ok(value)
}

/// The variables of a file with one `NAME=value` a line; empty lines and comments are skipped, and quotes around a
/// value taken off.
pub(super) fn env_file(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.strip_prefix("export ").unwrap_or(line).split_once('=');
        let Some((name, value)) = pair.filter(|(name, _)| super::config::is_variable(name.trim())) else {
            // The line itself may be a secret.
            return Err(format!("its line {} is not of the form NAME=value", i + 1));
        };
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        found.insert(name.trim().to_owned(), bare.unwrap_or(value).to_owned());
    }
    Ok(found)
}

/// Surroundings that have nothing for an agent: an embedder's, or a test's.
impl Surroundings for () {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn credential(&self, _: &str) -> Result<String, String> {
        Err("there are none".to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("there are none".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read() {
        let text = "# keys\nA=1\n\nexport B = \"two words\"\nC='x=y'\nD=\n";
        let found: Vec<_> = env_file(text).unwrap().into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, [pair("A", "1"), pair("B", "two words"), pair("C", "x=y"), pair("D", "")]);
        let error = env_file("A=1\nhunter2\n").unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
