//! What tests see and break of the registry's syncs, and break of the witness.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Records which files are synced, and fails a sync or the witness on request.
#[derive(Default)]
pub(super) struct Faults {
    synced: Mutex<Vec<u64>>,
    fail: AtomicBool,
    fail_witness: AtomicBool,
}

impl Faults {
    /// The inodes of the files that were synced, in order.
    pub(super) fn synced(&self) -> Vec<u64> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the next sync fail.
    pub(super) fn fail_next(&self) {
        self.fail.store(true, Ordering::SeqCst);
    }

    /// Makes the next setting of the witness fail, after everything was synced.
    pub(super) fn fail_next_witness(&self) {
        self.fail_witness.store(true, Ordering::SeqCst);
    }

    pub(super) fn before_witness(&self) -> std::io::Result<()> {
        if self.fail_witness.swap(false, Ordering::SeqCst) {
            return Err(std::io::Error::other("read-only file system, made by a test"));
        }
        Ok(())
    }

    pub(super) fn before_sync(&self, file: &File) -> std::io::Result<()> {
        if self.fail.swap(false, Ordering::SeqCst) {
            return Err(std::io::Error::other("input/output error, made by a test"));
        }
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).push(file.metadata()?.ino());
        Ok(())
    }
}
