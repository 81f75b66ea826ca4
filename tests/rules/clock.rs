//! Idleness on a clock of the test's own, with the rooms of the daemon in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf::agent::{Catalogue, Surroundings};
use wharf::domain::{WorkspaceId, WorkspaceStatus};
use wharf::engine::{DEFAULT_ENDPOINT, Engine};
use wharf::seal::Sealer;
use wharf::session::{NewPrompt, Rules, SessionChanges, Sessions, Subscription, Timeouts};
use wharf::store::{Options, Store};
use wharf::workspace::{Clock, WorkspaceConfig, Workspaces};

use super::support::{PATIENCE, TetherVolumes, clean};

const MINUTE: Duration = Duration::from_secs(60);

/// A clock that stands until it is told.
#[derive(Debug)]
struct Hands(watch::Sender<Duration>);

impl Clock for Hands {
    fn now(&self) -> Duration {
        *self.0.borrow()
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            // The clock lives as long as who waits for it.
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}

struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn credential(&self, _: &str) -> Result<String, String> {
        Err("there are none".to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("there are none".to_owned())
    }
}

/// The rooms, and what is to be cleaned up after them.
struct World {
    clock: Arc<Hands>,
    sessions: Sessions,
    workspaces: Workspaces,
    store: Store,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
    _tether: TetherVolumes,
}

impl World {
    fn new() -> Self {
        let (dir, tether) = (tempfile::tempdir().expect("a directory"), TetherVolumes::hold());
        let clock = Arc::new(Hands(watch::Sender::new(Duration::ZERO)));
        let store = Store::open(&dir.path().join("store"), Options::default()).expect("a store");
        let sealer = Sealer::open_or_create(dir.path()).expect("a key");
        let endpoint = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned());
        let engine = Engine::new(&endpoint).expect("an endpoint");
        let mut config = WorkspaceConfig::new(dir.path().join("run"), sealer.clone());
        config.clock = clock.clone();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let workspaces = Workspaces::new(store.clone(), engine, config, tracker.clone(), stop.clone());
        let catalogue = Arc::new(Catalogue::new(BTreeMap::new()).expect("the built-in agents"));
        let rules = Rules { idle: Some(30 * MINUTE), ..Rules::default() };
        let sessions = Sessions::new(
            store.clone(),
            workspaces.clone(),
            catalogue,
            sealer,
            Arc::new(Nothing),
            Timeouts::default(),
            rules,
            tracker,
            stop.clone(),
        );
        Self { clock, sessions, workspaces, store, stop, _dir: dir, _tether: tether }
    }

    fn pass(&self, time: Duration) {
        self.clock.0.send_modify(|now| *now += time);
    }

    async fn prompt(&self, id: &str, text: &str) {
        let prompt: NewPrompt = serde_json::from_value(json!({ "content": text })).expect("a prompt");
        self.sessions.prompt(id, prompt, None).await.expect("accepted");
    }

    async fn until_workspace_is(&self, id: &WorkspaceId, status: WorkspaceStatus) {
        let mut state = self.workspaces.watch(id);
        let stopped = state.wait_for(|state| state.status == status);
        tokio::time::timeout(PATIENCE, stopped).await.expect("in time").expect("the workspace is there");
    }

    async fn status(&self, id: &str) -> String {
        let view = self.sessions.get(id).await.expect("it is there");
        serde_json::to_value(view.status).expect("a text").as_str().expect("a text").to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        clean(self.store.instance().as_str());
    }
}

/// Reads until the frames hold a text.
async fn until(events: &mut Subscription, text: &str) {
    let read = async {
        loop {
            let frames = events.next().await.expect("it can be read").expect("the log goes on");
            if String::from_utf8_lossy(&frames).contains(text) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {text} in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal() {
    let world = World::new();
    let new = serde_json::from_value(json!({ "agent": "demo" })).expect("a session");
    let session = world.sessions.create(new).await.expect("made").session;
    let (id, workspace) = (session.id.as_str(), &session.workspace);
    let mut events = world.sessions.subscribe(id, 0).await.expect("subscribed");
    world.prompt(id, "slow 15").await;
    until(&mut events, "agent_message_chunk").await;
    // A turn in flight is never swept, however long it takes.
    world.pass(600 * MINUTE);
    world.pass(600 * MINUTE);
    until(&mut events, "\"stop_reason\":\"end_turn\"").await;
    // Once it has served this, it has seen the turn's end; and it is a client's request, so the half hour begins now.
    world.sessions.change(id, SessionChanges::default()).await.expect("nothing to change");
    world.pass(29 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    // A terminal holds it, and its idleness begins when the terminal ends.
    let terminal = world.workspaces.hold(workspace);
    world.pass(40 * MINUTE);
    world.pass(40 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    drop(terminal);
    world.pass(29 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    assert_eq!(world.workspaces.watch(workspace).borrow().status, WorkspaceStatus::Running);
    world.pass(MINUTE);
    until(&mut events, "\"status\":\"suspended\"").await;
    world.until_workspace_is(workspace, WorkspaceStatus::Stopped).await;
    assert!(world.workspaces.attached(workspace).is_none(), "no connection is left");
    // The next prompt finds everything as it was.
    world.prompt(id, "recall").await;
    until(&mut events, "slow 15").await;
    assert_eq!(world.workspaces.watch(workspace).borrow().status, WorkspaceStatus::Running);
    world.sessions.close(id, false).await.expect("closed");
}
