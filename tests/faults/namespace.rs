//! Networks of the tests' own: two namespaces with one link between them, which go with the program that made them.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The engine's address, and the daemon's.
const ADDRESSES: [&str; 2] = ["10.213.97.1", "10.213.97.2"];
/// What the link is called at the engine's end, and at the daemon's.
const LINKS: [&str; 2] = ["engine0", "daemon0"];

/// A network namespace, which lives as long as the process that holds it: and that ends when this program does.
struct Namespace(Child);

impl Namespace {
    fn make() -> Result<Self, String> {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let made = Self(holder.spawn().map_err(|e| format!("unshare: {e}"))?);
        let ours = std::fs::read_link("/proc/self/ns/net").map_err(|e| e.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if std::fs::read_link(made.path()).is_ok_and(|theirs| theirs != ours) {
                made.run(&["ip", "link", "set", "lo", "up"])?;
                return Ok(made);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("no network namespace can be made here".to_owned())
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// What runs a program in it, in the place of a program's name.
    fn under(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.path())]
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        let under = self.under();
        let done = Command::new(&under[0]).args(&under[1..]).args(words).stdin(Stdio::null()).output();
        match done {
            Ok(done) if done.status.success() => Ok(()),
            Ok(done) => Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim())),
            Err(e) => Err(format!("{}: {e}", words.join(" "))),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How the link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What goes to the engine is dropped.
    There,
    /// What comes from the engine is dropped.
    Back,
    /// Both.
    Silent,
    /// The engine's end is down.
    Down,
}

/// A network with an engine at one end and a daemon at the other.
pub struct Network([Namespace; 2]);

impl Network {
    pub fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("networks of the tests' own need root: sudo make faults".to_owned());
        }
        let ends = [Namespace::make()?, Namespace::make()?];
        let holder = ends[1].0.id().to_string();
        let peer = ["peer", "name", LINKS[1], "netns", &holder];
        ends[0].run(&[&["ip", "link", "add", LINKS[0], "type", "veth"], &peer[..]].concat())?;
        for (n, end) in ends.iter().enumerate() {
            end.run(&["ip", "address", "add", &format!("{}/30", ADDRESSES[n]), "dev", LINKS[n]])?;
            end.run(&["ip", "link", "set", LINKS[n], "up"])?;
        }
        Ok(Self(ends))
    }

    /// What runs a program at the engine's end.
    pub fn under_engine(&self) -> Vec<String> {
        self.0[0].under()
    }

    /// What runs a program at the daemon's end.
    pub fn under_daemon(&self) -> Vec<String> {
        self.0[1].under()
    }

    /// Where an engine at its end listens.
    pub fn address() -> String {
        format!("tcp://{}:2375", ADDRESSES[0])
    }

    /// Cuts the link.
    pub fn cut(&self, cut: Cut) -> Result<(), String> {
        self.switch(cut, "-A", "down")
    }

    /// Makes it whole again.
    pub fn heal(&self, cut: Cut) -> Result<(), String> {
        self.switch(cut, "-D", "up")
    }

    fn switch(&self, cut: Cut, rule: &str, link: &str) -> Result<(), String> {
        let drop = |end: usize| self.0[end].run(&["iptables", rule, "INPUT", "-i", LINKS[end], "-j", "DROP"]);
        match cut {
            Cut::There => drop(0),
            Cut::Back => drop(1),
            Cut::Silent => drop(0).and_then(|()| drop(1)),
            Cut::Down => self.0[0].run(&["ip", "link", "set", LINKS[0], link]),
        }
    }

    /// Resets all connections, at the daemon's end or at the engine's.
    pub fn reset(&self, at_the_engine: bool) -> Result<(), String> {
        let (end, peer) = if at_the_engine { (0, ADDRESSES[1]) } else { (1, ADDRESSES[0]) };
        self.0[end].run(&["ss", "--kill", "--tcp", "dst", peer])
    }
}
