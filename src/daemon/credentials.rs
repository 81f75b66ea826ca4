//! Secrets from where they are kept: the service manager's credentials, files, the daemon's own environment.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::agent::Surroundings;

/// The most that a secret may have, in bytes.
const LONGEST: u64 = 256 * 1024;

/// Looks up what agents are given.
pub(super) struct Credentials {
    /// Where the service manager puts credentials, if it does.
    dir: Option<PathBuf>,
}

impl Credentials {
    /// Of this process.
    pub(super) fn of_process() -> Self {
        Self { dir: set("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Surroundings for Credentials {
    fn variable(&self, name: &str) -> Option<String> {
        set(name)
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        let give = format!("give it to the service: LoadCredential={name}:/PATH in wharf.service, then restart it");
        let Some(dir) = &self.dir else { return Err(format!("the daemon has no credentials: {give}")) };
        match read(&dir.join(name)) {
            Err(Unread::Missing) => Err(format!("the daemon has no such credential: {give}")),
            other => other.map_err(|why| why.to_string()),
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        read(path).map_err(|why| why.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("it does not exist")]
    Missing,
    #[error("it can't be read: {0}")]
    Io(std::io::Error),
    #[error("it is no regular file")]
    Kind,
    #[error("it has more than {LONGEST} bytes")]
    Long,
    #[error("it is not UTF-8")]
    Text,
}

impl From<std::io::Error> for Unread {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::NotFound { Self::Missing } else { Self::Io(e) }
    }
}

fn read(path: &Path) -> Result<String, Unread> {
    // Looked at first: to open a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Unread::Kind);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Unread::Long);
    }
    String::from_utf8(bytes).map_err(|_| Unread::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_told_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("good", b"secret\n");
        write("binary", b"hunter2\xff");
        write("long", &vec![b'x'; 256 * 1024 + 1]);
        let credentials = Credentials { dir: Some(dir.path().to_owned()) };
        assert_eq!(credentials.credential("good"), Ok("secret\n".into()));
        assert_eq!(credentials.file(&dir.path().join("good")), Ok("secret\n".into()));
        for (name, says) in [("gone", "LoadCredential=gone"), ("binary", "UTF-8"), ("long", "262144")] {
            let error = credentials.credential(name).unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        assert!(credentials.file(dir.path()).unwrap_err().contains("regular"));
        assert!(Credentials { dir: None }.credential("good").unwrap_err().contains("no credentials"));
    }
}
