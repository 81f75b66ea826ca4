//! `files`: what `docker exec` runs as the agents' user to carry files out of a workspace and into it.
//!
//! Nothing is done here that an agent could not do itself, and what an agent does meanwhile leads nowhere: each path is
//! resolved by the kernel below a directory that is held open, and may not leave it.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, open, openat, openat2, statat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

mod get;
mod put;

/// The two places that belong to a workspace, and where a relative path begins.
const ROOTS: [&str; 2] = ["/workspace", "/home/agent"];
/// How often a path that is changed while it is looked at is looked at again.
const AGAIN: usize = 64;

/// What the helper says first (of what it sends) or last (of what it took): one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// What follows.
    Found { kind: &'static str, size: u64, mtime: u64, mode: u32 },
    /// What was taken.
    Taken { files: u64, bytes: u64 },
    /// What is wrong.
    Refused { why: &'static str, message: String },
}

/// Why it is not done.
#[derive(Debug)]
struct Refusal(&'static str, String);

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        let why = match e.kind() {
            io::ErrorKind::NotFound => "not_found",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "denied",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "full",
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => "kind",
            io::ErrorKind::CrossesDevices => "outside",
            _ => "failed",
        };
        Self(why, e.to_string())
    }
}

impl From<Errno> for Refusal {
    fn from(e: Errno) -> Self {
        io::Error::from(e).into()
    }
}

/// `files get|put [--tar] --limit BYTES -- PATH`.
pub(super) fn run(args: &[String]) -> Result<(), String> {
    let usage = || "files takes `get|put [--tar] --limit BYTES -- PATH`".to_owned();
    let (tar, rest) = match args.get(1).map(String::as_str) {
        Some("--tar") => (true, &args[2..]),
        _ => (false, args.get(1..).unwrap_or_default()),
    };
    let [flag, limit, dashes, path] = rest else { return Err(usage()) };
    let limit = limit.parse::<u64>().ok().filter(|_| flag == "--limit" && dashes == "--").ok_or_else(usage)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let done = match args.first().map(String::as_str) {
        Some("get") => get::run(path, tar, limit),
        Some("put") => put::run(path, tar, limit).and_then(|(files, bytes)| say(&Said::Taken { files, bytes })),
        _ => return Err(usage()),
    };
    match done {
        Ok(()) => Ok(()),
        Err(Refusal(why, message)) => {
            let refused = Said::Refused { why, message };
            say(&refused).map_err(|Refusal(_, message)| message)?;
            Err("refused".to_owned())
        }
    }
}

fn say(what: &Said) -> Result<(), Refusal> {
    let mut line = serde_json::to_vec(what).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut out = stdout()?;
    out.write_all(&line)?;
    Ok(())
}

/// A file of its own: std's stdout would hold back what does not end with a line feed.
fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A place in the workspace: the root that is held open, and the way from there, without `..`.
struct Place {
    root: OwnedFd,
    way: PathBuf,
    /// For words.
    shown: String,
}

impl Place {
    fn find(path: &str) -> Result<Self, Refusal> {
        Self::below(&ROOTS, path)
    }

    fn below(roots: &[&str], path: &str) -> Result<Self, Refusal> {
        let given = Path::new(path);
        let absolute = if given.is_absolute() { given.to_owned() } else { Path::new(roots[0]).join(given) };
        if given.components().any(|part| part == Component::ParentDir) || path.contains('\0') {
            return Err(outside(path, "`..` is not followed"));
        }
        let found = roots.iter().find_map(|root| absolute.strip_prefix(root).ok().map(|way| (root, way)));
        let Some((root, way)) = found else {
            return Err(outside(path, &format!("only what is below {} can be reached", roots.join(" and "))));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(*root, flags, Mode::empty())?;
        Ok(Self { root, way: way.to_owned(), shown: path.to_owned() })
    }

    fn open(&self, way: &Path, flags: OFlags) -> Result<OwnedFd, Refusal> {
        beneath(self.root.as_fd(), way, flags).map_err(|e| self.refuse(e))
    }

    fn refuse(&self, e: Errno) -> Refusal {
        match e {
            Errno::XDEV | Errno::LOOP => outside(&self.shown, "a link on the way leads out of the workspace"),
            other => {
                let Refusal(why, message) = Refusal::from(other);
                Refusal(why, format!("`{}`: {message}", self.shown))
            }
        }
    }
}

fn outside(path: &str, why: &str) -> Refusal {
    Refusal("outside", format!("`{}`: {why}", path.chars().take(300).collect::<String>()))
}

/// Opens below `dir`, whatever links there are and whoever changes them meanwhile.
fn beneath(dir: impl AsFd, way: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let way = if way.as_os_str().is_empty() { Path::new(".") } else { way };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..AGAIN {
        match openat2(&dir, way, flags, Mode::empty(), resolve) {
            // Something on the way was renamed just then.
            Err(Errno::AGAIN) => {}
            // Older kernels and engines' system call filters don't know it.
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(dir.as_fd().try_clone_to_owned(), way, flags),
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// As `beneath`, where links are not followed at all.
fn step_by_step(dir: io::Result<OwnedFd>, way: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut dir = dir.map_err(|_| Errno::MFILE)?;
    let mut parts = way.components().filter(|part| *part != Component::CurDir).peekable();
    if parts.peek().is_none() {
        return openat(&dir, ".", flags, Mode::empty());
    }
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV) };
        let last = parts.peek().is_none();
        let how = if last {
            flags | OFlags::NOFOLLOW
        } else {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
        };
        dir = openat(&dir, name, how, Mode::empty())?;
    }
    Ok(dir)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests;
