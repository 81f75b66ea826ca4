//! A small disk of the tests' own that can be filled: a file, and the loop device over it.

use std::process::Command;

/// What it holds, in bytes.
const SIZE: u64 = 8 << 20;

/// A small disk of the tests' own: a file, and the loop device over it.
pub struct Disk {
    _dir: tempfile::TempDir,
    /// Its loop device.
    pub device: String,
}

impl Disk {
    /// Makes one, with a file system on it.
    pub fn make() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("wharf-disk-").tempdir().map_err(|e| e.to_string())?;
        let image = dir.path().join("image");
        let file = std::fs::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(SIZE).map_err(|e| e.to_string())?;
        let image = image.to_string_lossy().into_owned();
        // Small blocks, so that even a directory needs a new one; none is root's own.
        output("mkfs.ext4", &["-q", "-b", "1024", "-m", "0", &image])?;
        let device = output("losetup", &["--find", "--show", &image])?;
        Ok(Self { _dir: dir, device })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(why) = output("losetup", &["--detach", &self.device]) {
            eprintln!("the loop device of the tests is left: {why}");
        }
    }
}

fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(args).output().map_err(|e| format!("{program}, as root: {e}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    } else {
        Err(format!("{program}, as root: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}
