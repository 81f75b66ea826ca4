//! From a workspace's spec to its container: the same spec gives the same container.

use std::path::Path;

use super::{names, tether_volume::TetherVolume};
use crate::{
    domain::{InstanceId, WorkspaceRecord},
    engine::{ContainerSpec, EngineError, LABEL_TETHER, LabelSet, Mount, MountKind},
};

/// Where the read-only volume with tether's program is mounted.
pub(super) const PROGRAM_DIR: &str = "/opt/wharf";
/// tether's program.
pub(super) const PROGRAM: &str = "/opt/wharf/tether";
/// Where tether listens for execs.
pub(super) const SOCKET: &str = "/run/wharf/tether.sock";
/// Where the host's directory is mounted.
// Below the directory that tether closes to all but root: an agent can neither reach the socket nor replace it.
const HOST_DIR: &str = "/run/wharf/host";
/// The socket's name in that directory.
pub(super) const HOST_SOCKET: &str = "s";
/// How long tether has to end all processes, in seconds.
pub(super) const GRACE_SECONDS: u32 = 10;
/// The agent's working directory and home; the volumes behind them belong to the user that agents run as.
pub(super) const WORK: &str = "/workspace";
pub(super) const HOME: &str = "/home/agent";
/// The user and the group that everything of a workspace but tether runs as.
pub(super) const USER: u32 = 1000;
/// In memory: what agents are given lies here for as long as they run.
const FILES: &str = "/run/wharf-files";
const STATE: &str = "/var/lib/wharf";
const OWNER: &str = "1000:1000";

/// What a container is made with where its spec says nothing.
pub(super) struct Defaults<'a> {
    /// The image.
    pub(super) image: &'a str,
    /// Memory and swap, bytes.
    pub(super) memory: u64,
    /// Processes and threads.
    pub(super) pids: u32,
    /// Cores; `None`: all of them.
    pub(super) cpus: Option<f64>,
}

/// The container of a workspace; `host_dir`: with the host socket's directory mounted.
pub(super) fn spec(
    record: &WorkspaceRecord,
    instance: &InstanceId,
    defaults: &Defaults<'_>,
    tether: &TetherVolume,
    host_dir: Option<&Path>,
) -> ContainerSpec {
    let mut labels = names::labels(instance, &record.id);
    let mounts = mounts(record, &labels, tether, host_dir);
    labels.insert(LABEL_TETHER.to_owned(), tether.version().to_owned());
    ContainerSpec {
        name: names::container(&record.id),
        image: record.spec.image.clone().unwrap_or_else(|| defaults.image.to_owned()),
        entrypoint: entrypoint(host_dir.is_some()),
        labels,
        mounts,
        tmpfs: vec![
            ("/tmp".to_owned(), "rw,exec,nosuid,nodev,mode=1777".to_owned()),
            ("/run".to_owned(), "rw,noexec,nosuid,nodev,mode=755".to_owned()),
        ],
        network: record.spec.network.clone(),
        cpus: record.spec.cpus.or(defaults.cpus),
        memory: Some(record.spec.memory.unwrap_or(defaults.memory)),
        pids: Some(record.spec.pids.unwrap_or(defaults.pids)),
        // To start agents as their user, to end and to own what is theirs; agents themselves get none.
        cap_add: ["SETUID", "SETGID", "KILL", "CHOWN"].map(str::to_owned).to_vec(),
        read_only_root: true,
        stop_timeout: GRACE_SECONDS,
    }
}

fn entrypoint(with_host_socket: bool) -> Vec<String> {
    let own = |dir: &str| format!("{OWNER}:{dir}");
    let (work, home) = (own(WORK), own(HOME));
    let args =
        [PROGRAM, "serve", "--state", STATE, "--socket", SOCKET, "--files", FILES, "--own", &work, "--own", &home];
    let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    if with_host_socket {
        args.extend(["--host-socket".to_owned(), format!("{HOST_DIR}/{HOST_SOCKET}")]);
    }
    args
}

fn mounts(record: &WorkspaceRecord, labels: &LabelSet, tether: &TetherVolume, host_dir: Option<&Path>) -> Vec<Mount> {
    let volumes = names::volumes(&record.id);
    let volume = |target: &str, name: String, copy| {
        let size = record.spec.disk.filter(|_| copy);
        let kind = MountKind::Volume { name, labels: labels.clone(), copy, size };
        Mount { target: target.to_owned(), kind, read_only: false }
    };
    let mut mounts = vec![
        tether.mount(true),
        volume(WORK, volumes.work, true),
        volume(HOME, volumes.home, true),
        volume(STATE, volumes.tether, false),
    ];
    for extra in &record.spec.mounts {
        let kind = MountKind::Bind(extra.host.clone());
        mounts.push(Mount { target: extra.path.clone(), kind, read_only: extra.read_only });
    }
    if let Some(dir) = host_dir {
        let source = dir.to_string_lossy().into_owned();
        mounts.push(Mount { target: HOST_DIR.to_owned(), kind: MountKind::Bind(source), read_only: false });
    }
    mounts
}

/// Whether the container could not start because tether's program is not there.
pub(super) fn is_without_program(error: &EngineError) -> bool {
    matches!(error, EngineError::Invalid { .. } | EngineError::NotFound { .. } | EngineError::Other { .. })
        && error.to_string().contains(PROGRAM)
}

/// Whether the engine was killed while it started the container, and now does not know what it has made: it can neither
/// start nor stop it any more.
pub(super) fn is_half_started(error: &EngineError) -> bool {
    // The words of dockerd for its own list, of containerd and of runc.
    let message = error.to_string().to_ascii_lowercase();
    matches!(error, EngineError::Conflict { .. } | EngineError::Other { .. })
        && (message.ends_with("id already in use")
            || message.contains("task ") && message.ends_with("already exists")
            || message.contains("container with given id already exists"))
}

/// Whether the engine does not see the host's directory.
pub(super) fn is_without_bind(error: &EngineError) -> bool {
    matches!(error, EngineError::Invalid { .. } | EngineError::Other { .. })
        && error.to_string().contains("bind source path does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Setup, Timestamp, WorkspaceId, WorkspaceSpec};

    #[test]
    fn nothing_of_the_environment_is_in_it() {
        let record = WorkspaceRecord {
            id: WorkspaceId::new(),
            name: Some("n".into()),
            spec: WorkspaceSpec { env: [("TOKEN".into(), "hunter2".into())].into(), ..Default::default() },
            sealed_env: Some(b"hunter2".to_vec()),
            sealed_credentials: Some(b"hunter2".to_vec()),
            setup: Setup::default(),
            ephemeral_of: None,
            created: Timestamp::now(),
            host: false,
            deleting: false,
        };
        let defaults = Defaults { image: "i", memory: 1 << 30, pids: 100, cpus: None };
        let made = spec(&record, &InstanceId::new(), &defaults, &TetherVolume::new(b"program"), Some(Path::new("/d")));
        let shown = format!("{made:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("TOKEN"), "{shown}");
        assert_eq!((made.image.as_str(), made.memory, made.pids), ("i", Some(1 << 30), Some(100)));
        assert!(made.read_only_root && made.mounts.len() == 5);
        assert!(made.mounts.iter().all(|m| m.read_only == (m.target == PROGRAM_DIR)));
    }

    #[test]
    fn what_the_engine_lost_in_a_start_is_told_from_other_conflicts() {
        let other = |message: &str| EngineError::Other { what: "container wharf-1".into(), message: message.into() };
        assert!(is_half_started(&other("task 8a20d55ce7e0: already exists")));
        assert!(is_half_started(&EngineError::Conflict { message: "task 8a20d55ce7e0: already exists".into() }));
        assert!(is_half_started(&other("id already in use")));
        assert!(!is_half_started(&other("network wharf: already exists")));
        assert!(!is_half_started(&other("failed to create task for container")));
    }
}
