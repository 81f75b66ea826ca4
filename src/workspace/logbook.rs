//! What happened in a workspace, in lines that outlive its container: its setup's output, and what became of it.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::domain::Timestamp;

/// The most bytes that are kept; past it the older half goes.
const MOST: u64 = 1 << 20;
/// The longest line.
const LONGEST: usize = 4096;

/// A workspace's lines; cheap to clone.
#[derive(Clone)]
pub(super) struct Logbook {
    file: Arc<Mutex<Place>>,
    /// The end, in bytes since the daemon began.
    end: watch::Sender<u64>,
}

struct Place {
    path: PathBuf,
    /// How many bytes were dropped since the daemon began.
    dropped: u64,
    /// Whether it was removed with its workspace: what is told late is not written any more.
    removed: bool,
}

impl Logbook {
    /// The one at `path`, which need not exist.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { file: Arc::new(Mutex::new(Place { path, dropped: 0, removed: false })), end: watch::Sender::new(0) }
    }

    /// Adds a line. A log that can't be written is no reason to stop the work that it tells of.
    pub(super) async fn line(&self, who: &str, text: &str) {
        let clean: String = text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
        let clean = clean.trim_end();
        let mut end = clean.len().min(LONGEST);
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        let line = format!("{} {who}: {}\n", Timestamp::now(), &clean[..end]);
        if let Err(error) = self.on_disk(move |place| place.append(line.as_bytes())).await {
            tracing::warn!(%error, "a workspace's log can't be written");
        }
    }

    /// What is behind `position`, at most all that is kept, and the position behind it.
    pub(super) async fn read(&self, position: u64) -> io::Result<(String, u64)> {
        self.on_disk(move |place| place.read(position)).await
    }

    /// Wakes when there is more.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Removes it; one that is not there is no error.
    pub(super) async fn remove(&self) -> io::Result<()> {
        let removed = self.on_disk(|place| {
            place.removed = true;
            match fs::remove_file(&place.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        });
        removed.await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Place) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (file, end) = (Arc::clone(&self.file), self.end.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut place = file.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut place);
            let now = place.dropped + place.length();
            end.send_if_modified(|end| std::mem::replace(end, now) != now);
            done
        });
        done.await.map_err(io::Error::other)?
    }
}

impl Place {
    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.removed {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        if self.length() > MOST {
            self.shorten()?;
        }
        open(&self.path)?.write_all(line)
    }

    /// Keeps the newer half, from the beginning of a line on.
    fn shorten(&mut self) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        let middle = bytes.len() / 2;
        let from = bytes[middle..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| middle + at + 1);
        let fresh = self.path.with_extension("new");
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        open(&fresh)?.write_all(&bytes[from..])?;
        fs::rename(&fresh, &self.path)?;
        self.dropped += from as u64;
        Ok(())
    }

    fn read(&mut self, position: u64) -> io::Result<(String, u64)> {
        let mut file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((String::new(), self.dropped)),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(position.saturating_sub(self.dropped)))?;
        let mut bytes = Vec::new();
        file.take(2 * MOST).read_to_end(&mut bytes)?;
        let end = position.max(self.dropped) + bytes.len() as u64;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), end))
    }
}

/// Setup commands may print what is secret: it is the daemon's alone.
fn open(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_bounded_and_read_on_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let book = Logbook::at(dir.path().join("logs/one.log"));
        assert_eq!(book.read(0).await.unwrap(), (String::new(), 0));
        book.line("setup", "first\u{1b}[31m").await;
        let (text, mut position) = book.read(0).await.unwrap();
        assert!(text.ends_with(" setup: first [31m\n"), "{text:?}");
        let long = "x".repeat(2 * LONGEST);
        let mut followed = 0;
        for _ in 0..400 {
            book.line("setup", &long).await;
            let (text, end) = book.read(position).await.unwrap();
            followed += text.lines().count();
            position = end;
        }
        assert_eq!(followed, 400, "a reader that keeps up misses nothing");
        assert_eq!(*book.watch().borrow(), position);
        let (kept, _) = book.read(0).await.unwrap();
        assert!(kept.len() as u64 <= MOST + 2 * LONGEST as u64, "{}", kept.len());
        assert!(kept.starts_with("20"), "from the beginning of a line");
        book.remove().await.unwrap();
        book.remove().await.unwrap();
    }
}
