//! Containers: made hardened, started, stopped, removed, looked at.

use std::collections::HashMap;

use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
        ContainerSummaryStateEnum, HostConfig, HostConfigLogConfig, Mount as BollardMount, MountType,
        MountVolumeOptions, MountVolumeOptionsDriverConfig, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
        ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};

use super::{Engine, EngineError, LONG, LabelSet, SHORT, label_filter};
use crate::domain::Network;

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A named volume, made with these labels where it does not exist; `copy`: a new one is filled with what the image
    /// has at the target; `size`: the most bytes that a new one holds, where the engine's file system can limit them.
    Volume {
        /// Its name.
        name: String,
        /// Labels of a new one.
        labels: LabelSet,
        /// Whether a new one takes the image's files.
        copy: bool,
        /// The most bytes of a new one.
        size: Option<u64>,
    },
    /// A directory of the engine's machine, absolute.
    Bind(String),
}

/// A mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, absolute, inside.
    pub target: String,
    /// What.
    pub kind: MountKind,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// A container to make. What it is always made with: no capability but `cap_add`, no new privileges, the engine's
/// default seccomp profile, a small log, no restart, no swap beyond the memory limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// Its unique name.
    pub name: String,
    /// From which image.
    pub image: String,
    /// What runs as PID 1, as root; the image's own command is not used.
    pub entrypoint: Vec<String>,
    /// Its labels.
    pub labels: LabelSet,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Directories in memory, with mount options.
    pub tmpfs: Vec<(String, String)>,
    /// The network that it joins.
    pub network: Network,
    /// CPUs, in cores.
    pub cpus: Option<f64>,
    /// Memory and swap together, in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Capabilities that PID 1 has.
    pub cap_add: Vec<String>,
    /// Whether everything but mounts can only be read.
    pub read_only_root: bool,
    /// How long PID 1 has between SIGTERM and SIGKILL, in seconds.
    pub stop_timeout: u32,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Exited,
    /// Being started anew, removed, or broken.
    Other,
}

/// A container as the engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: LabelSet,
    /// What it is doing.
    pub state: ContainerState,
    /// How PID 1 ended, where it did and the engine told.
    pub exit_code: Option<i64>,
    /// Whether PID 1 was killed for lack of memory.
    pub oom_killed: bool,
}

impl Engine {
    /// Makes a container, and those of its volumes that do not exist, in one call; answers its id.
    ///
    /// # Errors
    /// `Conflict` (the name is taken), `ImageMissing`, `Invalid` (a bind source is missing), …
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let call = self.docker.create_container(Some(options), create_body(spec));
        match self.call(&format!("container {}", spec.name), LONG, call).await {
            Ok(answer) => Ok(answer.id),
            Err(EngineError::ImageMissing { .. }) => Err(EngineError::ImageMissing { image: spec.image.clone() }),
            Err(error) => Err(error),
        }
    }

    /// Starts a container; one that runs is left as it is.
    ///
    /// # Errors
    /// `NotFound`, `Paused`, `Invalid` (PID 1 could not be executed), …
    pub async fn start_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(&format!("container {name}"), LONG, self.docker.start_container(name, None)).await
    }

    /// Stops a container: SIGTERM, after `grace_seconds` SIGKILL; one that does not run is left as it is.
    ///
    /// # Errors
    /// `NotFound`, …
    pub async fn stop_container(&self, name: &str, grace_seconds: u32) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(grace_seconds).unwrap_or(i32::MAX)).build();
        self.call(&format!("container {name}"), LONG, self.docker.stop_container(name, Some(options))).await
    }

    /// Sends a signal to PID 1.
    ///
    /// # Errors
    /// `NotFound`, `NotRunning`, …
    pub async fn kill_container(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call(&format!("container {name}"), SHORT, self.docker.kill_container(name, Some(options))).await
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// `NotFound`, `NotRunning`, …
    pub async fn pause_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(&format!("container {name}"), SHORT, self.docker.pause_container(name)).await
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// `NotFound`, …
    pub async fn unpause_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(&format!("container {name}"), SHORT, self.docker.unpause_container(name)).await
    }

    /// Kills and removes a container with its anonymous volumes; one that does not exist is no error.
    ///
    /// # Errors
    /// Any but `NotFound`.
    pub async fn remove_container(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let call = self.docker.remove_container(name, Some(options));
        match self.call(&format!("container {name}"), LONG, call).await {
            Ok(()) | Err(EngineError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks at a container, by name or id.
    ///
    /// # Errors
    /// `NotFound`, …
    pub async fn inspect_container(&self, name: &str) -> Result<Container, EngineError> {
        let call = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        self.call(&format!("container {name}"), SHORT, call).await.map(inspected)
    }

    /// All containers, running or not, that carry all of `labels` (an empty value: whatever it is).
    ///
    /// # Errors
    /// `Unreachable`, …
    pub async fn list_containers(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&label_filter(labels)).build();
        let found = self.call("listing containers", SHORT, self.docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().map(summarised).collect())
    }
}

fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(spec.entrypoint.clone()),
        cmd: Some(Vec::new()),
        user: Some("0:0".into()),
        working_dir: Some("/".into()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        stop_signal: Some("SIGTERM".into()),
        stop_timeout: Some(spec.stop_timeout.into()),
        // The image's health check would be an exec every few seconds.
        healthcheck: Some(bollard::models::HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
        host_config: Some(host_config(spec)),
        ..Default::default()
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let memory = spec.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    HostConfig {
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        tmpfs: Some(spec.tmpfs.iter().cloned().collect()),
        network_mode: match &spec.network {
            Network::Default => None,
            Network::None => Some("none".into()),
            Network::Named(name) => Some(name.clone()),
        },
        memory,
        memory_swap: memory,
        // Checked where it comes in: above 0 and at most some thousands.
        #[expect(clippy::cast_possible_truncation, reason = "a float's cast to an integer saturates")]
        nano_cpus: spec.cpus.map(|cores| (cores * 1e9) as i64),
        pids_limit: spec.pids.map(i64::from),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(spec.cap_add.clone()),
        security_opt: Some(vec!["no-new-privileges".into()]),
        readonly_rootfs: Some(spec.read_only_root),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".into()), config: Some(log_limits()) }),
        init: Some(false),
        ..Default::default()
    }
}

/// What PID 1 says is little, and an agent's output does not come here.
fn log_limits() -> HashMap<String, String> {
    [("max-size", "1m"), ("max-file", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn mount(mount: &Mount) -> BollardMount {
    let mut made =
        BollardMount { target: Some(mount.target.clone()), read_only: Some(mount.read_only), ..Default::default() };
    match &mount.kind {
        MountKind::Volume { name, labels, copy, size } => {
            made.typ = Some(MountType::VOLUME);
            made.source = Some(name.clone());
            made.volume_options = Some(MountVolumeOptions {
                no_copy: Some(!copy),
                driver_config: size.map(|size| MountVolumeOptionsDriverConfig {
                    name: Some("local".into()),
                    options: Some([("size".to_owned(), size.to_string())].into()),
                }),
                labels: Some(labels.clone().into_iter().collect()),
                ..Default::default()
            });
        }
        MountKind::Bind(source) => {
            made.typ = Some(MountType::BIND);
            made.source = Some(source.clone());
        }
    }
    made
}

fn inspected(answer: ContainerInspectResponse) -> Container {
    let state = answer.state.unwrap_or_default();
    let ended = matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD));
    Container {
        id: answer.id.unwrap_or_default(),
        name: plain_name(answer.name.as_deref()),
        labels: labels(answer.config.and_then(|config| config.labels)),
        state: match state.status {
            Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
            Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
            Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
            _ => ContainerState::Other,
        },
        exit_code: state.exit_code.filter(|_| ended),
        oom_killed: state.oom_killed.unwrap_or(false),
    }
}

fn summarised(found: ContainerSummary) -> Container {
    Container {
        id: found.id.unwrap_or_default(),
        name: plain_name(found.names.as_ref().and_then(|names| names.first()).map(String::as_str)),
        labels: labels(found.labels),
        state: match found.state {
            Some(ContainerSummaryStateEnum::CREATED) => ContainerState::Created,
            Some(ContainerSummaryStateEnum::RUNNING) => ContainerState::Running,
            Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
            Some(ContainerSummaryStateEnum::EXITED) => ContainerState::Exited,
            _ => ContainerState::Other,
        },
        exit_code: None,
        oom_killed: false,
    }
}

fn plain_name(name: Option<&str>) -> String {
    name.unwrap_or_default().trim_start_matches('/').to_owned()
}

pub(super) fn labels(found: Option<HashMap<String, String>>) -> LabelSet {
    found.unwrap_or_default().into_iter().collect()
}
