//! What the demo agent remembers of a session: one JSON line for each thing that happened, appended.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One line of a session's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub(super) enum Entry {
    /// The session was made, with this working directory.
    Session(String),
    /// A prompt was given.
    Prompt(String),
    /// A turn's answer.
    Answer(String),
    /// The model was changed.
    Model(String),
    /// The mode was changed.
    Mode(String),
    /// Commands need no permission any more.
    Always,
}

/// A session's file and what it says.
#[derive(Debug)]
pub(super) struct History {
    file: File,
    /// All that happened, oldest first.
    pub(super) entries: Vec<Entry>,
}

/// The directory of all sessions, under the user's home.
pub(super) fn directory() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from).join(".wharf-demo")
}

/// A new session id.
pub(super) fn new_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::from("demo-"), |id, byte| format!("{id}{byte:02x}")))
}

/// Whether an id can name a file: ids come from the client.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn path(directory: &Path, id: &str) -> io::Result<PathBuf> {
    if is_id(id) { Ok(directory.join(format!("{id}.jsonl"))) } else { Err(io::ErrorKind::NotFound.into()) }
}

impl History {
    /// Makes a new session.
    pub(super) fn create(directory: &Path, id: &str, cwd: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let file = OpenOptions::new().append(true).create_new(true).open(path(directory, id)?)?;
        let mut history = Self { file, entries: Vec::new() };
        history.add(Entry::Session(cwd.to_owned()))?;
        Ok(history)
    }

    /// Opens a session again. A last line that a kill cut off is left out and closed, so that the next one is whole.
    pub(super) fn open(directory: &Path, id: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(path(directory, id)?)?;
        let mut entries = Vec::new();
        let mut line = String::new();
        let mut reader = BufReader::new(&file);
        let mut whole = true;
        while reader.read_line(&mut line)? > 0 {
            whole = line.ends_with('\n');
            entries.extend(serde_json::from_str(&line));
            line.clear();
        }
        if !whole {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, entries })
    }

    /// Appends an entry.
    pub(super) fn add(&mut self, entry: Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Appends a prompt and waits until it is on disk: whoever counts prompts finds it, whatever happens next.
    pub(super) fn add_prompt(&mut self, text: &str) -> io::Result<()> {
        self.add(Entry::Prompt(text.to_owned()))?;
        self.file.sync_data()
    }

    /// The prompts, oldest first.
    pub(super) fn prompts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.entries.iter().filter_map(|entry| if let Entry::Prompt(text) = entry { Some(text.as_str()) } else { None })
    }

    /// The last value of what `pick` picks.
    pub(super) fn last<'a>(&'a self, pick: impl Fn(&'a Entry) -> Option<&'a str>) -> Option<&'a str> {
        self.entries.iter().rev().find_map(pick)
    }
}

/// The ids and working directories of all sessions.
pub(super) fn list(directory: &Path) -> Vec<(String, String)> {
    let Ok(files) = fs::read_dir(directory) else { return Vec::new() };
    let mut sessions: Vec<_> = files
        .flatten()
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned()))
        .filter_map(|id| {
            let history = History::open(directory, &id).ok()?;
            let cwd = history.last(|entry| if let Entry::Session(cwd) = entry { Some(cwd) } else { None })?.to_owned();
            Some((id, cwd))
        })
        .collect();
    sessions.sort();
    sessions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_up_again_even_after_a_torn_write() {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::create(directory.path(), "demo-1", "/w").unwrap();
        history.add_prompt("echo a").unwrap();
        drop(history);
        let file = directory.path().join("demo-1.jsonl");
        OpenOptions::new().append(true).open(&file).unwrap().write_all(br#"{"type":"answ"#).unwrap();
        let mut history = History::open(directory.path(), "demo-1").unwrap();
        history.add_prompt("echo b").unwrap();
        let history = History::open(directory.path(), "demo-1").unwrap();
        assert_eq!(history.prompts().collect::<Vec<_>>(), ["echo a", "echo b"]);
        assert_eq!(list(directory.path()), [("demo-1".to_owned(), "/w".to_owned())]);
    }

    #[test]
    fn ids_never_leave_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        for id in ["../x", "", "a/b", "none", &"x".repeat(200)] {
            assert_eq!(History::open(directory.path(), id).unwrap_err().kind(), io::ErrorKind::NotFound, "{id}");
        }
    }
}
