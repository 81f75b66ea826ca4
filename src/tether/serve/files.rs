//! The files that processes find: kept in memory, in a directory of tether's own, for as long as a process has them.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Gid, Uid, fchown};

use crate::tether::messages::Start;

/// How many files a process may have.
const MOST: usize = 64;

/// A file and who has it.
#[derive(Debug)]
struct Placed {
    /// Where processes look for it.
    path: String,
    /// Where it is.
    at: PathBuf,
    processes: BTreeSet<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Files {
    dir: Option<PathBuf>,
    /// On a host: others may not even pass through, and links are taken away with what they lead to.
    on_host: bool,
    placed: Vec<Placed>,
    /// Numbers make names: a path never does.
    last: u64,
}

impl Files {
    /// Begins with an empty directory, which others may pass through (not on a host) and only tether may change.
    pub(super) fn new(dir: Option<PathBuf>, on_host: bool) -> Result<Self, String> {
        let Some(dir) = dir else { return Ok(Self::default()) };
        let empty = || -> io::Result<()> {
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mode = if on_host { 0o700 } else { 0o711 };
            DirBuilder::new().recursive(true).mode(mode).create(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(mode))
        };
        empty().map_err(|e| format!("can't use {} for files: {e}", dir.display()))?;
        Ok(Self { dir: Some(dir), on_host, placed: Vec::new(), last: 0 })
    }

    /// Writes a process's files and notes in `start` where each is, its content left out. A file that another process
    /// has too is a new one for both: they look for it in the same place, and a changed secret is the one that counts.
    pub(super) fn place(&mut self, start: &mut Start) -> Result<(), String> {
        if start.files.is_empty() {
            return Ok(());
        }
        let Some(dir) = self.dir.clone() else { return Err("this tether has no place for files".to_owned()) };
        if start.files.len() > MOST {
            return Err(format!("{} files, and {MOST} are the most", start.files.len()));
        }
        let owner = (Uid::from_raw(start.uid), Gid::from_raw(start.gid));
        for file in &mut start.files {
            let text = std::mem::take(&mut file.text);
            let known = self.placed.iter().position(|placed| placed.path == file.path);
            let at = known.unwrap_or_else(|| {
                self.last += 1;
                let at = dir.join(self.last.to_string());
                self.placed.push(Placed { path: file.path.clone(), at, processes: BTreeSet::new() });
                self.placed.len() - 1
            });
            let placed = &mut self.placed[at];
            placed.processes.insert(start.id.clone());
            write(&placed.at, &text, owner).map_err(|e| format!("can't write the file for {}: {e}", file.path))?;
            file.at = placed.at.to_string_lossy().into_owned();
            if self.on_host {
                file.replaces = dir.to_string_lossy().into_owned();
            }
        }
        Ok(())
    }

    /// A process has ended: what only it had is removed.
    pub(super) fn release(&mut self, process: &str) {
        let on_host = self.on_host;
        self.placed.retain_mut(|placed| {
            if !placed.processes.remove(process) || !placed.processes.is_empty() {
                return true;
            }
            if on_host && fs::read_link(&placed.path).is_ok_and(|to| to == placed.at) {
                // One that stays leads nowhere, and is replaced by the next.
                let _ = fs::remove_file(&placed.path);
            }
            match fs::remove_file(&placed.at) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    eprintln!("wharf-tether: the file for {} could not be removed: {e}", placed.path);
                }
                _ => {}
            }
            false
        });
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A container's goes with the container.
        if let Some(dir) = self.dir.as_ref().filter(|_| self.on_host) {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Puts a new file in the place of an old one: a process that reads the old one goes on with it. In this order,
/// because what was given away is out of the reach of a root of few capabilities.
fn write(at: &Path, text: &str, (user, group): (Uid, Gid)) -> io::Result<()> {
    let fresh = at.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fchown(&file, Some(user), Some(group))?;
    fs::rename(&fresh, at)
}
