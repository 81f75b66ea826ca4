//! What tether keeps of a process on the volume: what it is, the last input taken, its output; never its environment.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{fdatasync, fsync};
use serde::{Deserialize, Serialize};

use super::segments::StreamLog;
use crate::tether::{
    frames::{Stream, is_process_id},
    messages::Exit,
};

/// The record of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Program and arguments.
    #[serde(default)]
    pub(super) argv: Vec<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub(super) started: i64,
    /// How it ended; missing while it runs, and for good if it went down with its tether.
    #[serde(default)]
    pub(super) exit: Option<Exit>,
}

/// The journal of one process: a directory.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    pub(super) meta: Meta,
    last_input: u64,
    input: Option<File>,
    pub(super) streams: [StreamLog; 2],
}

const NAMES: [&str; 2] = ["stdout", "stderr"];

impl Journal {
    /// Begins one for a new process.
    pub(super) fn create(processes: &Path, id: &str, meta: Meta) -> io::Result<Self> {
        let dir = processes.join(id);
        DirBuilder::new().mode(0o700).create(&dir)?;
        let streams = NAMES.map(|name| StreamLog::new(dir.clone(), name));
        let journal = Self { dir, meta, last_input: 0, input: None, streams };
        if let Err(e) = journal.write_meta() {
            let _ = fs::remove_dir_all(&journal.dir);
            return Err(e);
        }
        Ok(journal)
    }

    /// Opens what an earlier tether left of a process.
    pub(super) fn open(processes: &Path, id: &str) -> io::Result<Self> {
        let dir = processes.join(id);
        // A torn record costs only words: the process is gone whatever it says, and its output stands beside it.
        let meta = match fs::read(dir.join("meta")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Meta::default(),
            Err(e) => return Err(e),
        };
        let last_input = match fs::read(dir.join("in")) {
            Ok(bytes) => last_input(&bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        let [stdout, stderr] = NAMES.map(|name| StreamLog::open(dir.clone(), name));
        Ok(Self { streams: [stdout?, stderr?], dir, meta, last_input, input: None })
    }

    /// The ids of all processes that have one.
    pub(super) fn all(processes: &Path) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        for dir in fs::read_dir(processes)? {
            ids.extend(dir?.file_name().into_string().ok().filter(|id| is_process_id(id)));
        }
        Ok(ids)
    }

    /// Removes all of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }

    /// Records how the process ended, and lets go of the files. No sync: if the machine dies now, "nobody knows" is what a reader gets.
    pub(super) fn ended(&mut self, exit: Exit) -> io::Result<()> {
        self.meta.exit = Some(exit);
        self.input = None;
        self.streams.iter_mut().for_each(StreamLog::close);
        self.write_meta()
    }

    fn write_meta(&self) -> io::Result<()> {
        let new = self.dir.join("meta.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&self.meta)?)?;
        fs::rename(new, self.dir.join("meta"))
    }

    /// The last input that was taken; 0 before the first.
    pub(super) const fn last_input(&self) -> u64 {
        self.last_input
    }

    /// Makes durable that input `n` was taken. On an error it was not.
    pub(super) fn take_input(&mut self, n: u64) -> io::Result<()> {
        if self.input.is_none() {
            self.input = Some(self.create_input()?);
        }
        let Some(file) = &self.input else { return Ok(()) };
        // Two slots in turn: whatever a crash tears, the number before is whole.
        file.write_all_at(&slot(n), (n % 2) * SLOT as u64)?;
        fdatasync(file)?;
        self.last_input = n;
        Ok(())
    }

    fn create_input(&self) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.dir.join("in"))?;
        file.write_all_at(&[0; 2 * SLOT], 0)?;
        fsync(&file)?;
        // The file must be found again too.
        fsync(File::open(&self.dir)?)?;
        if let Some(parent) = self.dir.parent() {
            fsync(File::open(parent)?)?;
        }
        Ok(file)
    }

    pub(super) const fn stream(&self, stream: Stream) -> &StreamLog {
        &self.streams[stream.index()]
    }
}

const SLOT: usize = 16;

fn slot(n: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn last_input(file: &[u8]) -> u64 {
    let (slots, _) = file.as_chunks::<SLOT>();
    let number = |bytes: &[u8; SLOT]| {
        let n = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        if slot(n) == *bytes { n } else { 0 }
    };
    slots.iter().map(number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { argv: vec!["x".into()], started: 5, exit: None }
    }

    #[test]
    fn the_last_input_survives_a_tear_of_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "p1", meta()).unwrap();
        for n in 1..=5 {
            journal.take_input(n).unwrap();
        }
        assert_eq!(Journal::open(dir.path(), "p1").unwrap().last_input(), 5);
        let path = dir.path().join("p1/in");
        let mut bytes = fs::read(&path).unwrap();
        bytes[SLOT + 3] ^= 0xff;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::open(dir.path(), "p1").unwrap().last_input(), 4);
        fs::write(&path, &bytes[..7]).unwrap();
        assert_eq!(Journal::open(dir.path(), "p1").unwrap().last_input(), 0);
    }

    #[test]
    fn an_end_is_remembered_and_a_torn_record_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "p1", meta()).unwrap();
        assert!(Journal::create(dir.path(), "p1", meta()).is_err());
        journal.ended(Exit { code: Some(3), signal: None, lost: false }).unwrap();
        let again = Journal::open(dir.path(), "p1").unwrap();
        assert_eq!(again.meta.exit.unwrap().code, Some(3));
        assert_eq!(again.meta.argv, ["x"]);
        fs::write(dir.path().join("p1/meta"), b"{\"argv\":[").unwrap();
        assert_eq!(Journal::open(dir.path(), "p1").unwrap().meta.exit, None);
        assert_eq!(Journal::all(dir.path()).unwrap(), ["p1"]);
        again.remove().unwrap();
        assert!(Journal::all(dir.path()).unwrap().is_empty());
    }
}
