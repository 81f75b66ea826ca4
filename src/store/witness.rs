//! The witness: which commits were acknowledged, so that a log or a registry that lost its end is noticed.
//!
//! Written after the sync of each group and before anyone is told, without a sync of its own: after a power cut it may
//! lag behind, but it never runs ahead of what is durable. One that can't be read witnesses nothing.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::StoreError;

/// The last acknowledged commits of the log and of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    pub(super) log: u64,
    pub(super) registry: u64,
}

const LEN: usize = 24;
const MAGIC: [u8; 4] = *b"whf1";

impl Commits {
    fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..12].copy_from_slice(&self.log.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.registry.to_be_bytes());
        let sum = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; LEN]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk::<8>().map(|n| u64::from_be_bytes(*n));
        let sum = bytes.last_chunk::<4>().map(|n| u32::from_be_bytes(*n))?;
        let whole = bytes[..4] == MAGIC && sum == crc32fast::hash(&bytes[..20]);
        whole.then_some(Self { log: number(4)?, registry: number(12)? })
    }
}

/// The witness's file.
pub(super) struct Witness(File);

impl Witness {
    /// What was acknowledged, as far as the file tells.
    pub(super) fn read(path: &Path) -> Option<Commits> {
        let mut bytes = [0; LEN];
        File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).ok()?;
        Commits::decode(bytes)
    }

    /// Opens the file for writing.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        file.map(Self).map_err(|e| StoreError::io(path, &e))
    }

    /// Sets what is acknowledged.
    pub(super) fn set(&self, commits: Commits) -> std::io::Result<()> {
        self.0.write_all_at(&commits.encode(), 0)
    }

    /// Makes it durable, when the store is closed.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_that_was_changed_witnesses_nothing() {
        let commits = Commits { log: 7, registry: u64::MAX };
        let bytes = commits.encode();
        assert_eq!(Commits::decode(bytes), Some(commits));
        for at in 0..LEN {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Commits::decode(changed), None, "byte {at}");
        }
    }
}
