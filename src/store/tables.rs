//! Checks the lists of fjall's tables before fjall is opened: it does not compare them with the checksum that it keeps
//! of them, and removes every table that is not in the list.

use std::{fs, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use super::StoreError;

/// Checks the list of every part of the log at `dir`; writes nothing.
pub(super) fn check(dir: &Path) -> Result<(), StoreError> {
    let parts = dir.join("keyspaces");
    for entry in fs::read_dir(&parts).map_err(|e| StoreError::io(&parts, &e))? {
        let part = entry.map_err(|e| StoreError::io(&parts, &e))?.path();
        if part.is_dir() {
            list(&part)?;
        }
    }
    Ok(())
}

/// `current` holds the number of the list's file, the checksum of that file and the kind of the checksum.
fn list(part: &Path) -> Result<(), StoreError> {
    let current = part.join("current");
    let bytes = fs::read(&current).map_err(|e| StoreError::unreadable(&current, e))?;
    let (Some(number), Some(expected), [0]) = (
        bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n)),
        bytes.get(8..).and_then(|rest| rest.first_chunk::<16>()).map(|n| u128::from_le_bytes(*n)),
        bytes.get(24..).unwrap_or_default(),
    ) else {
        return Err(StoreError::unreadable(current, "it is damaged"));
    };
    let list = part.join(format!("v{number}"));
    let bytes = fs::read(&list).map_err(|e| StoreError::unreadable(&list, e))?;
    if xxh3_128(&bytes) == expected {
        Ok(())
    } else {
        Err(StoreError::unreadable(list, "it is damaged: its checksum does not match"))
    }
}
