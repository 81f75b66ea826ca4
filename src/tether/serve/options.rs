//! What `serve` is told on its command line.

use std::path::PathBuf;

/// The options of `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the journal is.
    pub(super) state: PathBuf,
    /// The socket for `connect`.
    pub(super) socket: PathBuf,
    /// A socket in a directory of the host's.
    pub(super) host_socket: Option<PathBuf>,
    /// A directory in memory for files that processes find.
    pub(super) files: Option<PathBuf>,
    /// On a host instead of in a container.
    pub(super) host: Option<OnHost>,
    /// Directories to make and give away.
    pub(super) own: Vec<Own>,
    /// The most bytes of a stream that may wait for an acknowledgement.
    pub(super) journal_limit: u64,
}

/// What a tether is told that is not a container's first process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnHost {
    /// Where processes have to work.
    pub(super) directory: PathBuf,
    /// Who may connect beside root and its own user.
    pub(super) allow: Vec<u32>,
}

/// A directory and whom it is to belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) path: PathBuf,
}

impl Options {
    /// Reads them, or says what is wrong.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let (mut state, mut socket, mut host_socket, mut files) = (None, None, None, None);
        let (mut own, mut journal_limit) = (Vec::new(), 64 << 20);
        let (mut directory, mut allow) = (None, Vec::new());
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("`{flag}` needs a value"));
            match flag.as_str() {
                "--state" => state = Some(absolute(flag, value()?)?),
                "--socket" => socket = Some(absolute(flag, value()?)?),
                "--host-socket" => host_socket = Some(absolute(flag, value()?)?),
                "--host" => directory = Some(absolute(flag, value()?)?),
                "--allow" => {
                    let text = value()?;
                    allow.push(text.parse().map_err(|_| format!("`--allow {text}`: not a user's number"))?);
                }
                "--files" => files = Some(absolute(flag, value()?)?),
                "--own" => own.push(Own::parse(value()?)?),
                "--journal-limit" => {
                    let text = value()?;
                    let limit = text.parse().ok().filter(|limit| *limit > 0);
                    journal_limit = limit.ok_or_else(|| format!("`--journal-limit {text}`: not a number of bytes"))?;
                }
                _ => return Err(format!("serve does not know `{flag}`")),
            }
        }
        if directory.is_none() && !allow.is_empty() {
            return Err("`--allow` goes with `--host DIR`".to_owned());
        }
        Ok(Self {
            state: state.ok_or("serve needs `--state DIR`")?,
            socket: socket.ok_or("serve needs `--socket PATH`")?,
            host_socket,
            host: directory.map(|directory| OnHost { directory, allow }),
            files,
            own,
            journal_limit,
        })
    }
}

impl Own {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`--own {text}`: not of the form UID:GID:/PATH");
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next()?.parse::<u32>().ok();
        let (uid, gid) = (number().ok_or_else(wrong)?, number().ok_or_else(wrong)?);
        let path = parts.next().ok_or_else(wrong)?;
        Ok(Self { uid, gid, path: absolute("--own", path)? })
    }
}

fn absolute(flag: &str, path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err(format!("`{flag} {}`: the path must be absolute", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn good_ones_are_read() {
        let options = parse("--state /s --socket /t/s --own 1000:1001:/w:x --own 0:0:/h --journal-limit 9").unwrap();
        assert_eq!(options.own[0], Own { uid: 1000, gid: 1001, path: "/w:x".into() });
        assert_eq!((options.own.len(), options.journal_limit, options.host_socket), (2, 9, None));
        let host = parse("--state /s --socket /t/s --host /d --allow 7 --allow 8").unwrap().host.unwrap();
        assert_eq!(host, OnHost { directory: "/d".into(), allow: vec![7, 8] });
    }

    #[test]
    fn bad_ones_are_named() {
        for (line, says) in [
            ("--state /s", "--socket"),
            ("--state s --socket /x", "absolute"),
            ("--state", "value"),
            ("--state /s --socket /x --own 1:2", "UID:GID"),
            ("--state /s --socket /x --own a:2:/x", "UID:GID"),
            ("--state /s --socket /x --journal-limit 0", "number"),
            ("--state /s --socket /x --host d", "absolute"),
            ("--state /s --socket /x --host /d --allow root", "number"),
            ("--state /s --socket /x --allow 1", "--host"),
            ("--what", "--what"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
