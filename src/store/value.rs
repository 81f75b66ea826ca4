//! Values on disk: a version byte, then JSON; a run keeps its bytes as they are.

use std::path::Path;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::StoreError;
use crate::domain::Run;

/// The version of every kind of value that this code writes and the newest that it reads.
pub(super) const VERSION: u8 = 1;

/// The most bytes of a registry value: sled 0.34 never syncs what it moves to a file of its own, and a leaf holds up to
/// 16 entries and must stay under a quarter of a segment (4 MiB).
pub(super) const REGISTRY_LIMIT: usize = 16 * 1024;

/// The most bytes of a log value.
pub(super) const LOG_LIMIT: usize = 64 * 1024 * 1024;

/// Encodes a record.
pub(super) fn encode<T: Serialize>(what: impl Fn() -> String, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![VERSION];
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => Ok(bytes),
        Err(e) => Err(StoreError::Invalid { what: what(), why: e.to_string() }),
    }
}

/// The value without its version; `path` is named when it can't be read.
pub(super) fn unversioned<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((&found, _)) if found > VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), found: found.into(), known: VERSION.into() })
        }
        _ => Err(StoreError::unreadable(path, "a record has no version")),
    }
}

/// Decodes a record.
pub(super) fn decode<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    let json = unversioned(path, bytes)?;
    serde_json::from_slice(json).map_err(|e| {
        StoreError::unreadable(path, format!("a record of type {} is damaged: {e}", short(std::any::type_name::<T>())))
    })
}

fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Encodes a run: version, count, frames. Its first sequence number is in its key.
pub(super) fn encode_run(run: &Run) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + run.bytes.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&run.count.to_be_bytes());
    bytes.extend_from_slice(&run.bytes);
    bytes
}

/// Decodes a run that begins at `first_seq`.
pub(super) fn decode_run(path: &Path, first_seq: u64, bytes: &[u8]) -> Result<Run, StoreError> {
    let rest = unversioned(path, bytes)?;
    let Some((count, frames)) = rest.split_first_chunk::<8>() else {
        return Err(StoreError::unreadable(path, "a run of events is cut short"));
    };
    let count = u64::from_be_bytes(*count);
    if count == 0 || first_seq == 0 || first_seq.checked_add(count).is_none() {
        return Err(StoreError::unreadable(path, "a run of events has impossible numbers"));
    }
    Ok(Run { first_seq, count, bytes: Bytes::copy_from_slice(frames) })
}

/// Refuses what is over its limit.
pub(super) fn check_size(what: impl Fn() -> String, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit { Ok(()) } else { Err(StoreError::TooLarge { what: what(), size, limit }) }
}
