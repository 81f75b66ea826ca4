//! The composition root: what is started in which order, and how all of it stops.

mod access;
mod agents;
mod catalogue;
mod credentials;
mod leftovers;
mod logging;
mod memory;
mod ready;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Catalogue;
use crate::api::{self, ApiState, Listeners};
use crate::config::{Config, MountRule, TetherTransport};
use crate::domain::{Caps, Timestamp};
use crate::engine::{DEFAULT_ENDPOINT, Engine};
use crate::seal::Sealer;
use crate::session::{Retention, Rules, Sessions, Timeouts};
use crate::store::{Options, Store};
use crate::terminal::Terminals;
use crate::workspace::{AllowedMount, HostConfig, Transport, WorkspaceConfig, Workspaces};

/// How long the parts get to end before they are let go. Agents are not among them: they work on in their containers.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Settles what has to be settled while there is one thread only; to be called once, before [`run`].
pub fn prepare() {
    memory::settle();
}

/// Runs the daemon until SIGTERM or SIGINT. Agents are left running.
///
/// # Errors
/// The state directory, the store, the configuration or the listeners can't be used; the message says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    logging::init(&config.log)?;
    // First of all: a signal that comes while the store is being opened ends the daemon in order, too.
    let mut signals = Signals::new()?;
    // What can be wrong with the configuration is told before anything is made.
    let engine = Engine::new(config.engine.as_deref().unwrap_or(DEFAULT_ENDPOINT))?;
    let catalogue = Arc::new(catalogue::build(&config)?);
    make_state_dir(&config.state_dir)?;
    // What lies beside the store is read before the store is opened, which writes: a refusal leaves all as it was.
    Sealer::prepare(&config.state_dir, Store::is_at(&config.state_dir))?;
    access::check(&config.state_dir)?;
    let store = Store::open(&config.state_dir, Options::default())?;
    let limits = access::limits(&config)?;
    let listeners = Listeners::open(config.socket.as_deref(), config.listen, limits.tls.is_some())?;
    let addresses = listeners.addresses();
    let stop_api = CancellationToken::new();
    let tokens = access::tokens(&store, &config.state_dir, &stop_api).await?;
    let parts = Parts::new(&config, store.clone(), engine, catalogue)?;

    let state = ApiState {
        sessions: parts.sessions.clone(),
        workspaces: parts.workspaces.clone(),
        agents: agents::ask(parts.catalogue.clone(), parts.engine.clone()),
        ready: ready::ask(store.clone(), parts.engine.clone()),
        terminals: Terminals::new(parts.workspaces.clone(), parts.tracker.clone(), parts.stop.clone()),
        tokens: tokens.clone(),
        ping: config.ping_interval,
        stop: stop_api.clone(),
    };
    parts.sessions.complete_creations().await.context("a session that was being made could not be completed")?;
    let router = api::router(state, access::rules(&config, tokens));
    signals.tls.clone_from(&limits.tls);
    let server = parts.tracker.spawn(api::serve(listeners, router, limits, stop_api.clone()));
    parts.tracker.spawn(parts.sessions.clone().keep(retention(&config), Timestamp::now, tokio::time::sleep));
    parts.tracker.spawn(leftovers::report(parts.workspaces.clone(), parts.stop.clone()));
    parts.workspaces.begin_host().await.context("the host's record can't be used")?;
    let taken_up = parts.sessions.recover().await.context("the sessions of before could not be taken up")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = %store.instance(),
        state_dir = %config.state_dir.display(),
        listening = addresses.join(" "),
        taken_up,
        "wharf is ready"
    );
    notify(&[sd_notify::NotifyState::Ready]);

    let why = signals.next().await;
    tracing::info!(signal = why, "stopping; agents go on in their containers");
    notify(&[sd_notify::NotifyState::Stopping]);
    stop_api.cancel();
    if let Ok(Err(e)) = server.await {
        tracing::error!(error = %e, "the API ended badly");
    }
    parts.stop.cancel();
    parts.tracker.close();
    if tokio::time::timeout(STOP_GRACE, parts.tracker.wait()).await.is_err() {
        tracing::warn!(tasks = parts.tracker.len(), "some tasks did not end in time");
    }
    drop((parts.sessions, parts.workspaces));
    store.close().await.context("the store could not be closed in order")
}

fn retention(config: &Config) -> Retention {
    Retention { closed_sessions: config.retention.closed_sessions, log_size: config.retention.log_size }
}

/// The managers, and what they stand on.
struct Parts {
    engine: Engine,
    catalogue: Arc<Catalogue>,
    workspaces: Workspaces,
    sessions: Sessions,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Parts {
    fn new(config: &Config, store: Store, engine: Engine, catalogue: Arc<Catalogue>) -> anyhow::Result<Self> {
        let sealer = Sealer::open_or_create(&config.state_dir)?;
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut workspace = WorkspaceConfig::new(config.state_dir.join("run"), sealer.clone());
        workspace.transport = match config.transport {
            TetherTransport::Auto => Transport::Auto,
            TetherTransport::Exec => Transport::Exec,
            TetherTransport::Socket => Transport::Socket,
        };
        if let Some(image) = &config.image {
            workspace.default_image.clone_from(image);
        }
        workspace.memory = config.limits.memory.unwrap_or(workspace.memory);
        workspace.pids = config.limits.pids.unwrap_or(workspace.pids);
        workspace.cpus = config.limits.cpus;
        workspace.files_limit = config.files_limit.unwrap_or(workspace.files_limit);
        let mount = |rule: &MountRule| AllowedMount { host: rule.host.clone(), read_only: rule.read_only };
        workspace.host = host(config);
        workspace.mounts = config.mounts.iter().map(mount).collect();
        let workspaces = Workspaces::new(store.clone(), engine.clone(), workspace, tracker.clone(), stop.clone());
        let sessions = Sessions::new(
            store,
            workspaces.clone(),
            catalogue.clone(),
            sealer,
            Arc::new(credentials::Credentials::of_process()),
            Timeouts::default(),
            rules(config),
            tracker.clone(),
            stop.clone(),
        );
        Ok(Self { engine, catalogue, workspaces, sessions, tracker, stop })
    }
}

fn host(config: &Config) -> HostConfig {
    let mut host = HostConfig::new(config.state_dir.join("host"));
    let mode = config.host.clone();
    (host.enabled, host.socket, host.directory) = (mode.enabled, mode.socket, mode.directory);
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir()) {
        host.memory = dir;
    }
    if host.enabled && host.socket.is_none() && rustix::process::geteuid().is_root() {
        tracing::warn!("agents on the host run as root, as this daemon does: run `wharf host` as another user");
    }
    host
}

fn rules(config: &Config) -> Rules {
    let rules = config.rules;
    let caps = Caps { max_turns: rules.max_turns, max_cost: rules.max_cost };
    Rules { idle: rules.idle_timeout, turn_inactivity: rules.turn_inactivity, caps }
}

/// The state directory is the daemon's alone: it holds the token, the key and every conversation.
fn make_state_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        format!("the state directory {} can't be made: choose another with --state-dir", dir.display())
    })
}

/// Tells the service manager, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!(error = %e, "the service manager could not be told");
    }
}

/// The signals that end the daemon, and the one at which it reads its certificate again.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
    tls: Option<Arc<api::Tls>>,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let (term, int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { term, int, hup: signal(SignalKind::hangup())?, tls: None })
    }

    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => self.reload(),
            }
        }
    }

    fn reload(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            None => tracing::info!("SIGHUP: there is nothing to read again"),
            Some(Ok(())) => tracing::info!("the certificate was read again"),
            Some(Err(e)) => tracing::error!(error = %e, "the certificate stays as it was"),
        }
    }
}
