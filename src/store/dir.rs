//! The store's directory: made so that a crash at any step is completed, held by one daemon, described by `store.json`.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::{InstanceId, Timestamp};

/// The format of a whole store; any other is refused. 2: the log has the order of all runs, the registry more indexes.
pub(super) const FORMAT: u64 = 2;

/// The parts of a store's directory.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) registry: PathBuf,
    pub(super) log: PathBuf,
    pub(super) witness: PathBuf,
    /// Scratch space of the check at open.
    pub(super) check: PathBuf,
    description: PathBuf,
    /// There while a new store is made: nothing in it was ever acknowledged.
    making: PathBuf,
}

/// What `store.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u64,
    instance: InstanceId,
    made: Timestamp,
    /// Checksum of the other fields.
    sum: String,
}

impl Description {
    fn sum(format: u64, instance: &InstanceId, made: Timestamp) -> String {
        format!("{:08x}", crc32fast::hash(format!("{format} {instance} {made}").as_bytes()))
    }
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            registry: dir.join("registry"),
            log: dir.join("log"),
            witness: dir.join("witness"),
            check: dir.join("check"),
            description: dir.join("store.json"),
            making: dir.join("making"),
        }
    }

    /// Makes the directory itself (mode 0700) and takes its lock.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(|e| StoreError::io(&self.dir, &e))?;
        let path = self.dir.join("lock");
        let io = |e: &io::Error| StoreError::io(&path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let pid = file.take(32).read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                return Err(StoreError::Locked { dir: self.dir.clone(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(io(&e)),
        }
        file.set_len(0).map_err(|e| io(&e))?;
        writeln!(file, "{}", std::process::id()).map_err(|e| io(&e))?;
        Ok(file)
    }

    /// Reads `store.json`. `None`: there is no store here yet, or one whose making was cut short.
    pub(super) fn describe(&self) -> Result<Option<InstanceId>, StoreError> {
        let path = &self.description;
        let bytes = match File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(64 * 1024).read_to_end(&mut bytes).map(|_| bytes)
        }) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.undescribed(),
            Err(e) => return Err(StoreError::io(path, &e)),
        };
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| StoreError::unreadable(path, format!("it is damaged: {e}")))?;
        if let Some(found) = json["format"].as_u64()
            && found != FORMAT
        {
            let (path, known) = (path.clone(), FORMAT);
            return Err(match found > FORMAT {
                true => StoreError::Newer { path, found, known },
                false => StoreError::Older { path, found, known },
            });
        }
        let found: Description =
            serde_json::from_value(json).map_err(|e| StoreError::unreadable(path, format!("it is damaged: {e}")))?;
        if found.sum != Description::sum(found.format, &found.instance, found.made) {
            return Err(StoreError::unreadable(path, "it is damaged: its checksum does not match"));
        }
        for part in [self.registry.join("db"), self.registry.join("conf"), self.log.join("version")] {
            if !part.exists() {
                return Err(StoreError::unreadable(part, "it is missing"));
            }
        }
        Ok(Some(found.instance))
    }

    fn undescribed(&self) -> Result<Option<InstanceId>, StoreError> {
        if !self.making.exists() && self.has_parts() {
            return Err(StoreError::unreadable(&self.description, "it is missing, but the rest of a store is here"));
        }
        Ok(None)
    }

    fn has_parts(&self) -> bool {
        self.registry.exists() || self.log.exists() || self.witness.exists()
    }

    /// Whether something of a store is here.
    pub(super) fn is_there(&self) -> bool {
        self.description.exists() || self.has_parts()
    }

    /// First step of making a store: the marker, and nothing else.
    pub(super) fn begin_making(&self) -> Result<(), StoreError> {
        write_synced(&self.making, b"This store is being made; nothing is in it yet.\n")?;
        sync(&self.dir)?;
        if let Some(parent) = self.dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync(parent)?;
        }
        for part in [&self.registry, &self.log] {
            remove(part)?;
        }
        remove_file(&self.witness)
    }

    /// Last step: the description, then the marker goes.
    pub(super) fn end_making(&self) -> Result<InstanceId, StoreError> {
        let (instance, made) = (InstanceId::new(), Timestamp::now());
        let sum = Description::sum(FORMAT, &instance, made);
        let json = serde_json::to_vec_pretty(&Description { format: FORMAT, instance: instance.clone(), made, sum })
            .map_err(|e| StoreError::io(&self.description, &e.into()))?;
        let new = self.dir.join("store.json.new");
        write_synced(&new, &[&json[..], b"\n"].concat())?;
        fs::rename(&new, &self.description).map_err(|e| StoreError::io(&self.description, &e))?;
        sync(&self.dir)?;
        self.clear_marker()?;
        Ok(instance)
    }

    /// Removes the marker that a crash after the last step left.
    pub(super) fn clear_marker(&self) -> Result<(), StoreError> {
        if self.making.exists() {
            remove_file(&self.making)?;
            sync(&self.dir)?;
        }
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|e| StoreError::io(path, &e))
}

/// Syncs a file or a directory.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| StoreError::io(path, &e))
}

/// Removes a directory with all in it; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, &e)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, &e)),
        _ => Ok(()),
    }
}

/// Copies a directory of plain files for a rehearsal: those in a `tables` directory, which are never written again, are
/// linked, and journals are left out.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    DirBuilder::new().mode(0o700).create(to).map_err(|e| StoreError::io(to, &e))?;
    for entry in fs::read_dir(from).map_err(|e| StoreError::io(from, &e))? {
        let entry = entry.map_err(|e| StoreError::io(from, &e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.extension().is_some_and(|e| e == "jnl") {
            continue;
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            copy_tree(&source, &target)?;
        } else if from.ends_with("tables") {
            fs::hard_link(&source, &target).map_err(|e| StoreError::io(&source, &e))?;
        } else {
            fs::copy(&source, &target).map_err(|e| StoreError::io(&source, &e))?;
        }
    }
    Ok(())
}

/// The bytes that a file or all files of a directory take on the disk; what vanishes meanwhile counts nothing.
pub(super) fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|e| size(&e.path())).sum::<u64>()
}

/// Cuts a file off.
pub(super) fn truncate(path: &Path, len: u64) -> Result<(), StoreError> {
    let cut = OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(len).and_then(|()| f.sync_all()));
    cut.map_err(|e| StoreError::io(path, &e))
}

/// Puts back what an opening that was refused cut off a file.
pub(super) fn restore(path: &Path, offset: u64, bytes: &[u8], len: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)?;
    file.set_len(len)?;
    file.sync_all()
}
