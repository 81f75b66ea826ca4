//! File systems that are there for a test: mounted, and unmounted whatever becomes of it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::api::until;

/// Runs a program that must work.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    run_with(program, args, Stdio::null())
}

fn run_with(program: &str, args: &[&str], stdin: Stdio) -> Result<String, String> {
    let output = Command::new(program).args(args).stdin(stdin).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Something that is mounted; dropped, it is not. Where it is not any more, its place is empty.
pub struct Mount(PathBuf);

/// Mounts at a place; `args` are those of `mount` without it.
pub fn mount(args: &[&str], at: &Path, stdin: Stdio) -> Result<Mount, String> {
    let place = at.to_string_lossy();
    run_with("mount", &[args, &[&*place]].concat(), stdin)?;
    Ok(Mount(at.to_owned()))
}

/// Mounts the file system in a file at a directory. The loop device goes with the mount.
pub fn mount_image(image: &Path, at: &Path) -> Result<Mount, String> {
    mount(&["-o", "loop", &image.to_string_lossy()], at, Stdio::null())
}

impl Mount {
    /// Unmounts it for good: whoever looks at what is below it may not do so while it is still in use.
    pub async fn take_down(mut self) -> Result<(), String> {
        let at = std::mem::take(&mut self.0);
        until("the end of a mount", async || run("umount", &[&at.to_string_lossy()]).map(drop)).await
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        let at = self.0.to_string_lossy();
        if let Err(busy) = run("umount", &[&at]) {
            // It goes as soon as nobody is in it any more.
            if run("umount", &["--lazy", &at]).is_err() {
                eprintln!("{busy}");
            }
        }
    }
}

/// Gives this thread, and what it starts, mounts of its own: they end with the last of them.
pub fn private() -> Result<(), String> {
    #[expect(deprecated, reason = "what can be unsound is to unshare descriptors, and those stay shared")]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).map_err(|e| format!("mounts of its own: {e}"))?;
    run("mount", &["--make-rprivate", "/"])?;
    // What others have mounted for their tests would stay in use as long as it is here, too.
    while let Some(at) = of_tests()? {
        if let Err(why) = run("umount", &["--lazy", &at])
            && of_tests()?.as_ref() == Some(&at)
        {
            return Err(why);
        }
    }
    Ok(())
}

/// A mount of any test that this thread sees. One may go by itself: with the one that it is in, or when its test ends.
fn of_tests() -> Result<Option<String>, String> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").map_err(|e| e.to_string())?;
    let dirs = [PathBuf::from("/dev/shm"), std::env::temp_dir()].map(|dir| dir.join("wharf-"));
    let is_of_test = |at: &&str| dirs.iter().any(|dir| at.starts_with(&*dir.to_string_lossy()));
    Ok(mounts.lines().filter_map(|line| line.split(' ').nth(1)).find(is_of_test).map(str::to_owned))
}

/// What a test that mounts needs; an error says in words what is missing.
pub fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it mounts file systems over loop devices, which takes root".to_owned());
    }
    let there = |path: &str| Path::new(path).exists().then_some(()).ok_or(format!("there is no {path} here"));
    there("/dev/loop-control")?;
    run("mkfs.ext4", &["-V"]).map(drop)
}
