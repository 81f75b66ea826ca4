//! How tether gets into containers: a volume for each engine and version, filled once, mounted read-only by all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::container::PROGRAM_DIR;
use crate::{
    domain::InstanceId,
    engine::{
        Container, ContainerSpec, Engine, EngineError, LABEL_INSTANCE, LABEL_TETHER, LABEL_WORKSPACE, LabelSet, Mount,
        MountKind,
    },
};

/// The program's file in the volume.
const FILE: &str = "tether";
/// What the names of such volumes begin with.
const VOLUMES: &str = "wharf-tether-";
/// What comes after a volume's name in the name of a container that fills it.
const FILLING: &str = "-fill-";

/// The beginning of a program's checksum.
pub(super) fn version(program: &[u8]) -> String {
    Sha256::digest(program)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The volume that holds one version of tether.
pub(super) struct TetherVolume {
    program: &'static [u8],
    version: String,
    name: String,
    /// Whether this daemon has seen it filled.
    filled: AtomicBool,
    /// How many fillings of this daemon are under way.
    filling: AtomicUsize,
}

impl TetherVolume {
    /// The volume for these bytes.
    pub(super) fn new(program: &'static [u8]) -> Self {
        let version = version(program);
        Self {
            program,
            name: format!("{VOLUMES}{version}"),
            version,
            filled: AtomicBool::new(false),
            filling: AtomicUsize::new(0),
        }
    }

    /// The beginning of the program's checksum.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The volume's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its mount. It carries no daemon's label: all daemons of this version share it.
    pub(super) fn mount(&self, read_only: bool) -> Mount {
        let labels: LabelSet = [(LABEL_TETHER.to_owned(), self.version.clone())].into();
        let kind = MountKind::Volume { name: self.name.clone(), labels, copy: false, size: None };
        Mount { target: PROGRAM_DIR.to_owned(), kind, read_only }
    }

    /// Looks once whether it is there, so that the first container need not.
    pub(super) async fn look(&self, engine: &Engine) -> Result<(), EngineError> {
        if !self.filled.load(Ordering::Relaxed) && engine.volume_exists(&self.name).await? {
            self.filled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Fills it where it is not known to be filled. One that exists is taken for filled: where it is not, the container
    /// does not start, and [`fill`](Self::fill) is called.
    pub(super) async fn ensure(&self, engine: &Engine, owner: &InstanceId, image: &str) -> Result<(), EngineError> {
        self.look(engine).await?;
        if self.filled.load(Ordering::Relaxed) { Ok(()) } else { self.fill(engine, owner, image).await }
    }

    /// Whether this daemon is filling it: a container for that is no leftover.
    pub(super) fn is_filling(&self) -> bool {
        self.filling.load(Ordering::Relaxed) > 0
    }

    /// Whether a container of this daemon's instance was made to fill such a volume, and nobody is filling it any more.
    pub(super) fn is_left_of_a_filling(&self, container: &Container) -> bool {
        let for_filling = container.name.strip_prefix(VOLUMES).is_some_and(|rest| rest.contains(FILLING));
        for_filling && !container.labels.contains_key(LABEL_WORKSPACE) && !self.is_filling()
    }

    /// Fills it, through a container of `image` that is never started and carries the label of its `owner`, who removes
    /// it at the next start when the daemon dies in the middle.
    pub(super) async fn fill(&self, engine: &Engine, owner: &InstanceId, image: &str) -> Result<(), EngineError> {
        let _filling = Filling::begin(&self.filling);
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let spec = ContainerSpec {
            name: format!("{}{FILLING}{}", self.name, &unique[..12]),
            image: image.to_owned(),
            entrypoint: vec![format!("{PROGRAM_DIR}/{FILE}")],
            labels: [(LABEL_INSTANCE.to_owned(), owner.to_string())].into(),
            mounts: vec![self.mount(false)],
            ..ContainerSpec::default()
        };
        engine.create_container(&spec).await?;
        let archive = archive(self.program, &unique)
            .map_err(|e| EngineError::Other { what: "packing tether".to_owned(), message: e.to_string() })?;
        let put = engine.put_archive(&spec.name, PROGRAM_DIR, archive).await;
        let removed = engine.remove_container(&spec.name).await;
        put?;
        removed?;
        self.filled.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Counts a filling while it lives.
struct Filling<'a>(&'a AtomicUsize);

impl<'a> Filling<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The program under a name of its own, and linked to its real one after it is whole: whoever sees `tether` sees all of
/// it, also where two daemons fill at once or one dies in the middle.
fn archive(program: &[u8], unique: &str) -> std::io::Result<Bytes> {
    let draft = format!("{FILE}.{unique}");
    let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + 4096));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    archive.append_data(&mut header, &draft, program)?;
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Link);
    link.set_mode(0o755);
    link.set_size(0);
    archive.append_link(&mut link, FILE, &draft)?;
    archive.into_inner().map(Bytes::from)
}
