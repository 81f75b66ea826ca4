//! What of the engine's machine may be shown in workspaces: only what the operator's configuration names.

use std::path::{Component, Path};

use super::{
    WorkspaceError,
    container::{HOME, WORK},
};
use crate::{domain::ExtraMount, engine::Endpoint};

/// A directory or file that may be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedMount {
    /// Its path on the engine's machine, absolute.
    pub host: String,
    /// Whether it can only be mounted for reading.
    pub read_only: bool,
}

/// The most of one workspace.
const MOST: usize = 16;
/// What is tether's or the system's own.
const TAKEN: [&str; 13] = [
    "/opt/wharf",
    "/var/lib/wharf",
    "/run",
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/tmp",
];

/// Checks what a spec asks for. The path has to be the allowed one, not below it: a link that an agent puts into a
/// mounted directory would be followed by the engine.
pub(super) fn check(wanted: &[ExtraMount], allowed: &[AllowedMount], engine: &Endpoint) -> Result<(), WorkspaceError> {
    let invalid = |message: String| Err(WorkspaceError::Invalid { field: "mounts", message });
    if wanted.len() > MOST {
        return invalid(format!("at most {MOST}"));
    }
    for (n, mount) in wanted.iter().enumerate() {
        let shown: String = mount.host.chars().take(200).collect();
        let Some(rule) = allowed.iter().find(|allowed| allowed.host == mount.host) else {
            return invalid(format!(
                "`{shown}` is not allowed here: the operator allows it with `[[mounts]]` and `host = \"{shown}\"`"
            ));
        };
        if rule.read_only && !mount.read_only {
            return invalid(format!("`{shown}` may only be mounted with `read_only`"));
        }
        if shows_engine(&mount.host, engine) {
            return invalid(format!("`{shown}` holds the engine's socket, which would give the machine away"));
        }
        let path: String = mount.path.chars().take(200).collect();
        if !is_free(&mount.path) || wanted[..n].iter().any(|other| other.path == mount.path) {
            return invalid(format!(
                "`{path}` is no place for it: an absolute path without `.` and `..`, once, that is not the system's, \
                 such as /mnt/NAME"
            ));
        }
    }
    Ok(())
}

fn is_free(path: &str) -> bool {
    let normal = path.starts_with('/')
        && path.len() <= 256
        && !path.ends_with('/')
        && !path.contains("//")
        && !path.chars().any(char::is_control)
        && Path::new(path).components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !path.split('/').any(|part| part == ".");
    let taken = TAKEN.iter().any(|taken| Path::new(path).starts_with(taken));
    // A mount above a volume would hide it.
    let above = [WORK, HOME].iter().any(|volume| Path::new(volume).starts_with(path));
    normal && !taken && !above
}

fn shows_engine(host: &str, engine: &Endpoint) -> bool {
    let Endpoint::Unix(socket) = engine else { return false };
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(socket).starts_with(real(Path::new(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_mounted_and_only_where_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine/docker.sock");
        std::fs::create_dir(socket.parent().unwrap()).unwrap();
        std::fs::write(&socket, "").unwrap();
        let engine = Endpoint::Unix(socket.clone());
        let allow = |host: &str, read_only| AllowedMount { host: host.to_owned(), read_only };
        let all = dir.path().to_str().unwrap();
        let allowed = [allow("/srv/cache", true), allow("/srv/out", false), allow(all, true)];
        let check = |host: &str, path: &str, read_only| {
            check(&[ExtraMount { host: host.into(), path: path.into(), read_only }], &allowed, &engine).is_ok()
        };
        assert!(check("/srv/cache", "/mnt/cache", true) && check("/srv/out", "/workspace/out", false));
        assert!(!check("/srv/cache", "/mnt/cache", false), "for reading only");
        for host in ["/srv", "/srv/cache/x", "/srv/cache/", "/srv/cache/../x", "/"] {
            assert!(!check(host, "/mnt/x", true), "{host}");
        }
        for path in
            ["/", "mnt", "/mnt/../etc", "/mnt//x", "/mnt/./x", "/mnt/", "/opt/wharf", "/run/x", "/workspace", "/home"]
        {
            assert!(!check("/srv/cache", path, true), "{path}");
        }
        assert!(!check(all, "/mnt/x", true), "the engine's socket is in it");
        let twice = ExtraMount { host: "/srv/cache".into(), path: "/mnt/x".into(), read_only: true };
        assert!(super::check(&[twice.clone(), twice], &allowed, &engine).is_err());
    }
}
