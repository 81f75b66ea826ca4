//! A disk with a volatile cache, whose power can be cut: it keeps apart what was flushed and what was only written.
//!
//! It is a file that this process serves (through FUSE), below a loop device with a file system on it. So each write of
//! the file system and each flush comes here, in the order in which a real disk would get them, and nothing else does:
//! what lies in the kernel's dirty pages is not in it. A power cut leaves what was written before the last flush, and of
//! what was written after it whatever chance keeps: nothing, all, the first writes, any of them, or any of their sectors.
//! A disk may do all of that; what it may not (to lose what was flushed, to tear a sector) is not done.

use std::{
    collections::HashMap,
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Stdio,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    fuse::{Answer, Request},
    mounts::{Mount, mount},
};

/// The smallest part of a disk that is written whole or not at all.
const SECTOR: usize = 512;
/// In what pieces it is kept here.
const PAGE: usize = 4096;
/// More than the longest request.
const BUFFER: usize = 1024 * 1024 + 64 * 1024;

/// Pages by number; where there is none, the disk holds zeros.
type Pages = HashMap<u64, Arc<[u8; PAGE]>>;

/// Writes into pages, which begin as those below them.
fn put(pages: &mut Pages, below: Option<&Pages>, mut at: u64, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (number, from) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap_or(0));
        let len = bytes.len().min(PAGE - from);
        let page = pages.entry(number).or_insert_with(|| {
            below.and_then(|below| below.get(&number)).cloned().unwrap_or_else(|| Arc::new([0; PAGE]))
        });
        Arc::make_mut(page)[from..from + len].copy_from_slice(&bytes[..len]);
        (at, bytes) = (at + len as u64, &bytes[len..]);
    }
}

/// What is on a disk without power.
#[derive(Clone, Default)]
pub struct Platter {
    pages: Pages,
    pub len: u64,
}

impl Platter {
    /// An empty disk of so many bytes.
    pub fn blank(len: u64) -> Self {
        Self { pages: Pages::new(), len }
    }

    /// Copies it into a file, with holes where nothing was written.
    pub fn copy_to(&self, path: &Path) -> Result<(), String> {
        let copy = || {
            let file = File::create(path)?;
            file.set_len(self.len)?;
            let written = self.pages.iter().filter(|(_, page)| page[..] != [0; PAGE]);
            for (number, page) in written {
                file.write_all_at(&page[..], number * PAGE as u64)?;
            }
            Ok::<_, std::io::Error>(())
        };
        copy().map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// What the cache keeps of the writes since the last flush when the power goes.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    Nothing,
    All,
    First,
    Some,
    Sectors,
}

impl Kept {
    pub fn any(rng: &mut fastrand::Rng) -> Self {
        [Self::Nothing, Self::All, Self::First, Self::Some, Self::Sectors][rng.usize(..5)]
    }
}

#[derive(Default)]
struct State {
    durable: Platter,
    /// The writes since the last flush, in their order: place and bytes.
    cache: Vec<(u64, Vec<u8>)>,
    /// The pages as they are with them.
    cached: Pages,
    /// Writes and flushes so far.
    requests: u64,
    /// Before which request the power goes.
    until: Option<u64>,
    /// No request is served any more.
    held: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, once there is power for it.
    fn powered(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.requests += 1;
        if state.until.is_some_and(|until| state.requests >= until) {
            (state.until, state.held) = (None, true);
            self.changed.notify_all();
        }
        self.changed.wait_while(state, |state| state.held).unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that runs.
pub struct Disk {
    shared: Arc<Shared>,
    /// Taken down before anything else, which ends the serving thread.
    _mount: Mount,
}

impl Disk {
    /// Puts the disk at the file `at`, which must be there.
    pub fn start(platter: Platter, at: &Path) -> Result<Self, String> {
        let len = platter.len;
        let shared = Arc::new(Shared::default());
        shared.state().durable = platter;
        let fuse = File::options().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.map_err(|e| format!("/dev/fuse: {e}"))?;
        let channel = fuse.try_clone().map_err(|e| e.to_string())?;
        let options = "fd=0,rootmode=100600,user_id=0,group_id=0";
        let mounted = mount(&["-i", "-t", "fuse", "-o", options, "wharf-disk"], at, Stdio::from(channel))?;
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serve(&serving, fuse, len));
        Ok(Self { shared, _mount: mounted })
    }

    /// Cuts the power now: nothing is served any more.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        (state.until, state.held) = (None, true);
    }

    /// Cuts the power before the n-th write or flush from now on; whether it came to that in time.
    pub fn cut_at(&self, n: u64, patience: Duration) -> bool {
        let mut state = self.shared.state();
        state.until = Some(state.requests + n);
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.held)
            .unwrap_or_else(PoisonError::into_inner);
        state.held
    }

    /// What is on it when its power is gone.
    pub fn platter(&self, kept: Kept, rng: &mut fastrand::Rng) -> Platter {
        let state = self.shared.state();
        let mut left = state.durable.clone();
        let first = rng.usize(..=state.cache.len());
        for (i, (at, bytes)) in state.cache.iter().enumerate() {
            let whole = match kept {
                Kept::Nothing => false,
                Kept::All | Kept::Sectors => true,
                Kept::First => i < first,
                Kept::Some => rng.bool(),
            };
            if whole {
                for (at, sector) in (*at..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                    if !matches!(kept, Kept::Sectors) || rng.bool() {
                        put(&mut left.pages, None, at, sector);
                    }
                }
            }
        }
        left
    }

    /// How many writes are in the cache only.
    pub fn unflushed(&self) -> usize {
        self.shared.state().cache.len()
    }

    /// Lets it go on, so that whoever waits for it can end.
    pub fn let_go(&self) {
        self.shared.state().held = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Answers until the file is unmounted.
fn serve(shared: &Shared, mut fuse: File, len: u64) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = match fuse.read(&mut buffer) {
            Ok(n) => n,
            // A request that was taken back.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) => continue,
            Err(_) => return,
        };
        let Some((id, request)) = Request::parse(&buffer[..n]) else { continue };
        let answer = match request {
            Request::Read { at, len } => Answer::Data(read(&shared.state(), at, len)),
            Request::Write { at, bytes } => {
                let state = &mut *shared.powered();
                put(&mut state.cached, Some(&state.durable.pages), at, bytes);
                state.cache.push((at, bytes.to_vec()));
                Answer::Written(bytes.len())
            }
            Request::Flush => {
                let mut state = shared.powered();
                let cached = std::mem::take(&mut state.cached);
                state.durable.pages.extend(cached);
                state.cache.clear();
                Answer::Done
            }
            Request::Other(other) => other.answer(len),
            Request::Unanswered => continue,
        };
        // Where nobody waits for the answer any more, there is nothing to do.
        let _ = fuse.write_all(&answer.frame(id));
    }
}

fn read(state: &State, mut at: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let (number, from) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap_or(0));
        let part = (len - bytes.len()).min(PAGE - from);
        match state.cached.get(&number).or_else(|| state.durable.pages.get(&number)) {
            Some(page) => bytes.extend_from_slice(&page[from..from + part]),
            None => bytes.resize(bytes.len() + part, 0),
        }
        at += part as u64;
    }
    bytes
}
