//! What an earlier tether on a host has left: where it was killed together with its keepers, nobody ended what they held.
//!
//! Each process of a tether on a host has a variable that names the tether's state directory, and hands it on to what it
//! starts. In a container none is needed: there everything goes with its first process.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::procfs::{self, ProcId};

/// The variable.
const VARIABLE: &str = "WHARF_TETHER";
/// How long ending them may take before it is called a failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between rounds.
const ROUND: Duration = Duration::from_millis(2);

/// The variable that every process of this tether gets.
pub(super) fn variable(state: &Path) -> (String, String) {
    (VARIABLE.to_owned(), state.to_string_lossy().into_owned())
}

/// Ends every process that has the variable, and looks until there is none; to be called with the lock on the state,
/// before anything is started.
pub(super) fn end(state: &Path) -> Result<(), String> {
    let (name, value) = variable(state);
    let entry = format!("{name}={value}").into_bytes();
    let failed = |e: io::Error| format!("can't look for what an earlier tether left: {e}");
    let (until, mut none, mut ended) = (Instant::now() + PATIENCE, 0, HashSet::new());
    // A single look can miss what forks meanwhile.
    while none < 2 {
        let found = marked(&entry).map_err(failed)?;
        if found.is_empty() {
            none += 1;
            continue;
        }
        if Instant::now() >= until {
            let some: Vec<_> = found.iter().take(5).map(|id| id.pid.to_string()).collect();
            return Err(format!("can't end what an earlier tether left: processes {}", some.join(", ")));
        }
        none = 0;
        for signal in [Signal::STOP, Signal::KILL] {
            for &id in &found {
                procfs::signal(id, signal).map_err(failed)?;
            }
        }
        ended.extend(found);
        thread::sleep(ROUND);
    }
    if !ended.is_empty() {
        eprintln!("wharf-tether: ended {} processes that an earlier tether left", ended.len());
    }
    Ok(())
}

fn marked(entry: &[u8]) -> io::Result<HashSet<ProcId>> {
    let me = i32::try_from(process::id()).map_err(io::Error::other)?;
    let mut found = HashSet::new();
    for dir in fs::read_dir("/proc")? {
        let name = dir?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()).filter(|pid| *pid != me) else {
            continue;
        };
        // Before its environment: a later process with the same pid is not taken for it.
        let Some(id) = procfs::identify(pid) else { continue };
        // Other users' can't be read, and are not ours; a dead one has none.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|&b| b == 0).any(|variable| variable == entry) {
            found.insert(id);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_has_the_variable_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let child = |state: &Path| {
            let (name, value) = variable(state);
            Command::new("sleep").arg("60").env(name, value).spawn().unwrap()
        };
        let (mut ours, mut other) = (child(dir.path()), child(&dir.path().join("x")));
        end(dir.path()).unwrap();
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "another tether's is left alone");
        end(&dir.path().join("x")).unwrap();
        assert!(!other.wait().unwrap().success());
    }
}
