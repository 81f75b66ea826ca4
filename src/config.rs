//! The daemon's configuration: flags over environment (`WHARF_*`) over file over defaults, read once.

mod duration;
mod file;
mod parts;
mod rules;
mod size;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use duration::parse_duration;
pub use parts::{HostMode, Limits, MountRule, Retention, TetherTransport};
pub use rules::SessionRules;
pub use size::parse_size;

use crate::domain::{FileSetting, Setting};
use file::File;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7717";
/// The system's state directory, of a daemon that runs as root.
pub const SYSTEM_STATE_DIR: &str = "/var/lib/wharf";
/// The system's socket.
pub const SYSTEM_SOCKET: &str = "/run/wharf/wharf.sock";
/// What is logged unless told otherwise: of the crates underneath only what is wrong.
const DEFAULT_LOG: &str = "wharf=info,warn";
/// Half of what proxies usually let a silent connection live.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const SHORTEST_PING: Duration = Duration::from_millis(100);
/// The command line takes a stream that is silent for longer for dead.
const LONGEST_PING: Duration = Duration::from_secs(30);
/// The system's configuration file.
const SYSTEM_CONFIG: &str = "/etc/wharf/wharf.toml";

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the store, the token and the keys lie.
    pub state_dir: PathBuf,
    /// TCP, on loopback unless there is TLS; `None`: off.
    pub listen: Option<SocketAddr>,
    /// TLS on TCP.
    pub tls: Option<TlsFiles>,
    /// How much clients may ask at once.
    pub rate: Rate,
    /// After how long a silent stream says that it is there, and a WebSocket asks whether its client is.
    pub ping_interval: Duration,
    /// The Unix socket; `None`: off.
    pub socket: Option<PathBuf>,
    /// The engine's endpoint as `DOCKER_HOST` has it; `None`: the engine's own default.
    pub engine: Option<String>,
    /// How tether is reached.
    pub transport: TetherTransport,
    /// Host names that clients may use beside loopback ones.
    pub allowed_hosts: Vec<String>,
    /// Origins from which browsers may ask.
    pub allowed_origins: Vec<String>,
    /// The image of workspaces whose agent names none.
    pub image: Option<String>,
    /// Limits of workspaces that ask for none.
    pub limits: Limits,
    /// When sessions rest, and what they may use up.
    pub rules: SessionRules,
    /// What is kept of closed sessions.
    pub retention: Retention,
    /// Whether sessions may work on this machine itself.
    pub host: HostMode,
    /// What workspaces may mount beside their volumes.
    pub mounts: Vec<MountRule>,
    /// The most bytes that are carried into or out of a workspace at once; `None`: the default.
    pub files_limit: Option<u64>,
    /// Agents beside the built-in ones, or changes to those.
    pub agents: BTreeMap<String, AgentTable>,
    /// Logging.
    pub log: Log,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Certificate and key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[rate]`: how much clients may ask at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Requests a second of a token, or of an address that shows none; 0: without a limit.
    pub requests: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Whether this holds for the Unix socket, too.
    pub socket: bool,
    /// Connections at once.
    pub connections: usize,
}

impl Default for Rate {
    fn default() -> Self {
        Self { requests: 100, burst: 500, socket: false, connections: 16_384 }
    }
}

/// `[agents.NAME]`: an agent, or what differs from the built-in one of that name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentTable {
    /// `acp`, `claude`, ….
    pub protocol: Option<String>,
    /// Program and arguments.
    pub argv: Option<Vec<String>>,
    /// Environment of its processes; never shown.
    pub env: BTreeMap<String, Setting>,
    /// A file with more of it, a `NAME=value` a line.
    pub env_file: Option<PathBuf>,
    /// Variables of the daemon's own environment that it gets.
    pub pass_env: Option<Vec<String>>,
    /// Files that its processes find in their container.
    pub files: Vec<FileSetting>,
    /// How it is told of the model: `protocol`, `env:NAME`, `arg:--FLAG`.
    pub model: Option<String>,
    /// How it is told of the mode.
    pub mode: Option<String>,
    /// Whether its conversations are taken up again: `auto`, `never`.
    pub resume: Option<String>,
    /// The image of workspaces made for it.
    pub image: Option<String>,
    /// For people.
    pub description: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter as `tracing` takes it: `info`, `wharf=debug,warn`.
    pub level: String,
    /// Its form.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// The journal where standard error goes there, else text.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// The journal, with fields.
    Journald,
}

/// What flags say; it wins over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The file to read; it has to exist.
    pub config: Option<PathBuf>,
    /// The state directory.
    pub state_dir: Option<PathBuf>,
    /// An address, or `off`.
    pub listen: Option<String>,
    /// A path, or `off`.
    pub socket: Option<PathBuf>,
    /// A time, or `off`.
    pub idle_timeout: Option<String>,
}

/// Why the configuration can't be used; names the file and line, the variable or the flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not as it should be; the message has line and column.
    #[error("{}: {message}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A value can't be.
    #[error("{place}: {message}")]
    Value {
        /// Which flag, variable or key.
        place: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// There is no home directory to put state into.
    #[error("cannot tell where to keep state: set HOME, XDG_STATE_HOME, or --state-dir")]
    NoHome,
}

/// The environment that configuration is read from; a function, so that tests need no process-wide one.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads everything once, from this process's environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::read(flags, &env, rustix::process::geteuid().is_root())
    }

    fn read(flags: Flags, env: Env<'_>, root: bool) -> Result<Self, ConfigError> {
        let path = flags.config.or_else(|| env("WHARF_CONFIG").map(PathBuf::from));
        let file = File::read(path, default_file(env, root))?;
        let state_dir = match flags.state_dir.or_else(|| env("WHARF_STATE_DIR").map(PathBuf::from)) {
            Some(dir) => dir,
            None => file.value.state_dir.clone().map_or_else(|| default_state_dir(env, root), Ok)?,
        };
        let socket = flags.socket.or_else(|| env("WHARF_SOCKET").map(PathBuf::from)).or(file.value.socket.clone());
        let socket = socket.unwrap_or_else(|| default_socket(env, root, &state_dir));
        let tls = file.tls(env)?;
        let config = Self {
            listen: listen(flags.listen, env, &file, tls.is_some())?,
            tls,
            rate: file.rate()?,
            ping_interval: ping_interval(env, &file)?,
            socket: (socket != Path::new("off")).then_some(socket),
            engine: env("WHARF_ENGINE").or(file.value.engine.clone()).or_else(|| env("DOCKER_HOST")),
            transport: transport(env, &file)?,
            allowed_hosts: list(env("WHARF_ALLOWED_HOSTS"), &file.value.allowed_hosts),
            allowed_origins: list(env("WHARF_ALLOWED_ORIGINS"), &file.value.allowed_origins),
            image: env("WHARF_IMAGE").or(file.value.image.clone()),
            limits: file.limits()?,
            rules: rules::read(flags.idle_timeout, env, &file)?,
            retention: file.retention()?,
            host: file.host(env)?,
            mounts: file.mounts()?,
            files_limit: file.files_limit()?,
            log: Log {
                level: env("WHARF_LOG").or(file.value.log.level.clone()).unwrap_or_else(|| DEFAULT_LOG.to_owned()),
                format: log_format(env, &file)?,
            },
            agents: file.agents()?,
            file: file.path,
            state_dir: absolute(state_dir)?,
        };
        match (config.listen, &config.socket) {
            (None, None) => Err(value("listen, socket", "both are off, so nobody could reach the daemon")),
            _ => Ok(config),
        }
    }
}

fn value(place: impl Into<String>, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { place: place.into(), message: message.into() }
}

fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|e| value("state_dir", format!("{}: {e}", path.display())))
}

fn listen(flag: Option<String>, env: Env<'_>, file: &File, tls: bool) -> Result<Option<SocketAddr>, ConfigError> {
    let (place, text) = match (flag, env("WHARF_LISTEN"), &file.value.listen) {
        (Some(text), ..) => ("--listen".to_owned(), text),
        (_, Some(text), _) => ("WHARF_LISTEN".to_owned(), text),
        (_, _, Some(text)) => (file.place("listen"), text.clone()),
        _ => (String::new(), DEFAULT_LISTEN.to_owned()),
    };
    if text == "off" {
        return Ok(None);
    }
    let address = text.strip_prefix("localhost:").map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
    let address: SocketAddr =
        address.parse().map_err(|_| value(&place, format!("`{text}` is not `ADDRESS:PORT` or `off`")))?;
    if tls || address.ip().is_loopback() {
        Ok(Some(address))
    } else {
        let message = format!("{address} is not a loopback address: others need TLS; set `cert` and `key` in `[tls]`");
        Err(value(place, message))
    }
}

fn transport(env: Env<'_>, file: &File) -> Result<TetherTransport, ConfigError> {
    match env("WHARF_TRANSPORT").as_deref() {
        None => Ok(file.value.transport.unwrap_or_default()),
        Some("auto") => Ok(TetherTransport::Auto),
        Some("exec") => Ok(TetherTransport::Exec),
        Some("socket") => Ok(TetherTransport::Socket),
        Some(other) => Err(value("WHARF_TRANSPORT", format!("`{other}` is not auto, exec or socket"))),
    }
}

fn ping_interval(env: Env<'_>, file: &File) -> Result<Duration, ConfigError> {
    let (place, text) = match (env("WHARF_PING_INTERVAL"), &file.value.ping_interval) {
        (Some(text), _) => ("WHARF_PING_INTERVAL".to_owned(), text),
        (None, Some(text)) => (file.place("ping_interval"), text.clone()),
        (None, None) => return Ok(PING_INTERVAL),
    };
    let range = SHORTEST_PING..=LONGEST_PING;
    let time = parse_duration(&text).filter(|time| range.contains(time));
    time.ok_or_else(|| value(place, format!("`{text}` is not a time from `100ms` to `30s`")))
}

fn log_format(env: Env<'_>, file: &File) -> Result<LogFormat, ConfigError> {
    match env("WHARF_LOG_FORMAT").as_deref() {
        None => Ok(file.value.log.format.unwrap_or_default()),
        Some("auto") => Ok(LogFormat::Auto),
        Some("text") => Ok(LogFormat::Text),
        Some("journald") => Ok(LogFormat::Journald),
        Some(other) => Err(value("WHARF_LOG_FORMAT", format!("`{other}` is not auto, text or journald"))),
    }
}

fn list(env: Option<String>, file: &[String]) -> Vec<String> {
    match env {
        Some(text) => text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        None => file.to_vec(),
    }
}

/// An XDG base directory, which has to be absolute, else its default below the home directory.
fn xdg(env: Env<'_>, name: &str, below_home: &str) -> Option<PathBuf> {
    let set = env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| env("HOME").map(|home| Path::new(&home).join(below_home)))
}

fn default_file(env: Env<'_>, root: bool) -> Option<PathBuf> {
    if root || env("STATE_DIRECTORY").is_some() {
        return Some(PathBuf::from(SYSTEM_CONFIG));
    }
    xdg(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("wharf/wharf.toml"))
}

/// The state directory of a daemon that is told none: the service manager's, the system's, or the user's.
///
/// # Errors
/// There is no home directory.
pub fn default_state_dir(env: Env<'_>, root: bool) -> Result<PathBuf, ConfigError> {
    if let Some(first) = env("STATE_DIRECTORY").as_deref().and_then(|dirs| dirs.split(':').next()) {
        return Ok(PathBuf::from(first));
    }
    if root {
        return Ok(PathBuf::from(SYSTEM_STATE_DIR));
    }
    xdg(env, "XDG_STATE_HOME", ".local/state").map(|dir| dir.join("wharf")).ok_or(ConfigError::NoHome)
}

/// The socket of a daemon that is told none, below the same kind of place.
#[must_use]
pub fn default_socket(env: Env<'_>, root: bool, state_dir: &Path) -> PathBuf {
    if let Some(first) = env("RUNTIME_DIRECTORY").as_deref().and_then(|dirs| dirs.split(':').next()) {
        return Path::new(first).join("wharf.sock");
    }
    if root {
        // A state directory of one's own means a daemon of one's own: it does not take the system's socket.
        return if state_dir == Path::new(SYSTEM_STATE_DIR) {
            SYSTEM_SOCKET.into()
        } else {
            state_dir.join("wharf.sock")
        };
    }
    let runtime = env("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let ours = default_state_dir(env, root).is_ok_and(|dir| dir == state_dir);
    match runtime {
        Some(dir) if ours => dir.join("wharf/wharf.sock"),
        _ => state_dir.join("wharf.sock"),
    }
}

#[cfg(test)]
mod tests;
