//! The processes that /proc shows, as trees, and signals that reach the right one of them.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A process, told apart from a later one with the same pid by the time it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProcId {
    pub(super) pid: i32,
    /// In clock ticks since boot.
    start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    id: ProcId,
    parent: i32,
    /// Nothing of it can run any more.
    dead: bool,
}

/// All processes at about one moment. What forks while it is taken may be missed: take it again.
#[derive(Debug)]
pub(super) struct Snapshot {
    entries: Vec<Entry>,
    children: HashMap<i32, Vec<usize>>,
}

impl Snapshot {
    pub(super) fn take() -> io::Result<Self> {
        let mut entries = Vec::new();
        for dir in fs::read_dir("/proc")? {
            let name = dir?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            // One that has gone meanwhile is no error.
            entries.extend(read(pid));
        }
        let mut children: HashMap<i32, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            children.entry(entry.parent).or_default().push(index);
        }
        Ok(Self { entries, children })
    }

    /// All that descends from `roots`, without these, and without `except` and what descends from that.
    pub(super) fn descendants(&self, roots: &[i32], except: &HashSet<i32>) -> HashSet<ProcId> {
        let (mut found, mut todo) = (HashSet::new(), roots.to_vec());
        while let Some(parent) = todo.pop() {
            for &index in self.children.get(&parent).into_iter().flatten() {
                let entry = &self.entries[index];
                if except.contains(&entry.id.pid) {
                    continue;
                }
                todo.push(entry.id.pid);
                if !entry.dead {
                    found.insert(entry.id);
                }
            }
        }
        found
    }
}

/// The process that has this pid now.
pub(super) fn identify(pid: i32) -> Option<ProcId> {
    read(pid).map(|entry| entry.id)
}

fn read(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything, parentheses and spaces too: fields are counted from behind the last one.
fn parse(pid: i32, stat: &[u8]) -> Option<Entry> {
    let behind = stat.iter().rposition(|&b| b == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace().collect();
    // Field 3 of proc(5) is the first here.
    let field = |n: usize| fields.get(n - 3).copied();
    let threads: u32 = field(20)?.parse().ok()?;
    // A leader that ended before its threads is a zombie with threads left.
    let dead = matches!(field(3)?, "Z" | "X" | "x") && threads <= 1;
    Some(Entry { id: ProcId { pid, start: field(22)?.parse().ok()? }, parent: field(4)?.parse().ok()?, dead })
}

/// Sends `signal` to this very process; one that is gone is no error.
pub(super) fn signal(id: ProcId, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(id.pid) else { return Ok(()) };
    let sent = match pidfd_open(pid, PidfdFlags::empty()) {
        // The pidfd holds on to one process: if that is the right one now, it stays the right one.
        Ok(fd) if identify(id.pid) == Some(id) => pidfd_send_signal(&fd, signal),
        Ok(_) => return Ok(()),
        // Older engines' system call filters don't know it.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if identify(id.pid) == Some(id) => {
            kill_process(pid, signal)
        }
        Err(e) => Err(e),
    };
    match sent {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, state: &str, threads: u32) -> String {
        format!("7 ({name}) {state} 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0 0")
    }

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let entry = parse(7, stat("x) Z 1 1 (", "S", 1).as_bytes()).unwrap();
        assert_eq!(entry, Entry { id: ProcId { pid: 7, start: 99 }, parent: 3, dead: false });
    }

    #[test]
    fn a_zombie_with_threads_is_alive() {
        assert!(parse(7, stat("x", "Z", 1).as_bytes()).unwrap().dead);
        assert!(!parse(7, stat("x", "Z", 2).as_bytes()).unwrap().dead);
        assert_eq!(parse(7, b"7 (x"), None);
        assert_eq!(parse(7, b"7 (x) S 1"), None);
    }

    #[test]
    fn this_process_is_a_descendant_of_its_parent() {
        let me = i32::try_from(std::process::id()).unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        let all = Snapshot::take().unwrap();
        assert!(all.descendants(&[parent], &HashSet::new()).contains(&identify(me).unwrap()));
        assert!(!all.descendants(&[parent], &HashSet::from([me])).contains(&identify(me).unwrap()));
    }

    #[test]
    fn a_signal_for_an_earlier_process_with_the_pid_reaches_nobody() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = identify(i32::try_from(child.id()).unwrap()).unwrap();
        signal(ProcId { start: id.start + 1, ..id }, Signal::KILL).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        signal(id, Signal::KILL).unwrap();
        assert!(!child.wait().unwrap().success());
        signal(id, Signal::KILL).unwrap();
    }
}
