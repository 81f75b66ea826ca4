//! Files out of a workspace: one as it is, a directory as a tar archive.

use super::*;

/// How deep directories are followed.
const DEEPEST: usize = 128;

pub(super) fn run(path: &str, tar: bool, limit: u64) -> Result<(), Refusal> {
    let place = Place::find(path)?;
    send(&place, tar, limit, &mut stdout()?)
}

fn send(place: &Place, tar: bool, limit: u64, to: &mut impl Write) -> Result<(), Refusal> {
    // What is no file is not waited for.
    let fd = place.open(&place.way, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let stat = fstat(&fd)?;
    let name = place.way.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
    match kind_of(&stat) {
        FileType::RegularFile if tar => {
            let size = size(&stat);
            check(size, limit)?;
            head(to, "tar", &stat)?;
            let mut archive = Archive::new(to, limit);
            archive.file(&name, File::from(fd), &stat)?;
            archive.end()
        }
        FileType::RegularFile => {
            let size = size(&stat);
            check(size, limit)?;
            head(to, "file", &stat)?;
            // What grows meanwhile is cut; what shrinks is told by its end.
            copy(&mut File::from(fd).take(size), to)
        }
        FileType::Directory => {
            let mut sum = 0;
            walk(&fd, &mut PathBuf::new(), 0, &mut |_, _, stat| {
                sum += if kind_of(stat) == FileType::RegularFile { size(stat) } else { 0 };
                check(sum, limit)
            })?;
            head(to, "tar", &stat)?;
            let mut archive = Archive::new(to, limit);
            archive.entry(fd.as_fd(), Path::new("."), &stat)?;
            walk(&fd, &mut PathBuf::new(), 0, &mut |dir, path, stat| archive.entry(dir, path, stat))?;
            archive.end()
        }
        _ => Err(Refusal("kind", format!("`{}` is neither a file nor a directory", place.shown))),
    }
}

fn head(to: &mut impl Write, kind: &'static str, stat: &Stat) -> Result<(), Refusal> {
    let found = Said::Found { kind, size: size(stat), mtime: mtime(stat), mode: stat.st_mode & 0o7777 };
    let mut line = serde_json::to_vec(&found).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(to.write_all(&line)?)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn mtime(stat: &Stat) -> u64 {
    #[allow(clippy::useless_conversion, reason = "its type differs between machines")]
    u64::try_from(i64::from(stat.st_mtime)).unwrap_or(0)
}

fn check(size: u64, limit: u64) -> Result<(), Refusal> {
    if size <= limit { Ok(()) } else { Err(Refusal("too_large", format!("more than {limit} bytes"))) }
}

/// Not `io::copy`, for the same reason as in `connect`.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Refusal> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Visits what is below a directory, directories before what is in them; each is opened by its name alone in its parent
/// that is held open, and no link is followed.
fn walk(
    dir: &OwnedFd,
    path: &mut PathBuf,
    depth: usize,
    visit: &mut impl FnMut(rustix::fd::BorrowedFd<'_>, &Path, &Stat) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if depth > DEEPEST {
        return Err(Refusal("kind", format!("`{}` is nested too deeply", path.display())));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    for name in names {
        // What has gone meanwhile is not there.
        let Ok(stat) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        path.push(&name);
        visit(dir.as_fd(), path, &stat)?;
        if kind_of(&stat) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(dir, &name, flags, Mode::empty()) {
                Ok(inner) => walk(&inner, path, depth + 1, visit)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e.into()),
            }
        }
        path.pop();
    }
    Ok(())
}

/// A tar archive that is being written.
struct Archive<'a, W: Write> {
    tar: tar::Builder<&'a mut W>,
    left: u64,
}

impl<'a, W: Write> Archive<'a, W> {
    fn new(to: &'a mut W, limit: u64) -> Self {
        Self { tar: tar::Builder::new(to), left: limit }
    }

    fn header(kind: tar::EntryType, stat: &Stat) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o777);
        header.set_mtime(mtime(stat));
        header.set_uid(u64::from(stat.st_uid));
        header.set_gid(u64::from(stat.st_gid));
        header.set_size(0);
        header
    }

    fn entry(&mut self, dir: rustix::fd::BorrowedFd<'_>, path: &Path, stat: &Stat) -> Result<(), Refusal> {
        let name = path.file_name().unwrap_or(OsStr::new("."));
        match kind_of(stat) {
            FileType::Directory => {
                let mut header = Self::header(tar::EntryType::Directory, stat);
                Ok(self.tar.append_data(&mut header, path, io::empty())?)
            }
            FileType::Symlink => {
                let Ok(target) = rustix::fs::readlinkat(dir, name, Vec::new()) else { return Ok(()) };
                let mut header = Self::header(tar::EntryType::Symlink, stat);
                Ok(self.tar.append_link(&mut header, path, OsStr::from_bytes(target.to_bytes()))?)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match openat(dir, name, flags, Mode::empty()) {
                    Ok(file) => {
                        let stat = fstat(&file)?;
                        if kind_of(&stat) == FileType::RegularFile {
                            self.file(path, File::from(file), &stat)?;
                        }
                        Ok(())
                    }
                    Err(Errno::NOENT | Errno::LOOP) => Ok(()),
                    Err(e) => Err(Refusal::from(e)),
                }
            }
            // Pipes, sockets and devices mean nothing elsewhere.
            _ => Ok(()),
        }
    }

    /// As many bytes as were announced, whatever becomes of the file.
    fn file(&mut self, path: &Path, file: File, stat: &Stat) -> Result<(), Refusal> {
        let size = size(stat);
        check(size, self.left)?;
        self.left -= size;
        let mut header = Self::header(tar::EntryType::Regular, stat);
        header.set_size(size);
        Ok(self.tar.append_data(&mut header, path, file.take(size).chain(io::repeat(0)).take(size))?)
    }

    fn end(mut self) -> Result<(), Refusal> {
        Ok(self.tar.finish()?)
    }
}

#[cfg(test)]
pub(super) fn send_for_test(place: &Place, tar: bool, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    send(place, tar, limit, &mut out).map(|()| out)
}
