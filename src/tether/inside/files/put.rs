//! Files into a workspace: each is written beside its place and put there whole.

use super::*;
use rustix::fs::{fchmod, renameat, symlinkat, unlinkat};

/// The longest piece of what comes in.
const LONGEST_PIECE: usize = 1 << 20;
/// The most entries of an archive.
const MOST_ENTRIES: u64 = 1_000_000;

/// Takes what comes over stdin in pieces: their length in four bytes, then the bytes; one of length 0 ends it.
pub(super) fn run(path: &str, tar: bool, limit: u64) -> Result<(u64, u64), Refusal> {
    let place = Place::find(path)?;
    take(&place, tar, limit, &mut File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn take(place: &Place, tar: bool, limit: u64, from: &mut impl Read) -> Result<(u64, u64), Refusal> {
    let mut pieces = Pieces { from, left: 0, whole: false, taken: 0, limit, too_large: false };
    let done = if tar { unpack(place, &mut pieces) } else { one(place, &mut pieces) };
    match done {
        _ if pieces.too_large => Err(Refusal("too_large", format!("more than {limit} bytes"))),
        other => other,
    }
}

/// What comes in, without its lengths.
struct Pieces<'a, R: Read> {
    from: &'a mut R,
    /// What is left of the piece at hand.
    left: usize,
    whole: bool,
    taken: u64,
    limit: u64,
    too_large: bool,
}

impl<R: Read> Read for Pieces<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let mut length = [0; 4];
            self.from.read_exact(&mut length).map_err(|_| broken_off())?;
            self.left = u32::from_be_bytes(length) as usize;
            if self.left == 0 {
                self.whole = true;
                return Ok(0);
            }
            if self.left > LONGEST_PIECE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece is too long"));
            }
            self.taken += self.left as u64;
            if self.taken > self.limit {
                self.too_large = true;
                return Err(io::Error::other("too large"));
            }
        }
        let want = buffer.len().min(self.left);
        match self.from.read(&mut buffer[..want])? {
            0 => Err(broken_off()),
            n => {
                self.left -= n;
                Ok(n)
            }
        }
    }
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "what was sent was broken off: nothing of the last file is kept")
}

fn one(place: &Place, from: &mut impl Read) -> Result<(u64, u64), Refusal> {
    let (parent, name) = split(&place.way).ok_or_else(|| is_dir(&place.shown))?;
    let dir = make_dirs(place, parent)?;
    let bytes = write(place, &dir, name, 0o644, from)?;
    Ok((1, bytes))
}

fn is_dir(path: &str) -> Refusal {
    Refusal("kind", format!("`{path}` is a directory: send a tar archive, or name a file in it"))
}

fn split(way: &Path) -> Option<(&Path, &OsStr)> {
    Some((way.parent().unwrap_or(Path::new("")), way.file_name()?))
}

/// Opens a directory, making what is missing on the way.
fn make_dirs(place: &Place, way: &Path) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut done = PathBuf::new();
    let mut dir = place.open(&done, flags)?;
    for part in way.components() {
        let Component::Normal(name) = part else { continue };
        // Made in the directory that is held; opened from the root on, so that a link may lead through the workspace.
        match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(place.refuse(e)),
        }
        done.push(name);
        dir = place.open(&done, flags)?;
    }
    Ok(dir)
}

/// Writes a file under a name of its own, and gives it its own name when all of it is on the disk.
fn write(place: &Place, dir: &OwnedFd, name: &OsStr, mode: u32, from: &mut impl Read) -> Result<u64, Refusal> {
    if let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        && kind_of(&stat) == FileType::Directory
    {
        return Err(is_dir(&place.shown));
    }
    let draft = draft(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, &draft, flags, Mode::from_raw_mode(0o600)).map_err(|e| place.refuse(e))?;
    let filled = (|| {
        let mut buffer = vec![0; 64 << 10];
        let (mut at, file) = (0, File::from(file));
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    file.write_all_at(&buffer[..n], at)?;
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Refusal::from(e)),
            }
        }
        fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
        file.sync_all()?;
        renameat(dir, &draft, dir, name)?;
        Ok(at)
    })();
    filled.inspect_err(|_| {
        let _ = unlinkat(dir, &draft, AtFlags::empty());
    })
}

fn draft(name: &OsStr) -> std::ffi::OsString {
    let mut draft = std::ffi::OsString::from(".");
    // With its own beginning and end it would be too long for a name that is nearly too long.
    draft.push(OsStr::from_bytes(&name.as_bytes()[..name.len().min(200)]));
    draft.push(format!(".wharf-{}", std::process::id()));
    draft
}

/// Unpacks an archive below a directory, which is made where it is not there.
fn unpack<R: Read>(place: &Place, pieces: &mut Pieces<'_, R>) -> Result<(u64, u64), Refusal> {
    make_dirs(place, &place.way)?;
    let (mut files, mut bytes) = (0, 0);
    let mut archive = tar::Archive::new(&mut *pieces);
    for (n, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        if n as u64 >= MOST_ENTRIES {
            return Err(Refusal("archive", format!("more than {MOST_ENTRIES} entries")));
        }
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let bad = |why: &str| Refusal("archive", format!("the entry `{}`: {why}", path.display()));
        let named = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !named {
            return Err(Refusal("outside", format!("the entry `{}` leads out of the directory", path.display())));
        }
        let way: PathBuf =
            place.way.join(path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>());
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            make_dirs(place, &way)?;
            continue;
        }
        let (parent, name) = split(&way).ok_or_else(|| bad("it has no name"))?;
        let dir = make_dirs(place, parent)?;
        if kind.is_file() || kind.is_contiguous() {
            let mode = entry.header().mode().map_err(unreadable)?;
            bytes += write(place, &dir, name, mode | 0o600, &mut entry)?;
        } else if kind.is_symlink() {
            let target = entry.link_name().map_err(unreadable)?.ok_or_else(|| bad("a link without a target"))?;
            link(place, parent, &dir, name, &target)?;
        } else {
            return Err(bad("it is neither a file, a directory nor a symbolic link"));
        }
        files += 1;
    }
    // What is behind the archive's end is not looked at, but all of it has to have come.
    let mut rest = [0; 4096];
    while pieces.read(&mut rest)? > 0 {}
    Ok((files, bytes))
}

fn unreadable(e: io::Error) -> Refusal {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => e.into(),
        _ => Refusal("archive", format!("the archive can't be read: {e}")),
    }
}

/// A link that stays in the workspace: its target is relative and does not climb above the root.
fn link(place: &Place, parent: &Path, dir: &OwnedFd, name: &OsStr, target: &Path) -> Result<(), Refusal> {
    let mut depth = parent.components().filter(|part| matches!(part, Component::Normal(_))).count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let why = format!("the link `{}` to `{}` leads out", name.display(), target.display());
                return Err(outside(&place.shown, &why));
            }
        }
    }
    let draft = draft(name);
    symlinkat(target, dir, &draft).map_err(|e| place.refuse(e))?;
    renameat(dir, &draft, dir, name).map_err(|e| place.refuse(e)).inspect_err(|_| {
        let _ = unlinkat(dir, &draft, AtFlags::empty());
    })
}

#[cfg(test)]
pub(super) fn take_for_test(place: &Place, tar: bool, limit: u64, mut from: &[u8]) -> Result<(u64, u64), Refusal> {
    take(place, tar, limit, &mut from)
}
