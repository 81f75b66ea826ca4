//! The engine, asked by its own command line, and cleared of what the tests made in it.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Runs `docker` with these arguments; its output, or what went wrong.
pub fn docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// As `docker`, where it must work.
pub fn docker_ok(args: &[&str]) -> String {
    docker(args).unwrap_or_else(|e| panic!("docker {}: {e}", args.join(" ")))
}

/// Removes what a daemon of the tests made.
pub fn clean(instance: &str) {
    let filter = format!("label=wharf.instance={instance}");
    for id in docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default().lines() {
        let _ = docker(&["rm", "-f", "-v", id]);
    }
    for id in docker(&["volume", "ls", "-q", "--filter", &filter]).unwrap_or_default().lines() {
        let _ = docker(&["volume", "rm", "-f", id]);
    }
}

/// The volumes with tether belong to no daemon: all daemons of a version share one. The last test of a program removes
/// those that its first did not find.
#[derive(Debug)]
pub struct TetherVolumes(());

/// How many tests are at it, and what was there before the first.
static USERS: Mutex<(usize, Vec<String>)> = Mutex::new((0, Vec::new()));

impl TetherVolumes {
    /// To be held by every daemon of the tests, for as long as it may fill one.
    pub fn hold() -> Self {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        if users.0 == 0 {
            users.1 = list();
        }
        users.0 += 1;
        Self(())
    }
}

impl Drop for TetherVolumes {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        users.0 -= 1;
        if users.0 == 0 {
            for name in list().iter().filter(|name| !users.1.contains(name)) {
                // One that somebody else's container uses is refused, and not ours to remove any more.
                let _ = docker(&["volume", "rm", name]);
            }
        }
    }
}

fn list() -> Vec<String> {
    let names = docker(&["volume", "ls", "-q", "--filter", "label=wharf.tether"]).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}
