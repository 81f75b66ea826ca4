//! The engine, asked by its own command line.

use std::process::Command;

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
