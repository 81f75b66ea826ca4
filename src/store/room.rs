//! Whether the disk has room. It is asked before anything is begun, because a write that fails half way ends the store.

use std::path::{Path, PathBuf};

use super::StoreError;

/// The disk that a store lies on, and how much of it is kept free.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    reserve: u64,
}

impl Room {
    pub(super) fn new(dir: &Path, reserve: u64) -> Self {
        Self { dir: dir.to_owned(), reserve }
    }

    /// Whether something new may be begun.
    ///
    /// # Errors
    /// `Full`.
    pub(super) fn to_begin(&self) -> Result<(), StoreError> {
        self.at_least(self.reserve)
    }

    /// Whether what has begun can be written on: half of what is kept free is for that.
    ///
    /// # Errors
    /// `Full`.
    pub(super) fn to_go_on(&self) -> Result<(), StoreError> {
        self.at_least(self.reserve / 2)
    }

    fn at_least(&self, wanted: u64) -> Result<(), StoreError> {
        // A file system that does not tell is written to until it refuses.
        match rustix::fs::statvfs(&self.dir) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < wanted => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                Err(StoreError::Full { dir: self.dir.clone(), free, reserve: self.reserve })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_may_use_half_of_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let disk = rustix::fs::statvfs(dir.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        assert_eq!(Room::new(dir.path(), 0).to_begin(), Ok(()));
        let tight = Room::new(dir.path(), free / 2 * 3);
        assert!(matches!(tight.to_begin(), Err(StoreError::Full { .. })));
        assert_eq!(tight.to_go_on(), Ok(()));
        let full = Room::new(dir.path(), free * 4);
        let told = full.to_go_on().unwrap_err().to_string();
        assert!(told.contains(dir.path().to_str().unwrap()) && told.contains("MiB"), "{told}");
    }
}
