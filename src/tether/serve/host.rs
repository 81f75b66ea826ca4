//! On a host: as whom tether's processes run, and the directory that they may work in.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{getgid, getuid, setsid};

use super::{launch::DEFAULT_PATH, options::OnHost};
use crate::tether::messages::HostUser;

/// The longest path that is looked at, in bytes.
const LONGEST: usize = 4096;

/// A session of its own: what ends a daemon by its terminal or its process group does not reach the agents. Who is at
/// the head of a process group has come by itself, from a shell or a service manager.
pub(super) fn begin_session() {
    let _ = setsid();
}

/// Who it is, from its own environment or else from the system's list of users.
pub(super) fn user(options: &OnHost) -> Result<HostUser, String> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (name, home) = listed(&users, uid).unwrap_or_else(|| (uid.to_string(), "/".to_owned()));
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    Ok(HostUser {
        uid,
        gid,
        user: variable("USER").unwrap_or(name),
        home: variable("HOME").filter(|home| home.starts_with('/')).unwrap_or(home),
        path: variable("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned()),
        directory: text(root(options)?)?,
    })
}

/// Name and home of a user in `/etc/passwd`.
fn listed(users: &str, uid: u32) -> Option<(String, String)> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, _, _, home, ..] = fields[..] else { return None };
        (number.parse() == Ok(uid)).then(|| (name.to_owned(), home.to_owned()))
    })
}

/// The directory `path` without links, if it lies in the one that processes may work in.
pub(super) fn resolve(options: &OnHost, path: &str) -> Result<String, String> {
    if path.len() > LONGEST || !path.starts_with('/') {
        return Err(format!("it has to be an absolute path of at most {LONGEST} bytes"));
    }
    let root = root(options)?;
    let real = directory(Path::new(path)).map_err(|e| format!("`{path}`: {e}"))?;
    if real.starts_with(&root) {
        return text(real);
    }
    let led = if real == Path::new(path) { String::new() } else { format!(" leads to `{}`, which", real.display()) };
    Err(format!("`{path}`{led} is not in `{}`, where sessions on the host work", root.display()))
}

fn root(options: &OnHost) -> Result<PathBuf, String> {
    let root = &options.directory;
    directory(root).map_err(|e| format!("the directory `{}` where sessions on the host work: {e}", root.display()))
}

fn directory(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.is_dir() { Ok(real) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn text(path: PathBuf) -> Result<String, String> {
    path.into_os_string().into_string().map_err(|path| format!("`{}` is not UTF-8", path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_user_is_found_by_its_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:1000:Me,,,:/home/me:/bin/bash\n";
        assert_eq!(listed(users, 1000), Some(("me".into(), "/home/me".into())));
        assert_eq!(listed(users, 1), None);
    }

    #[test]
    fn what_leads_out_is_told_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (work, out) = (dir.path().join("work"), dir.path().join("workshop"));
        fs::create_dir_all(work.join("a")).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(work.join("file"), "").unwrap();
        symlink("a", work.join("in")).unwrap();
        symlink(&out, work.join("out")).unwrap();
        let options = OnHost { directory: work.clone(), allow: Vec::new() };
        let real = fs::canonicalize(&work).unwrap();
        let resolved = |path: &str| resolve(&options, &format!("{}/{path}", work.display()));
        assert_eq!(resolved("in"), Ok(real.join("a").to_str().unwrap().to_owned()));
        assert_eq!(resolved("."), Ok(real.to_str().unwrap().to_owned()));
        assert!(resolved("out").unwrap_err().contains("workshop"), "{:?}", resolved("out"));
        // Its name begins like the directory's, and it lies beside it.
        for bad in ["../workshop", "..", "file", "missing"] {
            assert!(resolved(bad).is_err(), "{bad}");
        }
        assert!(resolve(&options, "a").is_err());
        assert!(user(&options).unwrap().directory.ends_with("work"));
        let gone = OnHost { directory: dir.path().join("gone"), allow: Vec::new() };
        assert!(user(&gone).unwrap_err().contains("gone"));
    }
}
