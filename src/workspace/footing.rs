//! As whom and where the processes of a workspace run: the same in every container, the user's own on the host.

use super::container::{HOME, USER, WORK};
use crate::tether::client::{HostUser, TetherClient};

const USER_NAME: &str = "agent";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As whom and where the processes of a workspace run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Where they work unless it is said otherwise.
    pub work: String,
    name: String,
    home: String,
    path: String,
}

impl Footing {
    /// What a connected workspace's tether says of it.
    #[must_use]
    pub fn of(client: &TetherClient) -> Self {
        match client.host() {
            None => Self::container(),
            Some(HostUser { uid, gid, user, home, path, directory }) => {
                Self { uid, gid, work: directory, name: user, home, path }
            }
        }
    }

    fn container() -> Self {
        let [work, name, home, path] = [WORK, USER_NAME, HOME, PATH].map(str::to_owned);
        Self { uid: USER, gid: USER, work, name, home, path }
    }

    /// The environment that everything else goes before.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let all = [("HOME", &*self.home), ("USER", &*self.name), ("PATH", &*self.path), ("LANG", "C.UTF-8")];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Where a file lies whose path in a container is this.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        let below =
            |from: &str, to: &str| path.strip_prefix(from)?.strip_prefix('/').map(|rest| format!("{to}/{rest}"));
        below(HOME, &self.home).or_else(|| below(WORK, &self.work)).unwrap_or_else(|| path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_home_and_work() {
        let container = Footing::container();
        assert_eq!(container.place("/home/agent/.x"), "/home/agent/.x");
        let host = Footing { work: "/srv/work".into(), home: "/home/me".into(), ..container };
        assert_eq!(host.place("/home/agent/.codex/auth.json"), "/home/me/.codex/auth.json");
        assert_eq!(host.place("/workspace/.env"), "/srv/work/.env");
        assert_eq!(host.place("/workspaces/x"), "/workspaces/x");
        assert!(host.env().contains(&("HOME".into(), "/home/me".into())));
    }
}
