//! Workspaces against a real engine and the real tether: their life, and what others do to their containers.

#[path = "../engine_support/mod.rs"]
mod engine_support;
mod meanwhile;

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use engine_support::{Playground, engine, soon};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wharf::{
    domain::{Network, WorkspaceId, WorkspaceSpec, WorkspaceStatus},
    engine::{ContainerState, Endpoint, Engine, LABEL_INSTANCE, LABEL_WORKSPACE},
    seal::Sealer,
    store::{Batch, Options, Store},
    workspace::{
        EngineState, NewWorkspace, OrphanKind, Transport, WorkspaceConfig, WorkspaceError, WorkspaceState, Workspaces,
    },
};

/// The rooms that a daemon has, without the daemon.
struct Rooms {
    store: Store,
    workspaces: Workspaces,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Rooms {
    fn open(dir: &Path, image: &str, engine: Engine, transport: Transport) -> Self {
        let store = Store::open(&dir.join("store"), Options::default()).unwrap();
        let mut config = WorkspaceConfig::new(dir.join("run"), Sealer::open_or_create(dir).unwrap());
        config.transport = transport;
        config.default_image = image.to_owned();
        config.memory = 256 << 20;
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let workspaces = Workspaces::new(store.clone(), engine, config, tracker.clone(), stop.clone());
        Self { store, workspaces, tracker, stop }
    }

    /// Ends all tasks, as a daemon that stops.
    async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        soon("the tasks' end", self.tracker.wait()).await;
        drop(self.workspaces);
        self.store.close().await.unwrap();
    }
}

/// An image, a state directory and what is in use of it.
struct Site {
    // Before the directory: it removes the containers that mount from there.
    ground: Playground,
    dir: tempfile::TempDir,
}

impl Site {
    /// A site with open rooms; what they make carries the store's instance.
    async fn new(transport: Transport) -> (Self, Rooms) {
        let dir = tempfile::tempdir().unwrap();
        let mut ground = Playground::new().await;
        let rooms = Rooms::open(dir.path(), &ground.image, ground.engine.clone(), transport);
        ground.instance = rooms.store.instance().clone();
        (Self { ground, dir }, rooms)
    }

    fn reopen(&self) -> Rooms {
        Rooms::open(self.dir.path(), &self.ground.image, self.ground.engine.clone(), Transport::Auto)
    }

    /// Nothing of it is left: no container, volume or directory.
    async fn assert_empty(&self) {
        assert_eq!(self.ground.left().await, Vec::<String>::new());
        let run = std::fs::read_dir(self.dir.path().join("run"));
        assert_eq!(run.map_or(0, Iterator::count), 0, "directories of host sockets");
    }
}

fn container(id: &WorkspaceId) -> String {
    format!("wharf-{}", &id.as_str()[id.as_str().len() - 12..])
}

async fn until(watched: &mut watch::Receiver<WorkspaceState>, status: WorkspaceStatus) -> WorkspaceState {
    soon(&format!("{status:?}"), watched.wait_for(|state| state.status == status)).await.unwrap().clone()
}

fn named(name: &str) -> NewWorkspace {
    NewWorkspace { name: Some(name.to_owned()), spec: WorkspaceSpec::default() }
}

async fn life(transport: Transport) {
    let (site, rooms) = Site::new(transport).await;
    let workspaces = &rooms.workspaces;
    let (made, new) = workspaces.create(named("life")).await.unwrap();
    assert!(new && made.sessions == 0 && !made.ephemeral);
    assert!(site.ground.left().await.is_empty(), "nothing is made before it is needed");

    let started = soon("the start", workspaces.start("life")).await.unwrap();
    assert_eq!(started.status, WorkspaceStatus::Running);
    let name = container(&made.id);
    let found = site.ground.engine.inspect_container(&name).await.unwrap();
    assert_eq!(found.labels[LABEL_WORKSPACE], made.id.as_str());
    assert_eq!(site.ground.left().await.len(), 4, "a container and three volumes");
    assert!(workspaces.attached(&made.id).is_some());
    assert_eq!(workspaces.running().await.unwrap(), std::slice::from_ref(&made.id));

    let stopped = soon("the stop", workspaces.stop("life")).await.unwrap();
    assert_eq!(stopped.status, WorkspaceStatus::Stopped);
    assert_eq!(site.ground.engine.inspect_container(&name).await.unwrap().state, ContainerState::Exited);
    assert!(workspaces.attached(&made.id).is_none());
    soon("stopping twice", workspaces.stop("life")).await.unwrap();

    let (a, b) =
        soon("the second start", async { tokio::join!(workspaces.attach(&made.id), workspaces.attach(&made.id)) })
            .await;
    a.unwrap();
    b.unwrap();
    assert_eq!(site.ground.engine.inspect_container(&name).await.unwrap().id, found.id, "the same container");

    soon("the deletion", workspaces.delete(&made.id)).await.unwrap();
    assert!(matches!(workspaces.get("life").await, Err(WorkspaceError::NotFound { .. })));
    assert!(matches!(workspaces.attach(&made.id).await, Err(WorkspaceError::NotFound { .. })));
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn a_workspace_goes_through_its_life_by_execs() {
    life(Transport::Exec).await;
}

#[tokio::test]
async fn a_workspace_goes_through_its_life_by_the_host_socket() {
    if engine().endpoint().is_local() {
        life(Transport::Socket).await;
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_spec() {
    let (_site, rooms) = Site::new(Transport::Auto).await;
    let workspaces = &rooms.workspaces;
    let with = |value: &str| NewWorkspace {
        name: Some("one".into()),
        spec: WorkspaceSpec { env: [("KEY".into(), value.into())].into(), ..Default::default() },
    };
    let (first, new) = workspaces.create(with("secret")).await.unwrap();
    let (again, second) = workspaces.create(with("secret")).await.unwrap();
    assert!(new && !second && first.id == again.id);
    let other = workspaces.create(with("other")).await;
    assert!(matches!(other, Err(WorkspaceError::NameTaken { name, id }) if name == "one" && id == first.id.as_str()));
    let shown = serde_json::to_string(&first).unwrap();
    assert!(shown.contains("KEY") && !shown.contains("secret"), "{shown}");
    let record = workspaces.resolve("one").unwrap();
    assert!(!serde_json::to_string(&record).unwrap().contains("secret"));
    assert_eq!(workspaces.process_env(&record).unwrap(), [("KEY".to_owned(), "secret".to_owned())]);

    let (unnamed, _) = workspaces.create(NewWorkspace::default()).await.unwrap();
    let page = workspaces.list(None, 1).await.unwrap();
    assert_eq!(page.items[0].id, unnamed.id, "newest first");
    let rest = workspaces.list(page.next, 10).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    rooms.close().await;
}

#[tokio::test]
async fn what_can_not_be_made_is_refused_and_changes_nothing() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let create = async |spec: WorkspaceSpec| rooms.workspaces.create(NewWorkspace { name: None, spec }).await;
    let missing = create(WorkspaceSpec { image: Some("wharf/none:x".into()), ..Default::default() }).await.unwrap_err();
    assert!(missing.to_string().contains("make images"), "{missing}");
    let pulled = create(WorkspaceSpec { image: Some("none:x".into()), ..Default::default() }).await.unwrap_err();
    assert!(pulled.to_string().contains("docker pull none:x"), "{pulled}");
    let bad = create(WorkspaceSpec { image: Some("NONE".into()), ..Default::default() }).await;
    assert!(matches!(bad, Err(WorkspaceError::Invalid { field: "image", .. })));
    let network = Network::Named("wharf-test-no-such-network".into());
    let nowhere = create(WorkspaceSpec { network, ..Default::default() }).await;
    assert!(matches!(nowhere, Err(WorkspaceError::Invalid { field: "network", .. })));
    let env = (0..200).map(|n| (format!("V{n}"), "x".repeat(200))).collect();
    let large = create(WorkspaceSpec { env, ..Default::default() }).await;
    assert!(matches!(large, Err(WorkspaceError::Invalid { field: "env", .. })));
    assert!(rooms.workspaces.list(None, 10).await.unwrap().items.is_empty());
    assert!(matches!(rooms.workspaces.get("a/b").await, Err(WorkspaceError::NotFound { .. })));
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn the_environment_is_nowhere_in_the_engine() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let env = [("API_KEY".to_owned(), "sk-very-secret".to_owned())].into();
    let spec = WorkspaceSpec { env, network: Network::None, pids: Some(64), cpus: Some(0.5), ..Default::default() };
    let (made, _) = rooms.workspaces.create(NewWorkspace { name: None, spec }).await.unwrap();
    soon("the start", rooms.workspaces.attach(&made.id)).await.unwrap();
    let inspected = std::process::Command::new("docker").args(["inspect", &container(&made.id)]).output().unwrap();
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(text.contains(made.id.as_str()) && !text.contains("sk-very-secret") && !text.contains("API_KEY"));
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let host = &shown[0]["HostConfig"];
    assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert_eq!(host["Memory"], host["MemorySwap"]);
    assert_eq!((host["PidsLimit"].as_i64(), host["NanoCpus"].as_i64()), (Some(64), Some(500_000_000)));
    assert_eq!(host["NetworkMode"], "none");
    rooms.workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn a_stop_abandons_a_start() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (made, _) = rooms.workspaces.create(named("hasty")).await.unwrap();
    let workspaces = rooms.workspaces.clone();
    let id = made.id.clone();
    let starting = tokio::spawn(async move { workspaces.attach(&id).await.map(drop) });
    // Until the container exists: the start is under way.
    let name = container(&made.id);
    soon("the container", async {
        while site.ground.engine.inspect_container(&name).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let stopped = soon("the stop", rooms.workspaces.stop("hasty")).await.unwrap();
    assert_ne!(stopped.status, WorkspaceStatus::Running);
    soon("the start's end", starting).await.unwrap().ok();
    assert_ne!(site.ground.engine.inspect_container(&name).await.unwrap().state, ContainerState::Running);
    rooms.workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}
