//! Finds the daemon and the token: what was said, else the user's place, else the system's.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::SecretString;

use super::failure::Failure;
use crate::config::{self, SYSTEM_SOCKET, SYSTEM_STATE_DIR};

/// Where the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(Url),
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Host {
    /// `unix:///PATH`, a bare absolute path, or `http://127.0.0.1:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Err(Failure::usage(format!("--host {text}: {why}")));
        if let Some(path) = text.strip_prefix("unix://").or(text.starts_with('/').then_some(text)) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { wrong("needs an absolute path") };
        }
        let Ok(url) = Url::parse(text) else { return wrong("is not unix:///PATH or http://127.0.0.1:PORT") };
        if url.scheme() != "http" {
            return wrong("is not unix:///PATH or http://127.0.0.1:PORT");
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if local { Ok(Self::Tcp(url)) } else { wrong("would send the token in clear; use an SSH tunnel to the socket") }
    }

    /// The daemon that was named, else the first of the usual sockets that answers.
    pub(super) fn find(named: Option<&str>) -> Result<Self, Failure> {
        if let Some(text) = named.filter(|text| !text.is_empty()) {
            return Self::parse(text);
        }
        let (mut tried, mut away) = (Vec::new(), None);
        for path in usual_sockets() {
            match UnixStream::connect(&path) {
                Ok(_) => return Ok(Self::Unix(path)),
                Err(e) => {
                    tried.push(format!("{} ({})", path.display(), reason(&e)));
                    if e.kind() == io::ErrorKind::ConnectionRefused {
                        away.get_or_insert(path);
                    }
                }
            }
        }
        // One that was there may be on its way back: the command decides whether it waits.
        if let Some(path) = away {
            return Ok(Self::Unix(path));
        }
        let message = format!("no daemon answers on {}", tried.join(" or "));
        Err(Failure::unreachable(message).hint("start one with `wharf daemon`, or name one with --host or WHARF_HOST"))
    }

    /// As people write it.
    pub(super) fn display(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp(url) => url.as_str().trim_end_matches('/').to_owned(),
        }
    }
}

fn reason(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::NotFound => "there is no such socket",
        io::ErrorKind::ConnectionRefused => "nobody listens",
        io::ErrorKind::PermissionDenied => "permission denied: you are not in its group",
        _ => "it can't be connected to",
    }
}

fn usual_sockets() -> Vec<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    let state = env("WHARF_STATE_DIR").map(PathBuf::from).or_else(|| config::default_state_dir(&env, root).ok());
    let ours = state.map(|state| config::default_socket(&env, root, &state));
    let mut sockets: Vec<PathBuf> = env("WHARF_SOCKET").map(PathBuf::from).or(ours).into_iter().collect();
    if !sockets.iter().any(|socket| socket == Path::new(SYSTEM_SOCKET)) {
        sockets.push(SYSTEM_SOCKET.into());
    }
    sockets
}

/// `WHARF_TOKEN`; else, for TCP, what lies in the user's or the system's state directory. The socket needs none.
pub(super) fn token(host: &Host) -> Option<SecretString> {
    if let Some(token) = env("WHARF_TOKEN") {
        return Some(token.into());
    }
    if matches!(host, Host::Unix(_)) {
        return None;
    }
    let root = rustix::process::geteuid().is_root();
    let ours = env("WHARF_STATE_DIR").map(PathBuf::from).or_else(|| config::default_state_dir(&env, root).ok());
    let dirs = ours.into_iter().chain([PathBuf::from(SYSTEM_STATE_DIR)]);
    dirs.map(|dir| dir.join("token")).find_map(|path| {
        let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
        (!token.is_empty()).then(|| token.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_sockets_or_loopback() {
        assert_eq!(Host::parse("unix:///run/x.sock").unwrap(), Host::Unix("/run/x.sock".into()));
        assert_eq!(Host::parse("/run/x.sock").unwrap(), Host::Unix("/run/x.sock".into()));
        for ok in ["http://127.0.0.1:7717", "http://localhost:1/", "http://[::1]:7717"] {
            assert!(matches!(Host::parse(ok).unwrap(), Host::Tcp(_)), "{ok}");
        }
        for bad in
            ["unix://x", "http://example.org:80", "https://127.0.0.1", "ftp://x", "nonsense", "tcp://127.0.0.1:1"]
        {
            assert_eq!(Host::parse(bad).unwrap_err().exit(), 2, "{bad}");
        }
    }
}
