//! The rooms of the daemon in this process, with a clock of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf::agent::Catalogue;
use wharf::domain::{WorkspaceId, WorkspaceStatus};
use wharf::engine::{DEFAULT_ENDPOINT, Engine};
use wharf::seal::Sealer;
use wharf::session::{NewPrompt, Rules, SessionView, Sessions, Subscription, Timeouts};
use wharf::store::{Options, Store};
use wharf::workspace::{Clock, WorkspaceConfig, Workspaces};

use super::support::{PATIENCE, TetherVolumes, clean};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A clock that stands until it is told.
#[derive(Debug)]
pub(crate) struct Hands(watch::Sender<Duration>);

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

/// The rooms, and what is to be cleaned up after them.
pub(crate) struct World {
    clock: Arc<Hands>,
    pub(crate) sessions: Sessions,
    pub(crate) workspaces: Workspaces,
    pub(crate) store: Store,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    _dir: tempfile::TempDir,
    _tether: TetherVolumes,
}

impl World {
    /// New rooms over a store of their own.
    pub(crate) fn new() -> Self {
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
            Arc::new(()),
            Timeouts::default(),
            rules,
            tracker.clone(),
            stop.clone(),
        );
        Self { clock, sessions, workspaces, store, tracker, stop, _dir: dir, _tether: tether }
    }

    /// Moves the clock on.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.0.send_modify(|now| *now += time);
    }

    /// A session of the demo agent in a workspace of its own.
    pub(crate) async fn session(&self) -> SessionView {
        let new = serde_json::from_value(json!({ "agent": "demo" })).expect("a session");
        self.sessions.create(new).await.expect("made").session
    }

    pub(crate) async fn prompt(&self, id: &str, text: &str) {
        let prompt: NewPrompt = serde_json::from_value(json!({ "content": text })).expect("a prompt");
        self.sessions.prompt(id, prompt, None).await.expect("accepted");
    }

    pub(crate) async fn until_workspace_is(&self, id: &WorkspaceId, status: WorkspaceStatus) {
        let mut state = self.workspaces.watch(id);
        let stopped = state.wait_for(|state| state.status == status);
        tokio::time::timeout(PATIENCE, stopped).await.expect("in time").expect("the workspace is there");
    }

    pub(crate) async fn status(&self, id: &str) -> String {
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
pub(crate) async fn until(events: &mut Subscription, text: &str) {
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
