//! The raw limit of a cold start: a container equal to a workspace's, made and started by nothing but the engine.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use wharf::{
    domain::Network,
    engine::{ContainerSpec, DEFAULT_ENDPOINT, Engine, EngineError, LabelSet, Mount, MountKind},
};

use crate::support::docker_ok;

/// Makes and removes twins of one container, over connections that are kept alive.
pub(crate) struct Twins {
    engine: Engine,
    model: ContainerSpec,
    dir: PathBuf,
    made: usize,
}

impl Twins {
    /// Of the container of this id; host directories of the twins lie below `dir`.
    pub(crate) fn of(container: &str, dir: &Path) -> Result<Self, EngineError> {
        let shown: Value = serde_json::from_str(&docker_ok(&["container", "inspect", container])).unwrap_or_default();
        Ok(Self { engine: Engine::new(DEFAULT_ENDPOINT)?, model: model(&shown[0]), dir: dir.to_owned(), made: 0 })
    }

    /// How long the engine takes to make and start one; it is gone when this returns.
    pub(crate) async fn time(&mut self) -> Result<Duration, EngineError> {
        self.made += 1;
        let spec = self.next().map_err(|e| EngineError::Invalid { message: e.to_string() })?;
        let begun = Instant::now();
        let started = match self.engine.create_container(&spec).await {
            Ok(_) => self.engine.start_container(&spec.name).await,
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        self.engine.remove_container(&spec.name).await?;
        for mount in spec.mounts.iter().filter(|mount| !mount.read_only) {
            if let MountKind::Volume { name, .. } = &mount.kind {
                self.engine.remove_volume(name).await?;
            }
        }
        started.map(|()| took)
    }

    /// The same with names of its own.
    fn next(&self) -> io::Result<ContainerSpec> {
        let name = format!("wharf-bench-{}-{}", std::process::id(), self.made);
        let mut spec = ContainerSpec { name: name.clone(), ..self.model.clone() };
        for (i, mount) in spec.mounts.iter_mut().enumerate().filter(|(_, mount)| !mount.read_only) {
            match &mut mount.kind {
                MountKind::Volume { name: volume, .. } => *volume = format!("{name}-{i}"),
                MountKind::Bind(source) => {
                    let dir = self.dir.join(&name);
                    fs::create_dir_all(&dir)?;
                    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))?;
                    *source = dir.to_string_lossy().into_owned();
                }
            }
        }
        Ok(spec)
    }
}

/// A spec from what the engine shows.
fn model(shown: &Value) -> ContainerSpec {
    let (config, host) = (&shown["Config"], &shown["HostConfig"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mounts = host["Mounts"].as_array().into_iter().flatten();
    ContainerSpec {
        name: String::new(),
        image: text(&config["Image"]),
        entrypoint: list(&config["Entrypoint"]),
        // As many labels, but not those by which daemons know what is theirs.
        labels: [("wharf.bench".to_owned(), "1".to_owned()), ("wharf.bench.twin".to_owned(), "1".to_owned())].into(),
        mounts: mounts.map(mount).collect(),
        tmpfs: host["Tmpfs"].as_object().into_iter().flatten().map(|(at, how)| (at.clone(), text(how))).collect(),
        network: match text(&host["NetworkMode"]).as_str() {
            "default" | "bridge" => Network::Default,
            "none" => Network::None,
            name => Network::Named(name.to_owned()),
        },
        // Billionths of a core are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        cpus: host["NanoCpus"].as_i64().filter(|n| *n > 0).map(|n| n as f64 / 1e9),
        memory: host["Memory"].as_u64().filter(|n| *n > 0),
        pids: host["PidsLimit"].as_u64().and_then(|n| u32::try_from(n).ok()),
        cap_add: list(&host["CapAdd"]),
        read_only_root: host["ReadonlyRootfs"] == true,
        stop_timeout: config["StopTimeout"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(10),
    }
}

fn mount(shown: &Value) -> Mount {
    let source = shown["Source"].as_str().unwrap_or_default().to_owned();
    let kind = if shown["Type"] == "volume" {
        MountKind::Volume {
            name: source,
            labels: LabelSet::from([("wharf.bench".to_owned(), "1".to_owned())]),
            copy: shown["VolumeOptions"]["NoCopy"] != true,
            size: None,
        }
    } else {
        MountKind::Bind(source)
    };
    let target = shown["Target"].as_str().unwrap_or_default().to_owned();
    Mount { target, kind, read_only: shown["ReadOnly"] == true }
}
